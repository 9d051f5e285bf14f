"""The server of `facelift app` and requests that no page and no client of its own would send."""

import errno
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from facelift.app.gradio import OPTIONS
from facelift.app.heads import Heads
from facelift.app.options import Limits
from facelift.app.queue import TaskQueue
from facelift.app.server import create_app
from facelift.app.workers import Workers

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"


@pytest.mark.parametrize(
    "call",
    [
        "no JSON",
        "[]",
        "[" * 100_000,
        json.dumps({"data": [None], "session_hash": "a"}),
        json.dumps({"data": [{"path": ["x"]}, "ply"], "session_hash": "a"}),
        json.dumps({"data": [{"path": "UPLOAD"}, "ply"], "session_hash": "a"}),
        json.dumps({"data": [{"path": "UPLOAD"}, *[0] * 40, ["ply"]], "session_hash": "a"}),
    ],
)
def test_a_call_that_is_none_is_refused_and_its_photo_is_not_forgotten(app, call):
    """A photo whose call fails must go like any other: its folder stays the one of an upload."""
    with PHOTO.open("rb") as photo:
        (upload,) = httpx.post(f"{app.url}gradio_api/upload", files={"files": photo}).json()
    url = f"{app.url}gradio_api/queue/join"
    answer = httpx.post(url, content=call.replace("UPLOAD", upload))
    assert answer.status_code == 400 and "gradio_client" in answer.json()["detail"]
    # It can still be taken, so it is deleted in time if nobody does.
    data = [{"path": upload}, *[None] * len(OPTIONS), "fbx"]
    assert httpx.post(url, json={"data": data, "session_hash": "a"}).json()["event_id"] == upload


@pytest.mark.parametrize("origin", ["http://[", "null", "http://", "//", ""])
def test_an_origin_that_is_no_address_is_another(app, origin):
    answer = httpx.post(f"{app.url}heads", headers={"origin": origin}, content=b"x")
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["", "docs", "health", "static/app.js", "openapi.json"])
def test_head_requests_are_answered_as_get_without_a_body(app, path):
    """As link checkers and monitors ask."""
    head, get = httpx.head(app.url + path), httpx.get(app.url + path)
    assert head.status_code == 200 and not head.content
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_idle_worker_that_dies_is_replaced(app):
    """Before anybody asks for a head: whoever watches /health must see it well again."""
    app.wait_for(waiting=0, running=0)
    (worker,) = app.workers()
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while app.workers() in ([], [worker]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    app.wait_for(waiting=0, running=0)


@pytest.mark.parametrize("path", ["heads", "gradio_api/upload"])
def test_a_full_disk_is_told_and_holds_no_half_of_a_photo(tmp_path, monkeypatch, path):
    """A disk that is full stays so if what did not fit is kept."""

    def copy(source, target):
        target.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    heads = Heads(tmp_path, TaskQueue(1), Limits())
    server = create_app(heads, Workers(heads.queue, {}, 0))
    with TestClient(server, base_url="http://localhost") as client:
        answer = client.post(path, files={"photo" if path == "heads" else "files": b"photo"})
    assert answer.status_code == 507 and "disk is full" in answer.json()["detail"]
    assert not any(tmp_path.iterdir())


def test_photos_that_no_call_claims_do_not_fill_the_disk(tmp_path):
    """They are held to as many as may wait, and are there again for others once they are used."""
    heads = Heads(tmp_path, TaskQueue(2), Limits())
    server = create_app(heads, Workers(heads.queue, {}, 0))
    with TestClient(server, base_url="http://localhost") as client:
        answers = [client.post("gradio_api/upload", files={"files": b"photo"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 503]
        assert len(list(tmp_path.iterdir())) == 2
        heads.take_upload(answers[0].json()[0])
        assert client.post("gradio_api/upload", files={"files": b"photo"}).status_code == 200


def test_an_upload_that_breaks_off_leaves_nothing(app):
    """Neither a file nor a word in the log, which the server's end looks at."""
    before = set(app.folder.glob("*/*"))
    url = httpx.URL(app.url)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(b"POST /heads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\nhalf")
        deadline = time.monotonic() + 20
        while not set(app.folder.glob("*/*")) - before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    while set(app.folder.glob("*/*")) - before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
