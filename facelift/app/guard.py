"""What stands before every request: whom the server answers, and what browsers are told about its answers."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = ("GET", "HEAD", "OPTIONS")

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests that another web site has a visitor's browser send.

    A page elsewhere can reach a server on localhost in two ways. It sends a form or a script's request: then
    the `Origin` is another. Or its own name is made to lead to 127.0.0.1 (DNS rebinding): then the `Host` is
    that name. So the host must be an address, `localhost`, this machine's own name, or one of `hosts`; and
    what changes something must come from the same origin or from no browser.

    Args:
        app: what is guarded.
        max_body: bytes of a request, with or without a `Content-Length`.
        hosts: further names by which the server is reached, of a proxy for instance.
    """

    def __init__(self, app: ASGIApp, max_body: int, hosts: Iterable[str] = ()) -> None:
        name = socket.gethostname().lower()
        self._app, self._max_body = app, max_body
        self._hosts = {"localhost", name, f"{name}.local", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        received = 0

        async def receive_so_much() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise self._too_large()
            return message

        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)
        length = headers.get("content-length", "0")
        if refusal is None and length.isdecimal() and int(length) > self._max_body:
            refusal = self._too_large()
        if refusal is not None:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code)
            await answer(scope, receive, send_with_headers)
        else:
            if scope["method"] == "HEAD":  # a GET to FastAPI; the web server leaves the body out
                scope = {**scope, "method": "GET"}
            await self._app(scope, receive_so_much, send_with_headers)

    def _too_large(self) -> HTTPException:
        limit = self._max_body / 1e6
        return HTTPException(413, f"The photo is too large: this server takes {limit:.3g} MB; scale it down.")

    def _refusal(self, method: str, headers: Headers) -> HTTPException | None:
        host = headers.get("host", "")
        name = _host_name(host)
        if name not in self._hosts and not _is_address(name):
            advice = f"start it with --allow-host {name}"
            return HTTPException(403, f"This server does not answer to the name {name!r}: {advice}.")
        origin = headers.get("origin")
        elsewhere = origin is not None and origin.lower().partition("://")[2] != host.lower()
        if method not in SAFE and (elsewhere or headers.get("sec-fetch-site") == "cross-site"):
            return HTTPException(403, "This request comes from another web site, and is refused.")
        return None


def visitor_of(connection: HTTPConnection) -> str:
    """Who asks, as far as the network tells: an address, or the part of it that one household has."""
    address = connection.client.host if connection.client else ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
