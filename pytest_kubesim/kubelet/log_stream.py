"""A log that is followed: what is there, then what comes, until the container ends.

The law: the same lines as without `follow` come first (`tailLines`, `sinceTime`); what comes later
is not cut to the tail, but counts towards `limitBytes`.  A reader that is behind is not waited for
by the container, and misses what has been dropped from the log meanwhile.

Follows `pkg/kubelet/kuberuntime/logs/logs.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery.golang import query_flag
from pytest_kubesim.apimachinery.timestamps import parse_time
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.kubelet.server import LogOptions, format_log
from pytest_kubesim.sim.tasks import Event
from pytest_kubesim.wire import ConnectionLost, WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.link import Link

TEXT = "text/plain"


def log_options(query: Mapping[str, str]) -> LogOptions:
    """`PodLogOptions` from the query of a request."""

    def number(name: str) -> int | None:
        return int(query[name]) if query.get(name) else None

    since = query.get("sinceTime")
    return LogOptions(
        tail_lines=number("tailLines"),
        since_seconds=number("sinceSeconds"),
        since_time_ns=parse_time(since) if since else None,
        limit_bytes=number("limitBytes"),
        timestamps=query_flag(query.get("timestamps")),
        previous=query_flag(query.get("previous")),
        stream=query.get("stream") or "All",
    )


class LogStream:
    """The log of a running container (a `WatchStream` whose events are its pieces).

    Parameters: `run`, the container; `options`; `now_ns` on the node's clock.
    """

    status = 200
    content_type = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    patient = True
    """Whoever sends it waits for a client that is behind."""

    def __init__(self, run: Container, options: LogOptions, now_ns: int) -> None:
        self._run = run
        self._options = attrs.evolve(options, limit_bytes=None)
        self._left = options.limit_bytes
        self._news = Event(run.kernel)
        self._closed = False
        self._pending = format_log(run.logs, self._options, now_ns).encode()
        self._options = attrs.evolve(self._options, tail_lines=None, since_seconds=None)
        self._seen = run.lines_written
        run.readers.append(self._news.set)

    @property
    def closed(self) -> bool:
        """Whether it has ended; what is still pending can be read."""
        return self._closed or self._run.state != RUNNING or self._left == 0

    async def next(self) -> WatchEvent | None:
        """The next piece, waiting for one; None once the container has ended."""
        while True:
            event = self.next_nowait()
            if event is not None:
                return event
            if self.closed:
                self.close()
                return None
            self._news.clear()
            await self._run.kernel.wait_any(self._news.future(), self._run.exited.future())

    def next_nowait(self) -> WatchEvent | None:
        """What has been written since the last piece, if anything."""
        fresh = self._run.lines_written - self._seen
        if fresh:
            self._seen = self._run.lines_written
            lines = self._run.logs[-fresh:]
            self._pending += format_log(lines, self._options, self._run.now_ns()).encode()
        if self._left is not None:
            self._pending = self._pending[: self._left]
        if not self._pending or self._closed:
            return None
        piece, self._pending = self._pending, b""
        if self._left is not None:
            self._left -= len(piece)
        return WatchEvent("LOG", {"piece": piece}, 0)

    def close(self) -> None:
        """End it from the client's side."""
        self._closed = True
        if self._news.set in self._run.readers:
            self._run.readers.remove(self._news.set)

    def encode(self, event: WatchEvent) -> bytes:
        """The piece as it goes over the wire."""
        piece: bytes = event.object["piece"]
        return piece


class RemoteLog:
    """A `LogStream` as the API server gets it from the kubelet.

    Parameters: `inner`, the kubelet's; `link`, the connection to it, closed with the stream.
    """

    status = LogStream.status
    content_type = LogStream.content_type
    headers = LogStream.headers
    patient = LogStream.patient

    def __init__(self, inner: LogStream, link: Link, kernel: Kernel) -> None:
        self._inner = inner
        self._link = link
        self._changed = Event(kernel)
        link.on_change.append(self._changed.set)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._link.lost or self._inner.closed

    async def next(self) -> WatchEvent | None:
        """The next piece that has come through; None at the end.  Raises `ConnectionLost`."""
        event = await self._inner.next()
        while not self._link.back and not self._link.lost:
            self._changed.clear()
            await self._changed.wait()
        if self._link.lost:
            self.close()
            raise ConnectionLost("reset", "the kubelet does not answer any more")
        if event is None:
            self._link.close()
        return event

    def next_nowait(self) -> WatchEvent | None:
        """A piece that is there already, if any."""
        return self._inner.next_nowait() if self._link.back and not self._link.lost else None

    def close(self) -> None:
        """End it from the client's side."""
        self._link.close()
        self._inner.close()

    def encode(self, event: WatchEvent) -> bytes:
        """The piece as it goes over the wire."""
        return self._inner.encode(event)
