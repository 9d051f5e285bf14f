"""What `gradio_client` asks of a server, so that programs written for Gradio can have heads made.

    client = gradio_client.Client("http://localhost:7860")
    path = client.predict(gradio_client.handle_file("me.jpg"), format="spz", api_name="/head")

Only its newest protocol, "sse_v3", and one function. Each call becomes a head of `facelift.app.heads`, so the
queue, the limits and the deletion are the same. It is not Gradio itself, and has no page of it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from facelift.app.files import FILES, PHOTO, check_photo
from facelift.app.guard import visitor_of
from facelift.app.heads import Heads
from facelift.app.options import HeadOptions, refusal_of
from facelift.app.queue import Task
from facelift.errors import UserError

VERSION = "6.0.0"  # of Gradio: the client asks differently of older ones
PREFIX = "/gradio_api"
FORMATS = [name.removeprefix("head.") for name in FILES if name.startswith(("head.", "mesh."))]
OPTIONS = {
    name: field
    for name, field in HeadOptions.model_json_schema()["properties"].items()
    if name not in ("attended", "only_portrait")
}
SESSION_TIMEOUT = 60  # seconds after which a client that asks for nothing is gone
IDLE_TIMEOUT = 2.0  # seconds for which a client without calls is listened to: it may be about to make one
META = {"_type": "gradio.FileData"}
FILE = {
    "title": "FileData",
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "meta": {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}},
    },
}

router = APIRouter(include_in_schema=False)


@dataclass(eq=False)
class Call:
    """One call of the function.

    Attributes:
        id: of the head that it asks for.
        file: the head's file that it is answered with.
        error: why there is none, a sentence.
        task: what it waits for: the head, then the file.
        told: the state of that task that the client knows.
    """

    id: str
    file: str
    error: str | None = None
    task: Task | None = None
    told: int = -1

    def news(self, heads: Heads) -> Iterator[dict[str, Any]]:
        """Messages about what has changed since the last time; "process_completed" is the last one."""
        entry = heads.find(self.id)  # which keeps it alive
        if entry is None:
            error = self.error or "There is no such head: it was deleted, or it was cancelled."
            yield {"msg": "process_completed", "success": False, "output": {"error": error}}
            return
        task = self.task = self.task or entry.task
        if task.over and task.state != "done":
            yield {"msg": "process_completed", "success": False, "output": {"error": task.error}}
        elif task.over and not (entry.folder / self.file).exists():
            self.task = heads.file(entry, self.file)
        elif task.over:
            file = {"path": f"{self.id}/{self.file}", "orig_name": self.file, "meta": META}
            yield {"msg": "process_completed", "success": True, "output": {"data": [file]}}
        elif task.changes != self.told:
            self.told, position = task.changes, heads.queue.position(task)
            waiting = {
                "rank": (position or 1) - 1,
                "queue_size": position,
                "rank_eta": heads.queue.seconds(task),
            }
            yield {"msg": "estimation", **waiting} if position else {"msg": "process_starts"}


@dataclass(eq=False)
class Session:
    """The calls of one client that are not answered yet, and when they were last asked for."""

    calls: list[Call] = field(default_factory=list)
    seen: float = field(default_factory=time.monotonic)


@router.get("/config")
async def config() -> dict[str, Any]:
    """The application as the client sees it: the photo and the options go in, a file comes out."""
    inputs = list(range(len(OPTIONS) + 2))
    kinds = [FILE, *OPTIONS.values(), {"type": "string"}, FILE]
    return {
        "version": VERSION,
        "protocol": "sse_v3",
        "api_prefix": PREFIX,
        "connect_heartbeat": False,
        "components": [
            {"id": id, "type": "file" if kind is FILE else "json", "api_info": kind, "props": {}}
            for id, kind in enumerate(kinds)
        ],
        "dependencies": [
            {"id": 0, "api_name": "head", "inputs": inputs, "outputs": [len(inputs)], "backend_fn": True}
        ],
    }


@router.get(f"{PREFIX}/info")
async def info() -> dict[str, Any]:
    """The parameters of the function."""
    parameters = [
        {"label": "photo", "parameter_name": "photo", "parameter_has_default": False, **_python("filepath")},
        *(_parameter(name, schema) for name, schema in OPTIONS.items()),
        _parameter("format", {"type": "string", "default": "ply", "description": ", ".join(FORMATS)}),
    ]
    returns = [{"label": "head", **_python("filepath")}]
    return {
        "named_endpoints": {"/head": {"parameters": parameters, "returns": returns}},
        "unnamed_endpoints": {},
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    kind = str(schema.get("type", "Any"))
    default = {"parameter_has_default": True, "parameter_default": schema["default"]}
    python = _python(kind, schema.get("description", ""), schema["default"])
    return {"label": name, "parameter_name": name, **default, **python}


def _python(kind: str, description: str = "", example: Any = None) -> dict[str, Any]:
    return {
        "type": {"type": kind},
        "python_type": {"type": kind, "description": description},
        "component": "File" if kind == "filepath" else "Json",
        "example_input": example,
    }


@router.post(f"{PREFIX}/upload")
async def upload(request: Request) -> list[str]:
    """Keep a photo until it is used; the answer is its name."""
    heads: Heads = request.app.state.heads
    async with request.form(max_files=1, max_fields=1) as form:
        photo = form.get("files")
        if not isinstance(photo, UploadFile):
            raise UserError("There is no photo in the form: send it as the file `files`.")
        folder = heads.new_upload()
        try:
            with (folder / PHOTO).open("wb") as file:
                await run_in_threadpool(shutil.copyfileobj, photo.file, file)
        except BaseException:
            heads.take_upload(folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return [folder.name]


@router.post(f"{PREFIX}/queue/join")
async def join(request: Request) -> dict[str, str]:
    """Call the function. What is wrong with the call is told by the stream, where the client expects it."""
    heads: Heads = request.app.state.heads
    try:
        asked = await request.json()
        photo, *values, format = asked["data"]
        given = dict(zip(OPTIONS, values, strict=True))
        name, format, session_hash = str(photo["path"]), str(format), str(asked["session_hash"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HTTPException(400, "it is no call that gradio_client makes") from None
    folder = heads.take_upload(name)
    call = Call(
        secrets.token_hex() if folder is None else folder.name,
        format if format in FILES else f"head.{format}",
    )
    try:
        if folder is None:
            raise UserError("The photo is not there any more: send it again.")
        if format not in FORMATS:
            raise UserError(f"A head is not written as {format}: choose {', '.join(FORMATS)}.")
        options = HeadOptions(**given, attended=True)
        await run_in_threadpool(check_photo, folder / PHOTO, heads.limits.pixels)
        heads.add(folder, options, visitor_of(request))
    except (UserError, ValidationError) as error:
        call.error = refusal_of(error.errors()) if isinstance(error, ValidationError) else str(error)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    _session(request, session_hash).calls.append(call)
    return {"event_id": call.id}


def _session(request: Request, hash: str) -> Session:
    """The session of that name, which may be new; those that nobody follows any more are forgotten."""
    sessions: dict[str, Session] = request.app.state.sessions
    for name in [
        name for name, session in sessions.items() if time.monotonic() - session.seen > SESSION_TIMEOUT
    ]:
        del sessions[name]
    return sessions.setdefault(hash, Session())


@router.get(f"{PREFIX}/queue/data")
async def follow(request: Request, session_hash: str) -> StreamingResponse:
    """What becomes of the calls of one client, until none is left."""
    heads: Heads = request.app.state.heads
    session = _session(request, session_hash)

    async def events() -> AsyncIterator[str]:
        idle = time.monotonic()
        while session.calls or time.monotonic() - idle < IDLE_TIMEOUT:
            session.seen = time.monotonic()
            if session.calls:
                idle = session.seen
            for call in list(session.calls):
                for message in call.news(heads):
                    yield f"data: {json.dumps({**message, 'event_id': call.id})}\n\n"
                    if message["msg"] == "process_completed":
                        session.calls.remove(call)
            await asyncio.sleep(0.1)
        yield f"data: {json.dumps({'msg': 'close_stream'})}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get(f"{PREFIX}/file={{id}}/{{file}}")
async def file(request: Request, id: str, file: str) -> Response:
    """The file that a call was answered with."""
    entry = request.app.state.heads.find(id)
    if entry is None or file not in FILES or not (entry.folder / file).exists():
        raise HTTPException(404, "There is no such file: it was deleted.")
    return FileResponse(entry.folder / file)
