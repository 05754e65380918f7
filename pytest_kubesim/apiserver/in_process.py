"""Coroutines of the API server: as work of its process, and at once where nothing may wait.

The law: a client's request dies with the process.  The fast path: what completes without suspending
has never been a task.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.wire import ConnectionLost, Response

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.wire import WatchStream


T = TypeVar("T")


def at_once(coro: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, for those who cannot wait.  Raises `NotSimulated` if it has to."""
    try:
        coro.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    coro.close()
    raise NotSimulated(
        "What expressions and conversions ask must be answered without any time passing."
    )


class InProcess:
    """Awaits a coroutine as the server's own work: it dies with the process.

    The first steps run at once in the client's task.  If they suspend, a task of the server's
    process takes over, and the client waits for it or for the end of the process.
    """

    __slots__ = ("_coro", "_server")

    def __init__(
        self, server: APIServer, coro: Coroutine[Any, Any, Response | WatchStream]
    ) -> None:
        self._server = server
        self._coro = coro

    def __await__(self) -> Generator[Any, Any, Response | WatchStream]:
        try:
            trap = self._coro.send(None)
        except StopIteration as stop:
            return stop.value
        return (yield from self._suspended(trap).__await__())

    async def _suspended(self, trap: Any) -> Response | WatchStream:
        server = self._server
        task = server.process.spawn(resumed(self._coro, trap), name="request", daemon=True)
        server.under_way[task] = None
        await server.kernel.wait_any(task)
        server.under_way.pop(task, None)
        if isinstance(task.exception(), BaseException) and not server.process.alive:
            raise ConnectionLost("reset", "read: connection reset by peer")
        return task.result()


async def resumed(coro: Coroutine[Any, Any, Any], trap: Any) -> Any:
    """Goes on with a coroutine that has yielded `trap` to somebody else."""
    return await _Rest(coro, trap)


class _Rest:
    __slots__ = ("_coro", "_trap")

    def __init__(self, coro: Coroutine[Any, Any, Any], trap: Any) -> None:
        self._coro = coro
        self._trap = trap

    def __await__(self) -> Generator[Any, Any, Any]:
        coro, trap = self._coro, self._trap
        try:
            while True:
                try:
                    sent = yield trap
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 - handed on to whom it is for
                    trap = coro.throw(error)
                else:
                    trap = coro.send(sent)
        except StopIteration as stop:
            return stop.value
        finally:
            coro.close()
