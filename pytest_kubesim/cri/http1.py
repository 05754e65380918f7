"""HTTP/1.1 over simulated connections: enough of a server and a client for programs in containers.

The law: a message is read whole before it is answered; a connection is kept open unless a side asks
otherwise.  Bodies have a length or come in chunks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote

import attrs

from pytest_kubesim.sim.pipes import Broken, Reset

if TYPE_CHECKING:
    from pytest_kubesim.sim.pipes import Pipe, Stream

REASONS = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently",
    302: "Found", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 412: "Precondition Failed", 417: "Expectation Failed",
    418: "I'm a teapot", 500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}


class MessageFault(Exception):
    """What came is no HTTP message."""


@attrs.frozen(slots=True)
class Request:
    """A request, as a server sees it; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: bytes = b""
    remote: tuple[str, int] = ("", 0)
    local: tuple[str, int] = ("", 0)
    certificate: bytes = b""
    """What the client shows of itself, in PEM."""

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The query; the first value of each name."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True):
            found.setdefault(name, value)
        return found


@attrs.frozen(slots=True)
class Response:
    """A response."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


async def _head(pipe: Pipe) -> tuple[str, dict[str, str]] | None:
    data = await pipe.read_until(b"\r\n\r\n", 1 << 16)
    if not data:
        return None
    if not data.endswith(b"\r\n\r\n"):
        raise MessageFault("malformed HTTP message")
    first, *lines = data.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            text = value.strip()
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return first, headers


async def _body(pipe: Pipe, headers: Mapping[str, str], *, to_end: bool) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        pieces: list[bytes] = []
        while True:
            size = int((await pipe.read_until(b"\r\n")).split(b";")[0].strip() or b"0", 16)
            if not size:
                await pipe.read_until(b"\r\n")
                return b"".join(pieces)
            pieces.append(await pipe.read_exactly(size))
            await pipe.read_until(b"\r\n")
    length = headers.get("content-length")
    if length is not None:
        return await pipe.read_exactly(int(length))
    return await pipe.read_all() if to_end else b""


async def serve(stream: Stream, handler: Handler) -> None:
    """Answer the requests that come on a connection, until it ends."""
    try:
        while True:
            head = await _head(stream.incoming)
            if head is None:
                break
            line, headers = head
            words = line.split(" ")
            if len(words) != 3 or not words[2].startswith("HTTP/"):
                raise MessageFault(line)
            body = await _body(stream.incoming, headers, to_end=False)
            request = Request(
                words[0], words[1], headers, body, stream.remote, stream.local, stream.shown
            )
            response = await handler(request)
            wish = headers.get("connection", "").lower()
            own = {name.lower(): value for name, value in response.headers.items()}
            keep = "close" not in wish and words[2] != "HTTP/1.0"
            keep = keep and "close" not in own.get("connection", "").lower()
            stream.write(_answer(response, own, keep=keep, head=words[0] == "HEAD"))
            await stream.drain()
            if not keep:
                break
    except MessageFault:
        stream.write(_answer(Response(400, b"400 Bad Request"), {}, keep=False, head=False))
    except (Broken, Reset):
        pass
    finally:
        stream.close()


def _answer(response: Response, own: Mapping[str, str], *, keep: bool, head: bool) -> bytes:
    reason = REASONS.get(response.status, "status code " + str(response.status))
    lines = [f"HTTP/1.1 {response.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if "content-type" not in own and response.body:
        lines.append(f"Content-Type: {sniffed(response.body)}")
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    if not keep and "connection" not in own:
        lines.append("Connection: close")
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("latin-1") + (b"" if head else response.body)


_HTML = re.compile(
    rb"[\t\n\x0c\r ]*<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B"
    rb"|BODY|BR|P)[ >]|[\t\n\x0c\r ]*<!--",
    re.IGNORECASE,
)
_BINARY = frozenset((*range(9), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)))
SNIFFED_BYTES = 512


def sniffed(body: bytes) -> str:
    """What Go's `http.DetectContentType` takes a text for; all else is bytes."""
    head = body[:SNIFFED_BYTES]
    if _HTML.match(head):
        return "text/html; charset=utf-8"
    if head.lstrip(b"\t\n\x0c\r ").startswith(b"<?xml"):
        return "text/xml; charset=utf-8"
    return "application/octet-stream" if _BINARY.intersection(head) else "text/plain; charset=utf-8"


def redirected(request: Request, place: str, status: int = 302) -> Response:
    """What Go's `http.Redirect` answers."""
    headers = {"Location": place}
    if request.method not in ("GET", "HEAD"):
        return Response(status, b"", headers)
    headers["Content-Type"] = "text/html; charset=utf-8"
    body = f'<a href="{html.escape(place)}">{REASONS.get(status, "")}</a>.\n\n'
    return Response(status, body.encode(), headers)


async def fetch(stream: Stream, request: Request) -> Response:
    """Send a request on a new connection and read the whole response.

    Raises: `MessageFault`, `Broken`, `Reset`.
    """
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    names = {name.lower() for name in request.headers}
    if "connection" not in names:
        lines.append("Connection: close")
    if request.body and "content-length" not in names:
        lines.append(f"Content-Length: {len(request.body)}")
    stream.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body)
    head = await _head(stream.incoming)
    if head is None:
        raise MessageFault("EOF")
    line, headers = head
    words = line.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise MessageFault(f"malformed HTTP response {line!r}")
    body = b""
    if request.method != "HEAD" and words[1] != "204":
        body = await _body(stream.incoming, headers, to_end=True)
    return Response(int(words[1]), body, headers)
