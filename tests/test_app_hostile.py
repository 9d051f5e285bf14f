"""The server of `facelift app` and requests that no page and no client of its own would send."""

import json
from pathlib import Path

import httpx
import pytest

from facelift.app.gradio import OPTIONS

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
