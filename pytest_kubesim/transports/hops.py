"""The hop behind the API server on an upgraded connection: to the kubelet, and back.

For an upgraded connection the API server only copies bytes between its client and the kubelet.
Law: while the network between the two is cut, bytes wait here, in either direction; when the
connection is lost, its client hears that it has ended, and the kubelet that its client has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.transports.answers import HIGH_BYTES

if TYPE_CHECKING:
    from pytest_kubesim.sim.link import Link
    from pytest_kubesim.transports.http import Connection, Front, Headers
    from pytest_kubesim.transports.upgrades import Upgraded


class Hop:
    """Between a client's connection and what took it over, standing for each to the other.

    Parameters: `connection`, the client's; `link`, the API server's to the kubelet.
    """

    def __init__(self, connection: Connection, link: Link) -> None:
        self._connection = connection
        self._link = link
        self._inner: Upgraded | None = None
        self._there = bytearray()
        self._back = bytearray()
        self._ending: str | None = None
        self._gone = False
        link.on_change.append(self._changed)

    def joined(self, inner: Upgraded | None) -> Hop | None:
        """`inner` is at the far end; None where there is none."""
        self._inner = inner
        if inner is None:
            self._link.close()
            return None
        return self

    # -- what took the connection over sees of it ---------------------------------------------

    @property
    def front(self) -> Front:
        """As `Connection.front`."""
        return self._connection.front

    @property
    def closed(self) -> bool:
        """As `Connection.closed`."""
        return self._connection.closed or self._ending is not None

    @property
    def resumed(self) -> Callable[[], object]:
        """As `Connection.resumed`."""
        return self._connection.resumed

    def backlog(self) -> int:
        """As `Connection.backlog`."""
        return self._connection.backlog() + len(self._back)

    def switch(self, headers: Headers) -> None:
        """As `Connection.switch`."""
        self._connection.switch(headers)

    def refuse(self, status: int, text: str) -> None:
        """As `Connection.refuse`."""
        self._connection.refuse(status, text)

    def send(self, data: bytes) -> None:
        """As `Connection.send`."""
        if self._link.back and not self._back:
            self._connection.send(data)
        else:
            self._back += data

    def end(self, kind: str = "eof") -> None:
        """As `Connection.end`."""
        if self._ending is None:
            self._ending = kind
            self._changed()

    # -- the client's connection sees of it ---------------------------------------------------

    @property
    def saturated(self) -> bool:
        """As `Upgraded.saturated`."""
        return len(self._there) >= HIGH_BYTES or (
            self._inner is not None and self._inner.saturated
        )

    def feed(self, data: bytes) -> None:
        """As `Upgraded.feed`."""
        if self._inner is not None and self._link.there and not self._there:
            self._inner.feed(data)
        else:
            self._there += data

    def pump(self) -> None:
        """As `Upgraded.pump`."""
        if self._inner is not None:
            self._inner.pump()

    def client_closed(self) -> None:
        """As `Upgraded.client_closed`."""
        self._gone = True
        self._changed()

    # -- the network --------------------------------------------------------------------------

    def _changed(self) -> None:
        link, connection, inner = self._link, self._connection, self._inner
        if (link.there or link.lost) and inner is not None:
            there, self._there = bytes(self._there), bytearray()
            if there and not link.lost:
                inner.feed(there)
                connection.resumed()
            if self._gone or link.lost:
                self._inner = None
                link.close()
                inner.client_closed()
        if link.lost:
            link.close()
            connection.end()
        elif link.back:
            back, self._back = bytes(self._back), bytearray()
            if back:
                connection.send(back)
                if inner is not None:
                    inner.pump()
            if self._ending is not None:
                link.close()
                connection.end(self._ending)
