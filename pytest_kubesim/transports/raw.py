"""A connection handed through to a program as it is: what the pod proxy upgrades.

The law: the program's answer, head and all, goes to the client as it came, and from then on each
side is sent what the other sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.sim.pipes import Reset
from pytest_kubesim.transports.answers import HIGH_BYTES
from pytest_kubesim.transports.upgrades import CHUNK_BYTES, Intake

if TYPE_CHECKING:
    from pytest_kubesim.transports.http import Connection


class Relay:
    """Bytes both ways.

    Parameters: `connection` of the client; `upgrade`, with `stream`, the connection to the program
    (`sim.pipes.Stream`), and `head`, the bytes of the answer that have been read already.
    """

    def __init__(self, connection: Connection, upgrade: Any) -> None:
        self._connection = connection
        self._upgrade = upgrade
        self._stream: Any = upgrade.stream
        self._intake = Intake(upgrade.kernel, connection)
        self._pumping = False
        connection.send(upgrade.head)
        self._stream.incoming.on_change = self.pump
        self.pump()

    @property
    def saturated(self) -> bool:
        """Whether nothing should be read of the client for now."""
        return self._intake.saturated

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._intake.put(self._stream.outgoing, data)

    def pump(self) -> None:
        """Send what waits, as far as the client takes it."""
        incoming = self._stream.incoming
        if self._pumping or self._connection.closed:
            return
        self._pumping = True
        try:
            while self._connection.backlog() < HIGH_BYTES and (
                data := incoming.read_nowait(CHUNK_BYTES)
            ):
                self._connection.send(data)
        except Reset:
            self._connection.end("reset")
            return
        finally:
            self._pumping = False
        if incoming.ended:
            self._connection.end()

    def client_closed(self) -> None:
        """The client has gone."""
        self._stream.close()
        self._upgrade.close()
