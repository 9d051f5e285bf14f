"""The server: pages, the HTTP API, and how each request is answered."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from facelift.app import gradio, operations
from facelift.app.files import FILES, PHOTO, check_photo
from facelift.app.guard import Guard, visitor_of
from facelift.app.heads import Entry, Heads
from facelift.app.metrics import Metrics
from facelift.app.options import HeadOptions, HeadStatus, Info, Refusal, refusal_of
from facelift.app.queue import QueueFullError, Task, VisitorLimitError
from facelift.app.reference import reference_page
from facelift.app.workers import Workers
from facelift.errors import UserError

STATIC = Path(__file__).parent / "static"
TICK_SECONDS = 0.1  # between two looks at a task that somebody follows
KEEPALIVE_TICKS = 50  # without news, after which a comment is sent: a broken connection shows itself

FRAME_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; "
    "script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:; worker-src blob:; font-src data:; frame-ancestors 'self'"
)
"""For the page of a head, which the application has in a frame: its scripts see nothing of the rest."""

PHOTO_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["photo"],
                "properties": {"photo": {"type": "string", "format": "binary"}},
                "description": "The photo; options may be fields as well.",
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "No such head or file."},
    422: {"model": Refusal, "description": "The photo or an option cannot be used."},
}

router = APIRouter()


def create_app(heads: Heads, workers: Workers, hosts: Iterable[str] = ()) -> FastAPI:
    """The web application and the API.

    Args:
        heads: of this server.
        workers: which make them.
        hosts: names by which the server is reached besides `localhost` and this machine's own.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(heads.tidy())
        yield
        tidying.cancel()

    app = FastAPI(
        title="FaceLift",
        version=version("facelift"),
        description="One photo of a face in, a complete 3D head out.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.heads, app.state.workers = heads, workers
    app.state.metrics = Metrics(heads.queue, workers)
    app.state.sessions = {}  # of gradio_client
    app.include_router(router)
    app.include_router(operations.router)
    app.include_router(gradio.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, max_body=heads.limits.upload, hosts=tuple(hosts))
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_options)
    app.add_exception_handler(ValidationError, _refuse_options)
    app.add_exception_handler(UserError, _refuse_photo)
    app.add_exception_handler(OSError, _refuse_on_full_disk)
    app.add_exception_handler(ClientDisconnect, _say_nothing)
    app.add_exception_handler(Exception, _own_fault)
    return app


# --- pages


@router.get("/", include_in_schema=False)
def index() -> FileResponse:
    """The application."""
    return FileResponse(STATIC / "index.html")


@router.get("/docs", include_in_schema=False)
def reference(request: Request) -> HTMLResponse:
    """The API for people."""
    return HTMLResponse(reference_page(request.app.openapi()))


# --- the API


@router.get("/info", tags=["server"])
async def info(request: Request) -> Info:
    """The model, and what the server takes and keeps."""
    state = request.app.state
    limits = state.heads.limits
    return Info(
        version=version("facelift"),
        max_upload=limits.upload,
        max_pixels=limits.pixels,
        minutes=limits.minutes,
        **state.workers.info,
    )


@router.post(
    "/heads",
    status_code=202,
    tags=["heads"],
    openapi_extra={"requestBody": PHOTO_BODY},
    responses={
        **REFUSALS,
        413: {"model": Refusal},
        429: {"model": Refusal, "description": "One visitor asks for too much at a time."},
        503: {"model": Refusal, "description": "The queue is full, or the server is about to stop."},
    },
)
async def create_head(
    request: Request, response: Response, options: Annotated[HeadOptions, Query()]
) -> HeadStatus:
    """Have a photo become a head. The photo is the body, or the field `photo` of a form."""
    heads: Heads = request.app.state.heads
    folder = heads.new_folder()
    try:
        fields = await _receive(request, folder / PHOTO)
        if fields:
            options = HeadOptions.model_validate({**request.query_params, **fields})
        await run_in_threadpool(check_photo, folder / PHOTO, heads.limits.pixels)
        entry = heads.add(folder, options, visitor_of(request))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    response.headers["Location"] = f"heads/{entry.id}"
    return heads.status(entry)


@router.get("/heads/{id}", tags=["heads"], responses=REFUSALS)
async def read_head(request: Request, id: str) -> HeadStatus:
    """How far a head is, and the files that it has."""
    return request.app.state.heads.status(_find(request, id))


