"""What HTTP/1.1 and HTTP/2 have in common: the way to the API server and back.

The law: every request has an audit ID, the client's or one that is drawn, and the answer says it.

Follows `endpoints/handlers/responsewriters/writers.go` for compression.
"""

from __future__ import annotations

import gzip
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.transports.http import Front
    from pytest_kubesim.wire import Request, Response

GZIP_THRESHOLD_BYTES = 128 * 1024
"""Bodies above it are compressed, for clients that take that."""
GZIP_LEVEL = 1
HIGH_BYTES = 256 * 1024
"""While a client has left so much unread it is sent no more of a log, or of what a command says."""

_NO_CACHE = ("Cache-Control", "no-cache, private")


async def ask(front: Front, request: Request) -> Any:
    """The answer to a request, after its way there and back.  Raises `ConnectionLost`."""
    network, host = front.network, request.host
    audit_id = request.header("audit-id")
    if not audit_id:
        audit_id = _audit_id(front, request)
        named = (*request.headers, ("audit-id", audit_id))
        request = msgspec.structs.replace(request, headers=named)
    if network is not None and not network.instant(host, front.server_host):
        await network.transit(host, front.server_host)
    answer: Any = await front.handler.handle(request)
    # What another server has upgraded is passed on as it is.
    if not hasattr(answer, "wire") and all(k.lower() != "audit-id" for k, _ in answer.headers):
        answer.headers = (("Audit-Id", audit_id), *answer.headers)
    if network is not None and not network.instant(front.server_host, host):
        await network.transit(front.server_host, host)
    return answer


def _audit_id(front: Front, request: Request) -> str:
    """A UUID by which a request is known (`endpoints/filters/request_audit_id.go`)."""
    number = next(front.asked)
    drawn = front.kernel.rng.bytes(16, "audit", front.server_host, request.client, number)
    text = drawn.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


async def deliver(front: Front, host: str, stream_name: str, batch: int) -> None:
    """Let a batch of watch events take its time.  Raises `ConnectionLost`."""
    low, high = front.watch_latency_ns
    if high and not getattr(front.handler, "still", False):  # nothing is under way in frozen time
        kernel = front.kernel
        await kernel.sleep(kernel.rng.between_ns(low, high, "watch", stream_name, batch))
    network = front.network
    if network is not None and not network.instant(front.server_host, host):
        await network.transit(front.server_host, host)


def packed(
    front: Front, request: Request, answer: Response
) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """The body as it is sent, and its headers."""
    body = answer.encoded()
    if (
        front.compress
        and len(body) > GZIP_THRESHOLD_BYTES
        and "gzip" in request.header("accept-encoding")
    ):
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        more = (("content-encoding", "gzip"), ("vary", "Accept-Encoding"))
        return body, (*answer.headers, *more)
    return body, answer.headers


def with_cache_control(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers, and that nobody keeps the answer, unless they say otherwise.

    Follows `endpoints/filters/cachecontrol.go`.
    """
    for name, _ in headers:
        if name.lower() == "cache-control":
            return headers
    return (_NO_CACHE, *headers)


def bodiless(status: int) -> bool:
    """Whether answers of that status have no body."""
    return status in {204, 304} or 100 <= status < 200


_last_date: tuple[int, str] = (-1, "")


def date(front: Front) -> str:
    """The value of the header `Date`, by the clock of the API server that answers."""
    global _last_date  # noqa: PLW0603 - a cache of one: the same second asks often
    process: Process | None = getattr(front.handler, "process", None)
    seconds = (front.kernel.now_ns if process is None else process.now_ns()) // NS
    if _last_date[0] != seconds:
        _last_date = (seconds, formatdate(seconds, usegmt=True))
    return _last_date[1]
