"""The line of `facelift app`, and who is forgotten when, without a server."""

import asyncio
import time

import pytest

from facelift.app.heads import Heads
from facelift.app.line import Line, LineIsFullError, Task
from facelift.app.options import HeadOptions, Limits


def task(kind="head"):
    return Task(kind, None, {})


def line_of(*tasks, limit=10):
    line = Line(limit)
    for one in tasks:
        line.join(one)
    return line


def test_first_come_first_served_but_what_takes_a_moment_before_heads():
    heads, portraits = [task(), task()], [task("portrait"), task("file")]
    line = line_of(heads[0], portraits[0], heads[1], portraits[1])
    assert [line.take() for _ in range(4)] == [*portraits, *heads]


def test_everybody_knows_his_place():
    first, second, third = heads = [task(), task(), task()]
    line = line_of(*heads)
    assert line.take() is first
    assert [line.place(one) for one in heads] == [0, 1, 2]
    changes = third.changes
    line.leave(second)
    assert (second.state, line.place(second), line.place(third)) == ("cancelled", None, 1)
    assert third.changes > changes, "and is told when it changes"


def test_how_long_it_takes_is_told_as_soon_as_it_is_known():
    first, second, third = heads = [task(), task(), task()]
    line = line_of(*heads)
    line.take()
    assert line.seconds(third) is None
    first.tell(state="done")
    line.put_down(first, 20.0)
    line.take()
    assert (line.seconds(second), line.seconds(third)) == (None, 20)


def test_a_full_line_says_so():
    line = line_of(task(), task(), limit=2)
    with pytest.raises(LineIsFullError, match="2 are waiting"):
        line.join(task())


def test_what_was_given_up_while_it_was_made_stays_so():
    line = line_of(one := task())
    line.leave(line.take())
    one.tell(state="done")
    assert one.state == "cancelled" and one.in_work
    line.put_down(one, 1.0)
    assert not one.in_work and line.lengths == (0, 0)


@pytest.fixture
def heads(tmp_path):
    return Heads(tmp_path, Line(10), Limits(minutes=1.0, grace=10.0, kept=2))


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
    assert heads.line.place(other.task) == 1 and other.folder.exists()


def test_who_is_connected_has_not_left(heads):
    async def follow():
        entry = head(heads, attended=True)
        async with heads.watched(entry):
            heads.tidy_once(time.monotonic() + 1000)
        assert heads.find(entry.id) is entry

    asyncio.run(follow())


def test_heads_are_deleted_after_their_time_and_photos_at_once(heads):
    entry = head(heads)
    heads.line.take().tell(state="done")
    heads.line.put_down(entry.task, 1.0)
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
        heads.line.take().tell(state="done")
        heads.line.put_down(entry.task, 1.0)
        heads.tidy_once(now + number)
    assert [heads.find(entry.id) for entry in entries] == [None, *entries[1:]]


def test_what_is_deleted_while_it_is_made_goes_when_the_worker_is_done(heads):
    entry = head(heads)
    heads.line.take()
    heads.discard(entry)
    assert heads.find(entry.id) is None and entry.task.state == "cancelled"
    entry.folder.mkdir(exist_ok=True)
    (entry.folder / "head.ply").touch()  # what the worker was about to write
    heads.line.put_down(entry.task, 1.0)
    heads.tidy_once(time.monotonic())
    assert not entry.folder.exists()
