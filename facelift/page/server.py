"""A page and its files, served to the browsers of this machine and to nobody else."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from facelift.errors import UserError

LOCALHOST = "127.0.0.1"
CONTENT_TYPES = {"": "text/html; charset=utf-8", ".ply": "application/octet-stream"}
"""Of files, by the end of their names; the page's own name is empty."""


@contextmanager
def serving(files: Mapping[str, bytes], port: int = 0) -> Iterator[str]:
    """Serve files for as long as the block runs; yields the address of the one whose name is "".

    They lie under a name that nobody guesses, so other programs and users of this machine do not find them. A
    request under another host's name is refused: a website may have its own name lead here (DNS rebinding).

    Args:
        files: their contents by name.
        port: to listen on; 0 takes one that is free.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    secret = secrets.token_urlsafe(16)
    contents = {f"/{secret}/{name}": (_content_type(name), content) for name, content in files.items()}
    try:
        server = _Server(port, contents)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Port {port} cannot be listened on ({reason}): choose another one.") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOCALHOST}:{server.server_port}/{secret}/"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a browser that keeps its connection does not keep the program

    def __init__(self, port: int, contents: Mapping[str, tuple[str, bytes]]) -> None:
        super().__init__((LOCALHOST, port), _Handler)
        self.contents = contents
        self.hosts = _hosts(self.server_port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that goes away in the middle of a file is no error of this program."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer with what a file is, and not with the file."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        found = self.server.contents.get(self.path)
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, content = found
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the address and is quiet."""


def _hosts(port: int) -> set[str]:
    """What browsers of this machine call the server; the port of HTTP itself they leave out."""
    return {name if port == 80 else f"{name}:{port}" for name in (LOCALHOST, "localhost")}


def _content_type(name: str) -> str:
    return next(kind for end, kind in reversed(CONTENT_TYPES.items()) if name.endswith(end))
