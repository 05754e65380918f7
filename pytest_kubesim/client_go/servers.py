"""Several API servers behind one client: to which of them it speaks.

As the balancer that many clusters have on each host (k3s's agents, kubespray's nginx), which knows
all API servers and asks whether they accept connections.  The law: a client stays with one server
for as long as that answers; one that refuses connections is passed over unseen, one that reset a
connection or did not answer in time costs a request, and the next one goes elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_kubesim.wire import Request, Response, WatchStream


class Server(Protocol):
    """An API server as something to connect to."""

    @property
    def host(self) -> str:
        """Its place in the network."""
        ...

    @property
    def accepting(self) -> bool:
        """Whether it accepts connections (a frozen one does, and does not answer)."""
        ...

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer a request."""
        ...


class Servers:
    """The servers that one client may use.

    Parameters: `servers`, all of them, at least one; `first`, the index of the one to begin with.
    """

    __slots__ = ("_all", "_at")

    def __init__(self, servers: Sequence[Server], first: int = 0) -> None:
        self._all = tuple(servers)
        self._at = first % len(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def pick(self) -> Server:
        """The one to speak to now: the same as before, or the next that accepts connections."""
        count = len(self._all)
        for step in range(count):
            at = (self._at + step) % count
            if self._all[at].accepting:
                self._at = at
                break
        return self._all[self._at]

    def failed(self, server: Server) -> None:
        """It did not answer: go on to the next, unless somebody else has done so already."""
        if self._all[self._at] is server:
            self._at = (self._at + 1) % len(self._all)
