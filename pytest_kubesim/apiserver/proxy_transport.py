"""A request on its way through the API server to a program in the cluster, and its answer back.

The law: the program sees the client's request, without what concerns the connection and without
credentials, plus `X-Forwarded-*`; the client sees the program's answer, with links rewritten so
that they lead through the proxy again.  Bodies of known and moderate length are taken whole, others
are handed on as they come.  A connection is used for one request.

Follows `apimachinery/pkg/util/proxy/{transport,upgradeaware}.go` and Go's `httputil.ReverseProxy`.
"""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser
from posixpath import join, normpath
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit, urlunsplit

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apiserver.http1 import AnswerReader, Malformed
from pytest_kubesim.sim.pipes import Broken, ConnectError, Reset, Stream
from pytest_kubesim.wire import Response, WatchEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.wire import Request

WHOLE_BYTES = 1 << 20
"""A body of at most that length is taken whole before the client is answered."""
FORWARDED_FOR = "127.0.0.1"
"""Clients are on loopback, or in this process."""

HOP_BY_HOP = frozenset({
    "connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "te", "trailer", "transfer-encoding", "upgrade",
})
_CORS = frozenset({
    "access-control-allow-credentials", "access-control-allow-headers",
    "access-control-allow-methods", "access-control-allow-origin",
})
_LINKS = {
    "a": ("href",), "applet": ("codebase",), "area": ("href",), "audio": ("src",),
    "base": ("href",), "blockquote": ("cite",), "body": ("background",),
    "button": ("formaction",), "command": ("icon",), "del": ("cite",), "embed": ("src",),
    "form": ("action",), "frame": ("longdesc", "src"), "head": ("profile",),
    "html": ("manifest",), "iframe": ("longdesc", "src"), "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"), "ins": ("cite",), "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",), "script": ("src",),
    "source": ("src",), "video": ("poster", "src"),
}
"""The attributes that hold links, by tag."""


@attrs.frozen(slots=True)
class Location:
    """Where a request goes: `host` and `port`, and the `path` there (encoded, without query).

    `secure`: by HTTPS, to a program that shows a certificate, whichever.
    """

    host: str
    port: int
    path: str
    secure: bool = False

    @property
    def address(self) -> str:
        """Host and port as URLs write them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class RawUpgrade:
    """A connection that the program has upgraded (a `wire.UpgradeStream` on the wire `raw`).

    `head` is the beginning of its answer, `stream` the connection to it.
    """

    status = 101
    wire = "raw"
    subprotocol = ""
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, kernel: Kernel, stream: Stream, head: bytes) -> None:
        self.kernel = kernel
        self.stream = stream
        self.head = head

    def close(self) -> None:
        """The client has gone."""
        self.stream.close()


async def send(
    kernel: Kernel, connect: Any, location: Location, request: Request
) -> Response | Body | RawUpgrade:
    """Ask a program, and give its answer.

    Parameters: `connect(host, port)` opens the connection; `location` of the program; `request` of
    the client.

    Raises: `APIStatus` (503 where it cannot be reached; 500 for an upgrade).
    """
    upgrade = upgrade_of(request)
    try:
        stream: Stream = await connect(location.host, location.port)
    except ConnectError as error:
        raise _unreachable(f"dial tcp {location.address}: {_dialed(error)}", upgrade) from None
    if location.secure and not stream.shown:
        stream.close()
        raise _unreachable("tls: first record does not look like a TLS handshake", upgrade)
    reader = AnswerReader(stream)
    try:
        stream.write(_head(location, request, upgrade))
        if request.body:
            stream.write(request.body)
        await stream.drain()
        await reader.read_head(request.method)
    except Reset:
        raise _unreachable("read: connection reset by peer", upgrade) from None
    except Broken:
        raise _unreachable("write: broken pipe", upgrade) from None
    except Malformed as error:
        stream.close()
        raise _unreachable(str(error), upgrade) from None
    if reader.status == 101 and upgrade:
        return RawUpgrade(kernel, stream, reader.raw)
    links = Links(location.address, request.header("host"), _prepended(location, request))
    return await answer(reader, links)


def _dialed(error: ConnectError) -> str:
    text = str(error)
    if text == "Connection timed out":
        return "i/o timeout"
    return f"connect: {text[:1].lower()}{text[1:]}"


def _unreachable(problem: str, upgrade: str) -> status.APIStatus:
    if upgrade:
        return status.APIStatus(500, "", f"error dialing backend: {problem}")
    return status.new_service_unavailable(f"error trying to reach service: {problem}")


def upgrade_of(request: Request) -> str:
    """The protocol to which a client wants to upgrade; "" for none."""
    wanted = any(n == "connection" and "upgrade" in v.lower() for n, v in request.headers)
    return request.header("upgrade") if wanted else ""


def _head(location: Location, request: Request, upgrade: str) -> bytes:
    query = f"?{urlencode(request.query, quote_via=quote)}" if request.query else ""
    lines = [f"{request.method} {location.path}{query} HTTP/1.1"]
    host = request.header("host") or location.address
    lines.append(f"Host: {host}")
    named = {
        token.strip().lower()
        for name, value in request.headers
        if name == "connection"
        for token in value.split(",")
    }
    dropped = HOP_BY_HOP | named | {"host", "authorization", "content-length", "x-forwarded-uri"}
    for name, value in request.headers:
        if name not in dropped and not name.startswith("impersonate-"):
            lines.append(f"{name.title()}: {value}")
    if upgrade:
        lines += ["Connection: Upgrade", f"Upgrade: {upgrade}"]
    if request.body:
        lines.append(f"Content-Length: {len(request.body)}")
    elif request.method in {"POST", "PUT", "PATCH"}:
        lines.append("Content-Length: 0")
    uri = normpath(join(_prepended(location, request), location.path.lstrip("/")))
    uri += "/" if location.path.endswith("/") else ""
    lines += [f"X-Forwarded-For: {FORWARDED_FOR}", f"X-Forwarded-Uri: {uri}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _prepended(location: Location, request: Request) -> str:
    """What of the client's path stands before the program's."""
    path, suffix = unquote(request.path), unquote(location.path)
    if path.endswith("/") and not suffix.endswith("/"):
        suffix += "/"
    return path.removesuffix(suffix)


# -- the answer -----------------------------------------------------------------------------------


class Body:
    """An answer whose body is handed on as it comes (a `WatchStream` of its pieces)."""

    patient = True

    def __init__(self, reader: AnswerReader, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = reader.status
        self.content_type = reader.header("content-type")
        self.headers = headers
        self._reader = reader
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed or self._reader.complete

    async def next(self) -> WatchEvent | None:
        """The next piece, waiting for it; None at the end."""
        piece = b"" if self._closed else await self._reader.read_piece()
        return WatchEvent("BODY", {"piece": piece}, 0) if piece else None

    def next_nowait(self) -> WatchEvent | None:
        """Pieces are waited for."""
        return None

    def close(self) -> None:
        """End it from the client's side."""
        self._closed = True
        self._reader.stream.close()

    def encode(self, event: WatchEvent) -> bytes:
        """The piece as it goes over the wire."""
        piece: bytes = event.object["piece"]
        return piece


