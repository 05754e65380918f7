"""TLS for clients outside who forward a port of a pod: the pods' own network knows none.

The law: what listens in a pod and says that it speaks TLS is given plain bytes; a client who begins
a handshake is answered by a certificate that is good for nobody who looks at it, one who speaks
plainly is let be.
"""

from __future__ import annotations

import functools
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_kubesim.sim.pipes import Broken, Reset, Stream, connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.pipes import Pipe

HANDSHAKE = b"\x16\x03"
"""How a record of a handshake begins, in every version."""
READ_BYTES = 1 << 16


@functools.cache
def _context() -> ssl.SSLContext | None:
    """A server's; None without the package `cryptography`."""
    from pytest_kubesim.transports import certificates

    try:
        pair = certificates.Authority("localhost-ca").server()
    except ImportError:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*certificates.write(Path(folder), "pod", pair))
    return context


def ended(kernel: Kernel, stream: Stream) -> Stream:
    """The same connection for who may speak TLS.

    Parameters: `stream`, the client's end of a connection to a server that speaks TLS in name.
    """
    client, server = connection(kernel, stream.local, stream.remote)
    client.shown = stream.shown
    kernel.spawn(_join(kernel, server, stream), name="TLS of a pod", daemon=True)
    return client


async def _join(kernel: Kernel, outside: Stream, inside: Stream) -> None:
    try:
        first = await outside.read()
    except Reset:
        inside.reset()
        return
    context = _context() if first.startswith(HANDSHAKE) else None
    if context is None:
        there = _poured(outside.incoming, inside.outgoing, first)
        back = _poured(inside.incoming, outside.outgoing, b"")
    else:
        session = _Session(context, outside)
        there, back = session.read_all(inside, first), session.write_all(inside)
    tasks = [kernel.spawn(each, name="TLS of a pod", daemon=True) for each in (there, back)]
    await kernel.wait_any(*tasks)
    await kernel.wait_any(*(task for task in tasks if not task.done()), timeout_ns=GRACE_NS)
    for task in tasks:
        task.cancel()
    outside.close()
    inside.close()


GRACE_NS = 1_000_000_000
"""For how long the other direction may go on when one has ended."""


async def _poured(source: Pipe, target: Pipe, first: bytes) -> None:
    try:
        piece = first or await source.read()
        while piece:
            target.write(piece)
            await target.drain()
            piece = await source.read()
        target.close()
    except (Broken, Reset):
        pass


class _Session:
    """The server's side of a TLS connection, without a socket."""

    def __init__(self, context: ssl.SSLContext, outside: Stream) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._outside = outside
        self._shaken = False

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self._outside.write(data)

    def _step(self, work: Callable[[], object]) -> bool:
        """Do what can be done now; whether it was done."""
        try:
            work()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            self._flush()
        return True

    async def read_all(self, inside: Stream, first: bytes) -> None:
        """All that comes from outside, deciphered."""
        piece = first
        try:
            while piece:
                self._in.write(piece)
                if not self._shaken:
                    self._shaken = self._step(self._tls.do_handshake)
                while self._shaken and (plain := self._plain()):
                    inside.write(plain)
                await inside.drain()
                piece = await self._outside.read()
        except (Broken, Reset, ssl.SSLError):
            pass
        inside.close_write()

    def _plain(self) -> bytes:
        try:
            return self._tls.read(READ_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            return b""
        finally:
            self._flush()

    async def write_all(self, inside: Stream) -> None:
        """All that the pod says, enciphered."""
        try:
            while piece := await inside.read():
                self._tls.write(piece)
                self._flush()
                await self._outside.drain()
            if self._shaken:
                self._step(self._tls.unwrap)
            self._outside.close_write()
        except (Broken, Reset, ssl.SSLError):
            pass