@router.get("/heads/{id}/events", tags=["heads"], responses=REFUSALS, response_class=StreamingResponse)
async def follow_head(request: Request, id: str) -> StreamingResponse:
    """The same as server-sent events: one when anything changes, until it is over."""
    heads: Heads = request.app.state.heads
    entry = _find(request, id)

    async def events() -> AsyncIterator[str]:
        async with heads.watched(entry):
            told, quiet = -1, 0
            while True:
                over, changes = entry.task.over, entry.task.changes
                if changes != told:
                    yield f"data: {heads.status(entry).model_dump_json()}\n\n"
                    told, quiet = changes, 0
                elif quiet == KEEPALIVE_TICKS:
                    yield ": still here\n\n"
                    quiet = 0
                if over:
                    return
                quiet += 1
                await asyncio.sleep(TICK_SECONDS)

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/heads/{id}/{file}", tags=["heads"], responses=REFUSALS, response_class=FileResponse)
async def read_file(request: Request, id: str, file: str) -> Response:
    """A file of a head. One that is not made yet is made now, which takes its time."""
    heads: Heads = request.app.state.heads
    entry = _find(request, id)
    if file not in {known.name for known in heads.status(entry).files}:
        known = file in FILES and not entry.task.over
        raise HTTPException(
            404, "That file is not there yet." if known else "There is no such file of this head."
        )
    path = entry.folder / file
    if not path.exists():
        await _made(request, heads, entry, heads.file(entry, file))
    headers = {"Content-Security-Policy": FRAME_POLICY} if file.endswith(".html") else None
    return FileResponse(path, headers=headers)


@router.delete("/heads/{id}", status_code=204, tags=["heads"], responses=REFUSALS)
async def delete_head(request: Request, id: str) -> None:
    """Delete a head and all its files; one that is not done yet is not made."""
    request.app.state.heads.discard(_find(request, id))


def _find(request: Request, id: str) -> Entry:
    entry = request.app.state.heads.find(id)
    if entry is None:
        raise HTTPException(404, "There is no such head: it was deleted, or it was cancelled.")
    return entry


async def _receive(request: Request, path: Path) -> Mapping[str, str]:
    """Write the photo of a request to a file; returns the other fields of its form."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        with path.open("wb") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
        _check_size(path.stat().st_size)
        return {}
    async with request.form(max_files=1, max_fields=len(HeadOptions.model_fields)) as form:
        photo = form.get("photo")
        if not isinstance(photo, UploadFile):
            raise UserError("There is no photo in the form: send it as the file `photo`.")
        with path.open("wb") as file:
            await run_in_threadpool(shutil.copyfileobj, photo.file, file)
        _check_size(path.stat().st_size)
        return {name: value for name, value in form.items() if isinstance(value, str) and value}


def _check_size(size: int) -> None:
    if not size:
        raise UserError("The photo is empty: choose another file.")


async def _made(request: Request, heads: Heads, entry: Entry, task: Task) -> None:
    """Wait until a file is made; when all who waited for it have left, it is not."""
    async with heads.watched(entry):
        while not task.over:
            if await request.is_disconnected():
                break
            await asyncio.sleep(TICK_SECONDS)
    if not task.over and not entry.watchers:
        heads.queue.cancel(task)
    if task.state == "failed":
        raise HTTPException(422, task.error)
    if task.state != "done":
        raise HTTPException(404, "There is no such head: it was deleted, or it was cancelled.")


# --- refusals


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentence = str(error.detail)
    if error.status_code == 400:
        sentence = f"The request cannot be read ({sentence.rstrip('.')})."
    elif not sentence.endswith("."):
        sentence = f"{sentence}: {request.method} {request.url.path} is nothing that this server knows."
    return JSONResponse({"detail": sentence}, error.status_code, getattr(error, "headers", None))


async def _refuse_options(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)
    return JSONResponse({"detail": refusal_of(error.errors())}, 422)


async def _refuse_photo(request: Request, error: Exception) -> JSONResponse:
    busy: dict[type, int] = {QueueFullError: 503, VisitorLimitError: 429}
    headers = {"Retry-After": "60"} if type(error) in busy else None
    return JSONResponse({"detail": str(error)}, busy.get(type(error), 422), headers)


async def _refuse_on_full_disk(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return JSONResponse({"detail": "The server's disk is full: try again later, or free some space."}, 507)


async def _say_nothing(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # to somebody who has left in the middle of his upload


async def _own_fault(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Something is wrong with this server: its log says more."}, 500)
