"""The queue of `facelift app`, and who is forgotten when, without a server."""

import asyncio
import time

import pytest

from facelift.app.heads import Heads
from facelift.app.options import HeadOptions, Limits
from facelift.app.queue import QueueFullError, Task, TaskQueue


def task(kind="head"):
    return Task(kind, None, {})


def queue_of(*tasks, limit=10):
    queue = TaskQueue(limit)
    for one in tasks:
        queue.add(one)
    return queue


def test_first_come_first_served_but_what_takes_a_moment_before_heads():
    heads, portraits = [task(), task()], [task("portrait"), task("file")]
    queue = queue_of(heads[0], portraits[0], heads[1], portraits[1])
    assert [queue.get() for _ in range(4)] == [*portraits, *heads]


def test_everybody_knows_his_place():
    first, second, third = heads = [task(), task(), task()]
    queue = queue_of(*heads)
    assert queue.get() is first
    assert [queue.position(one) for one in heads] == [0, 1, 2]
    changes = third.changes
    queue.cancel(second)
    assert (second.state, queue.position(second), queue.position(third)) == ("cancelled", None, 1)
    assert third.changes > changes, "and is told when it changes"


def test_how_long_it_takes_is_told_as_soon_as_it_is_known():
    first, second, third = heads = [task(), task(), task()]
    queue = queue_of(*heads)
    queue.get()
    assert queue.seconds(third) is None
    first.tell(state="done")
    queue.finish(first, 20.0)
    queue.get()
    assert (queue.seconds(second), queue.seconds(third)) == (None, 20)


def test_a_full_line_says_so():
    queue = queue_of(task(), task(), limit=2)
    with pytest.raises(QueueFullError, match="2 are waiting"):
        queue.add(task())


def test_what_was_given_up_while_it_was_made_stays_so():
    queue = queue_of(one := task())
    queue.cancel(queue.get())
    one.tell(state="done")
    assert one.state == "cancelled" and one.in_work
    queue.finish(one, 1.0)
    assert not one.in_work and queue.lengths == (0, 0)


@pytest.fixture
def heads(tmp_path):
    return Heads(tmp_path, TaskQueue(10), Limits(minutes=1.0, grace=10.0, kept=2))


def head(heads, **options):
    folder = heads.new_folder()
    (folder / "photo").write_bytes(b"a photo")
    return heads.add(folder, HeadOptions(**options))


def test_who_attends_and_leaves_is_forgotten_after_the_grace(heads):
    attended, other = head(heads, attended=True), head(heads)
    now = time.monotonic()
    heads.tidy_once(now + 9)
    assert heads.find(attended.id) is attended
    heads.tidy_once(now + 30)
    assert heads.find(attended.id) is None and not attended.folder.exists()
    assert heads.queue.position(other.task) == 1 and other.folder.exists()


def test_who_is_connected_has_not_left(heads):
    async def follow():
        entry = head(heads, attended=True)
        async with heads.watched(entry):
            heads.tidy_once(time.monotonic() + 1000)
        assert heads.find(entry.id) is entry

    asyncio.run(follow())


def test_heads_are_deleted_after_their_time_and_photos_at_once(heads):
    entry = head(heads)
    heads.queue.get().tell(state="done")
    heads.queue.finish(entry.task, 1.0)
    now = time.monotonic()
    heads.tidy_once(now)
    assert not (entry.folder / "photo").exists() and heads.find(entry.id) is entry
    heads.tidy_once(now + 59)
    assert entry.folder.exists()
    heads.tidy_once(now + 61)
    assert heads.find(entry.id) is None and not entry.folder.exists()


def test_of_more_heads_than_are_kept_the_oldest_go(heads):
    entries = [head(heads) for _ in range(3)]
    now = time.monotonic()
    for number, entry in enumerate(entries):
        heads.queue.get().tell(state="done")
        heads.queue.finish(entry.task, 1.0)
        heads.tidy_once(now + number)
    assert [heads.find(entry.id) for entry in entries] == [None, *entries[1:]]


def test_what_is_deleted_while_it_is_made_goes_when_the_worker_is_done(heads):
    entry = head(heads)
    heads.queue.get()
    heads.discard(entry)
    assert heads.find(entry.id) is None and entry.task.state == "cancelled"
    entry.folder.mkdir(exist_ok=True)
    (entry.folder / "head.ply").touch()  # what the worker was about to write
    heads.queue.finish(entry.task, 1.0)
    heads.tidy_once(time.monotonic())
    assert not entry.folder.exists()