async def answer(reader: AnswerReader, links: Links) -> Response | Body:
    """The answer whose head has been read, with its links rewritten."""
    redirect = reader.header("location")
    kind = reader.header("content-type").split(";", 1)[0].strip()
    html = kind == "text/html" and not redirect and not reader.header("content-encoding")
    named = {token.strip().lower() for token in reader.header("connection").split(",")}
    dropped = HOP_BY_HOP | _CORS | named | {"content-type", "content-length", "date"}
    headers = tuple(
        (name, links.rewritten(value) if name.lower() == "location" else value)
        for name, value in reader.headers
        if name.lower() not in dropped
    )
    length = reader.length
    if not html and not reader.complete and (length is None or length > WHOLE_BYTES):
        return Body(reader, headers)
    body = b""
    while piece := await reader.read_piece():
        body += piece
    reader.stream.close()
    if html:
        body = links.in_html(body)
    return Response(reader.status, None, body, reader.header("content-type"), headers)


# -- links ----------------------------------------------------------------------------------------


class Links:
    """Rewrites links of a program so that they lead through the proxy.

    Parameters: `target`, host and port of the program; `host` that the client asked; `prepend`,
    what of the client's path stands before the program's; `base`, scheme and host of the rewritten
    links ("": they have none).
    """

    def __init__(self, target: str, host: str, prepend: str, base: str = "") -> None:
        self._target = target
        self._host = host
        self._prepend = prepend
        self._base = base

    def rewritten(self, link: str) -> str:
        """A link as the client should follow it."""
        try:
            url = urlsplit(link)
        except ValueError:
            return link
        foreign = bool(url.netloc) and url.netloc not in {self._target, self._host}
        if foreign or not url.path.startswith("/"):
            return link
        if self._base:
            base = urlsplit(self._base)
            url = SplitResult(base.scheme, base.netloc, url.path, url.query, url.fragment)
        elif not (url.netloc and url.netloc == self._host):
            url = SplitResult("", "", url.path, url.query, url.fragment)
        if url.path.startswith(self._prepend):
            return urlunsplit(url)
        path = normpath(join(self._prepend, url.path.lstrip("/")))
        if url.path.endswith("/"):
            path += "/"
        return urlunsplit(url._replace(path=path))

    def in_html(self, page: bytes) -> bytes:
        """A page with its links rewritten."""
        rewriter = _Page(self.rewritten)
        rewriter.feed(page.decode("latin-1"))
        rewriter.close()
        return "".join(rewriter.parts).encode("latin-1", "xmlcharrefreplace")


class _Page(HTMLParser):
    """Copies a page, tag by tag."""

    def __init__(self, rewrite: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []
        self._rewrite = rewrite

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs, ">")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag(tag, attrs, "/>")

    def _tag(self, tag: str, found: list[tuple[str, str | None]], end: str) -> None:
        links = _LINKS.get(tag)
        if links is None:
            self.parts.append(self.get_starttag_text() or "")
            return
        shown = [
            f' {name}="{escape(self._rewrite(value or "") if name in links else value or "")}"'
            for name, value in found
        ]
        self.parts.append(f"<{tag}{''.join(shown)}{end}")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_entityref(self, name: str) -> None:
        self.parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.parts.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.parts.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.parts.append(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        self.parts.append(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        self.parts.append(f"<![{data}]>")
