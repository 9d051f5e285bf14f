"""`facelift app` for whoever runs it: ready or not, its numbers, one visitor's share, and a graceful end."""

import signal
import sys
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from app_server import app_server
from test_app import begin, finish, png
from tiny import tiny_folder

from facelift.app.guard import visitor_of
from facelift.app.heads import Heads
from facelift.app.metrics import Metrics
from facelift.app.options import HeadOptions, Limits
from facelift.app.queue import QueueFullError, Task, TaskQueue, VisitorLimitError
from facelift.app.stopping import Server


@pytest.fixture
def client(app):
    with httpx.Client(base_url=app.url, timeout=120) as client:
        yield client


def numbers(text):
    """The lines of Prometheus's format, by name and labels."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_it_is_ready_and_counts_what_it_does(client):
    def count():
        answer = client.get("metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        return numbers(answer.text)

    before = count()
    assert finish(client, begin(client)["id"])["state"] == "done"
    assert finish(client, begin(client, prepared=False)["id"])["state"] == "failed"
    after = count()
    grown = {name for name, value in after.items() if value > before.get(name, 0)}
    assert {
        'facelift_tasks_total{kind="head",state="done"}',
        'facelift_tasks_total{kind="head",state="failed"}',
        'facelift_failures_total{cause="refused",stage="portrait"}',
        *(
            f'facelift_stage_seconds_count{{stage="{stage}"}}'
            for stage in ("portrait", "views", "refinement")
        ),
    } <= grown
    assert (after["facelift_queue_waiting"], after["facelift_workers_alive"]) == (0, 1)
    answer = client.get("ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "waiting": 0, "running": 0})


def test_a_dead_process_is_a_cause_of_its_own():
    queue = TaskQueue(1)
    metrics = Metrics(queue, SimpleNamespace(alive=False))
    queue.add(Task("head", None, {}))
    task = queue.get()
    task.tell(stage="views", seconds={"portrait": 0.3})
    task.tell(state="failed", cause="died")
    queue.finish(task, 1.0)
    found = numbers(metrics.page().decode())
    assert found['facelift_failures_total{cause="died",stage="views"}'] == 1
    assert found['facelift_stage_seconds_bucket{le="0.25",stage="portrait"}'] == 0
    assert found['facelift_stage_seconds_bucket{le="0.5",stage="portrait"}'] == 1
    assert found["facelift_workers_alive"] == 0


def test_one_visitor_has_some_heads_at_a_time_and_others_theirs(tmp_path):
    heads = Heads(tmp_path, TaskQueue(10), Limits(per_visitor=2))
    options = HeadOptions(prepared=True)
    first, _ = (heads.add(heads.new_folder(), options, "a") for _ in range(2))
    with pytest.raises(VisitorLimitError, match="wait until one is done"):
        heads.add(heads.new_folder(), options, "a")
    heads.add(heads.new_folder(), options, "b")
    heads.discard(first)
    heads.add(heads.new_folder(), options, "a")


@pytest.mark.parametrize(
    ("address", "visitor"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3::9", "2001:db8:1:2::/64"), ("testclient", "testclient")],
)
def test_a_visitor_is_an_address_or_a_household(address, visitor):
    assert visitor_of(SimpleNamespace(client=SimpleNamespace(host=address))) == visitor


def test_a_closed_queue_takes_files_alone():
    queue = TaskQueue(5)
    queue.closed = True
    queue.add(Task("file", None, {}))
    with pytest.raises(QueueFullError, match="about to stop"):
        queue.add(Task("head", None, {}))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_closed_terminal_ends_it_as_ctrl_c_does():
    """SIGHUP becomes uvicorn's own end, and only then the interruption that the command knows."""
    heard = []
    before = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
    try:
        server = Server(uvicorn.Config("nothing"), TaskQueue(1))
        with server.capture_signals():
            signal.raise_signal(signal.SIGHUP)
            assert server.should_exit and heard == []
        assert heard == [signal.SIGHUP]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with server.capture_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, "as nohup wants it"
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without a signal")
def test_sigterm_lets_it_finish_what_it_has(tmp_path):
    """New photos are refused meanwhile; the visitor who waits gets the head and its file."""
    folder = tmp_path / "app"
    model = tiny_folder(tmp_path / "model")
    options = ("--drain", "300", "--max-per-visitor", "1")
    with (
        app_server(model, folder, *options) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        with server.frozen():
            head = begin(client)
            answer = client.post("heads", content=png(), params={"prepared": True})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(waiting=0, running=1, status="stopping")
            answer = client.post("heads", content=png(), params={"prepared": True})
            assert answer.status_code in (429, 503) and client.get("ready").status_code == 503
        assert finish(client, head["id"])["state"] == "done"
        assert client.get(f"heads/{head['id']}/head.spz").status_code == 200, "further files are still made"
        assert server.process.wait(60) == 128 + signal.SIGTERM
    assert folder.with_suffix(".log").read_text() == "Loading\n"
    assert list(folder.iterdir()) == []
