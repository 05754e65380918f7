"""Connections to servers outside as streams of the simulation.

The law: a thread for each connection is alone with its socket; what it reads is written into the
stream in the loop, as fast as somebody there takes it, and what is written there it sends.  A
stream that is left closes the socket.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_kubesim.sim.pipes import Broken, Reset, connection

if TYPE_CHECKING:
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.pipes import Stream

CallSoon = Callable[[Callable[[], object]], object]
PIECE = 65_536


class Bridge:
    """A socket that is connected, and the stream that it is in the simulation.

    Made in the loop; `run` is for the thread.
    """

    def __init__(self, kernel: Kernel, call_soon: CallSoon, sock: ssl.SSLSocket) -> None:
        self._kernel = kernel
        self._call_soon = call_soon
        self._sock = sock
        self.stream: Stream
        """What the simulation reads and writes."""
        self.stream, self._far = connection(kernel)
        self._awake, self._alarm = socket.socketpair()
        self._alarm.setblocking(False)
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._left = False
        self._room = threading.Event()
        self._room.set()
        self._far.incoming.on_change = self._written

    # -- in the loop --------------------------------------------------------------------------

    def _written(self) -> None:
        try:
            data = self._far.incoming.read_nowait()
            while data:
                with self._lock:
                    self._unsent += data
                data = self._far.incoming.read_nowait()
            left = self._far.incoming.ended
        except Reset:
            left = True
        if left:
            self._far.incoming.on_change = None
            self._left = True
            self._room.set()
        with suppress(OSError):
            self._alarm.send(b"x")

    def _arrived(self, data: bytes) -> None:
        async def hand_on() -> None:
            try:
                self._far.write(data)
                await self._far.drain()
            except (Broken, Reset):
                self._left = True
            self._room.set()

        self._kernel.spawn(hand_on(), name="from outside", daemon=True, eager=True)

    def _ended(self) -> None:
        self._far.close_write()

    # -- in the thread ------------------------------------------------------------------------

    def run(self) -> None:
        """Carry bytes both ways until one side ends."""
        self._sock.setblocking(False)
        try:
            while not self._left:
                if not self._send() or not self._receive():
                    break
        except OSError:
            pass
        finally:
            for each in (self._sock, self._awake):
                with suppress(OSError):
                    each.close()
            self._call_soon(self._ended)

    def _send(self) -> bool:
        with self._lock:
            data = bytes(self._unsent)
        while data:
            try:
                sent = self._sock.send(data)
            except ssl.SSLWantWriteError:
                select.select([], [self._sock], [])
            except ssl.SSLWantReadError:
                select.select([self._sock], [], [])
            else:
                with self._lock:
                    del self._unsent[:sent]
                data = data[sent:]
        return True

    def _receive(self) -> bool:
        """Wait for something to do; gives whether the connection goes on."""
        if not self._sock.pending():
            ready, _, _ = select.select([self._sock, self._awake], [], [])
            if self._awake in ready:
                self._awake.recv(PIECE)
            if self._sock not in ready:
                return True
        try:
            data = self._sock.recv(PIECE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        if not data:
            return False
        self._room.wait()
        self._room.clear()
        self._call_soon(lambda: self._arrived(data))
        return True
