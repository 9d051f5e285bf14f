"""`facelift app`: the web application and the HTTP API."""

from __future__ import annotations

import logging
import os
import socket
import sys
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.options import (
    SPEED,
    DeviceOption,
    DTypeOption,
    MemoryOption,
    ModelOption,
    RevisionOption,
)
from facelift.cli.terminal import status, tell
from facelift.errors import UserError

SERVER, LIMITS = "Server", "Limits"
DEFAULT_PORT = 7860


def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 0.0.0.0 lets other machines in, who then need no password.",
            rich_help_panel=SERVER,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port to listen on; 0 takes a free one.",
            rich_help_panel=SERVER,
            show_default=f"{DEFAULT_PORT}, or a free one if it is taken",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A name by which browsers reach this server through a proxy. May be given several times.",
            rich_help_panel=SERVER,
            show_default="localhost and this machine's own",
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser.", rich_help_panel=SERVER)
    ] = True,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to keep photos and heads as long as they are kept.",
            rich_help_panel=SERVER,
            show_default="the system's folder of temporary files",
        ),
    ] = None,
    max_upload: Annotated[
        float, typer.Option(min=0.1, help="Megabytes of an upload.", rich_help_panel=LIMITS)
    ] = 30.0,
    max_pixels: Annotated[
        float, typer.Option(min=0.01, help="Megapixels of a photo.", rich_help_panel=LIMITS)
    ] = 120.0,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="How many may wait in the queue.", rich_help_panel=LIMITS)
    ] = 50,
    keep: Annotated[
        float,
        typer.Option(min=0.01, help="Minutes after which a head is deleted.", rich_help_panel=LIMITS),
    ] = 60.0,
    grace: Annotated[
        float,
        typer.Option(
            min=0.5,
            help="Seconds after which the head of a visitor who has closed the page is cancelled.",
            rich_help_panel=LIMITS,
        ),
    ] = 10.0,
    max_per_visitor: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Heads that one address may have made at a time.",
            rich_help_panel=LIMITS,
            show_default="any number",
        ),
    ] = None,
    drain: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Seconds to finish the heads in the queue after SIGTERM; new ones are refused.",
            rich_help_panel=SERVER,
        ),
    ] = 0.0,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Processes that make heads, each with a model of its own.", rich_help_panel=SPEED
        ),
    ] = 1,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: DTypeOption = "auto",
    memory: MemoryOption = "auto",
) -> None:
    """Open a web application on this machine, with an HTTP API: a photo in, a head out."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"{error.name} is missing: install the application with `pip install 'facelift[app]'`."
        ) from None
    from facelift.app.private import PrivateFolder
    from facelift.app.queue import TaskQueue
    from facelift.app.workers import Workers

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # whoever sent a broken form is told
    queue = TaskQueue(max_waiting)
    with ExitStack() as stack:
        listening = stack.enter_context(listen(host, port))
        private = stack.enter_context(PrivateFolder(folder))
        with status("Loading"):
            loading = {"model": model, "revision": revision, "device": device}
            loading |= {"dtype": dtype, "memory": memory}
            made = stack.enter_context(Workers(queue, loading, workers))
            # Meanwhile. None of these loads the models: this process stays small.
            from facelift.app.heads import Heads
            from facelift.app.options import Limits
            from facelift.app.server import create_app
            from facelift.app.stopping import Server

            made.begin()
        limits = Limits(
            round(max_upload * 1e6),
            round(max_pixels * 1e6),
            minutes=keep,
            grace=grace,
            per_visitor=max_per_visitor,
        )
        config = uvicorn.Config(
            create_app(Heads(private, queue, limits), made, allow_host or ()),
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        url = f"http://{address(listening)}"
        tell(f"FaceLift is at {url}; Ctrl-C ends it.")
        if browser and can_show_windows():
            webbrowser.open(url)

        Server(config, queue, drain).run(sockets=[listening])


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; where no port is named, on `DEFAULT_PORT` or any other.

    Raises:
        UserError: the address or the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in [DEFAULT_PORT, 0] if port is None else [port]:
        listening = socket.socket(family)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, wanted))
            listening.listen(128)
            return listening
        except OSError as error:
            listening.close()
            reason = error.strerror or error
    asked = DEFAULT_PORT if port is None else port
    raise UserError(f"Cannot listen on {host}, port {asked}: {reason}; choose another --host or --port.")


def address(listening: socket.socket) -> str:
    """Host and port by which a browser on this machine reaches a socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::", "127.0.0.1"):
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def can_show_windows() -> bool:
    """Whether somebody sits there, with a desktop."""
    desktop = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return bool(desktop) and sys.stdout.isatty()
