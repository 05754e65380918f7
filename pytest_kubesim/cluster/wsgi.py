"""Calling a WSGI application (PEP 3333) for one request.

The law: the application runs in the simulation's thread; the pieces of its answer are taken when
the client reads them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pytest_kubesim.cluster.application_streams import Pieces
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.cluster.api_services import APIRequest
    from pytest_kubesim.cluster.externals import ExternalRequest


def environ_of(request: APIRequest | ExternalRequest) -> dict[str, Any]:
    """The environment that describes a request."""
    host, colon, port = request.header("host").partition(":")
    port = port if colon else {"http": "80"}.get(request.scheme, "443")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": urlencode(request.query),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_USER": request.remote_user,
        "CONTENT_LENGTH": str(len(request.body)) if request.body else "",
        "CONTENT_TYPE": request.header("content-type"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        if name not in {"content-type", "content-length"}:
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def call(application: Callable[..., Any], request: APIRequest | ExternalRequest) -> Any:
    """The answer of an application: a `Response`, or a stream where it has no length."""
    begun: dict[str, Any] = {}
    written: list[bytes] = []

    def start_response(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        del exc_info
        begun.update(code=int(line.split(" ", 1)[0]), headers=headers)
        return written.append

    body: Any = application(environ_of(request), start_response)
    if isinstance(body, list | tuple):
        written += list(body)  # pyright: ignore[reportUnknownArgumentType] - bytes, as WSGI says
        return _whole(begun, b"".join(written))
    pieces = _pieces(written, body)
    first = next(pieces, b"")
    if any(name.lower() == "content-length" for name, _ in begun["headers"]):
        return _whole(begun, first + b"".join(pieces))
    content_type, headers = _split(begun)

    def all_pieces() -> Iterator[bytes]:
        yield first
        yield from pieces

    return Pieces(begun["code"], content_type, headers, all_pieces())


def _pieces(written: list[bytes], body: Any) -> Iterator[bytes]:
    try:
        for piece in body:
            yield from written
            written.clear()
            if piece:
                yield piece
        yield from written
    finally:
        close: Any = getattr(body, "close", None)
        if close is not None:
            close()


def _whole(begun: dict[str, Any], body: bytes) -> Response:
    content_type, headers = _split(begun)
    return Response(begun["code"], None, body, content_type, headers)


def _split(begun: dict[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
    headers: list[tuple[str, str]] = begun["headers"]
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    dropped = {"content-type", "content-length", "date", "transfer-encoding", "connection"}
    return kind, tuple((name, value) for name, value in headers if name.lower() not in dropped)
