"""`select.select` and `select.poll` on sockets that lead to a cluster: they wait on virtual time.

Law: as soon as one of ours is among those waited for, time is virtual, and the real ones are looked
at once, without waiting.
"""

from __future__ import annotations

import select
from typing import Any

from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.transports.actors import WORLD, to_delay_ns
from pytest_kubesim.transports.sync import MemorySocket, end_of

_real_select = select.select
_real_poll: Any = getattr(select, "poll", None)


def _wait(sockets: list[MemorySocket], timeout_s: float | None) -> list[MemorySocket]:
    """Those that can be read, waiting for one."""
    ready = [s for s in sockets if end_of(s).readable]
    if ready or timeout_s == 0:
        return ready
    waiter: Future[None] = Future(WORLD.cluster().kernel)
    for sock in sockets:
        end_of(sock).waiter = waiter
    WORLD.block(waiter, None if timeout_s is None else to_delay_ns(max(0.0, timeout_s)))
    return [s for s in sockets if end_of(s).readable]


def _socket_of(waited: Any) -> MemorySocket | None:
    """The socket of ours that is waited for, by itself or as the `sock` of a connection."""
    if isinstance(waited, MemorySocket):
        return waited
    inner = getattr(waited, "sock", None)
    return inner if isinstance(inner, MemorySocket) else None


def _select(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None) -> Any:
    ours = [(s, sock) for s in rlist if (sock := _socket_of(s)) is not None]
    writable = [s for s in wlist if _socket_of(s) is not None]
    if not (ours or writable) or not WORLD.inside():
        return _real_select(rlist, wlist, xlist, timeout)
    others = [[s for s in given if _socket_of(s) is None] for given in (rlist, wlist, xlist)]
    found: Any = _real_select(others[0], others[1], others[2], 0)
    at_once = bool(writable or any(found))
    ready = _wait([sock for _, sock in ours], 0 if at_once else timeout) if ours else []
    return ([s for s, sock in ours if sock in ready] + found[0], writable + found[1], found[2])


class Poll:
    """`select.poll()`, for sockets of either kind."""

    def __init__(self) -> None:
        self._real = _real_poll()
        self._ours: dict[MemorySocket, int] = {}

    def register(self, fd: Any, eventmask: int = 0) -> None:
        """As `select.poll().register`."""
        if isinstance(fd, MemorySocket):
            self._ours[fd] = eventmask
        elif eventmask:
            self._real.register(fd, eventmask)
        else:
            self._real.register(fd)

    def modify(self, fd: Any, eventmask: int) -> None:
        """As `select.poll().modify`."""
        if isinstance(fd, MemorySocket):
            self._ours[fd] = eventmask
        else:
            self._real.modify(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """As `select.poll().unregister`."""
        if isinstance(fd, MemorySocket):
            del self._ours[fd]
        else:
            self._real.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """As `select.poll().poll`; `timeout` is milliseconds."""
        if not self._ours or not WORLD.inside():
            return self._real.poll(timeout)
        found: list[tuple[int, int]] = self._real.poll(0)
        found += [(s.fileno(), select.POLLOUT) for s, m in self._ours.items() if m & select.POLLOUT]
        seconds = None if timeout is None or timeout < 0 else timeout / 1_000
        ready = _wait(list(self._ours), 0 if found else seconds)
        return found + [(s.fileno(), select.POLLIN) for s in ready]


def install() -> None:
    """Let polling know our sockets."""
    module: Any = select
    module.select = _select
    if _real_poll is not None:
        module.poll = Poll


def uninstall() -> None:
    """Polling as it was."""
    module: Any = select
    module.select = _real_select
    if _real_poll is not None:
        module.poll = _real_poll

