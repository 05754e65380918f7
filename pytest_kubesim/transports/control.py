"""The remote control: `/kubesim/v1` beside the API server, for tests in other languages.

Under construction: for now it passes everything on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.clock import WallClock
    from pytest_kubesim.wire import Request, Response, WatchStream


class Control:
    """What a door asks: the remote control for its own paths, the API server for all others."""

    def __init__(self, cluster: Cluster, clock: WallClock) -> None:
        self._cluster = cluster
        self._clock = clock

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer a request.  Raises `ConnectionLost` where no answer comes."""
        return await self._cluster.server.handle(request)
