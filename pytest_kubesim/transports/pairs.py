"""Pairs of connected sockets for client libraries that hand bytes from thread to thread by them.

Law: a pair that `kubernetes.stream` makes for a forwarded port waits on virtual time, as the
threads at its ends do; pairs of anybody else are the operating system's.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

from pytest_kubesim.transports.actors import WORLD
from pytest_kubesim.transports.listeners import Wire
from pytest_kubesim.transports.sync import End, MemorySocket, become

if TYPE_CHECKING:
    from collections.abc import Callable

_real_socketpair: Any = socket.socketpair
_OURS = frozenset({"kubernetes.stream.ws_client"})


class _Side:
    """One side of a pair, as something to dial."""

    remote = False

    def __init__(self) -> None:
        self.cluster: Any = WORLD.cluster()
        self.other: End | None = None

    def dial(self, output: Callable[[bytes], object], on_close: Callable[[str], object]) -> Wire:
        """The way to the other side."""
        del output, on_close  # the other side's wire leads to them

        def heard(data: bytes) -> None:
            if self.other is not None:
                self.other.hear(data)

        def ended(kind: str) -> None:
            if self.other is not None:
                self.other.ended(kind)

        return Wire(heard, ended)

    def hang_up(self, connection: Any) -> None:
        """The socket of this side has been closed."""
        connection.end()

    def breathe(self) -> None:
        """Talking to oneself is no load for anybody."""


def _socketpair(*args: Any, **kwargs: Any) -> tuple[socket.socket, socket.socket]:
    caller = sys._getframe(1).f_globals.get("__name__")  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    if caller not in _OURS or not WORLD.inside():
        return _real_socketpair(*args, **kwargs)
    sides = (_Side(), _Side())
    ends = [End(side, ("", 0)) for side in sides]
    sides[0].other, sides[1].other = ends[1], ends[0]
    made: list[MemorySocket] = []
    for end in ends:
        sock: Any = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        become(sock, end)
        made.append(sock)
    return made[0], made[1]


def install() -> None:
    """Let pairs wait on virtual time."""
    module: Any = socket
    module.socketpair = _socketpair


def uninstall() -> None:
    """Pairs as they were."""
    module: Any = socket
    module.socketpair = _real_socketpair
