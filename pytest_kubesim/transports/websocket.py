"""A connection that has gone over to WebSocket: messages, and the channels of Kubernetes in them.

The law: a message begins with the number of its channel; in the base64 protocols both are text.
The version 5 of `channel.k8s.io` lets the client close one channel: 255 and its number.

Follows `k8s.io/streaming/pkg/httpstream/wsstream/conn.go`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

import wsproto
from wsproto import events
from wsproto.connection import ConnectionState
from wsproto.utilities import RemoteProtocolError

from pytest_kubesim.kubelet.streaming import BOTH, READ, WRITE, ClientStream
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.transports.answers import HIGH_BYTES
from pytest_kubesim.transports.upgrades import Intake, take

if TYPE_CHECKING:
    from pytest_kubesim.kubelet.streaming import Upgrade
    from pytest_kubesim.transports.http import Connection
    from pytest_kubesim.wire import Request

CLOSE_SIGNAL = 255
FAREWELL_NS = NS // 2
"""For how long a client may take to answer a goodbye."""
MAX_MESSAGE_BYTES = 32 << 20
"""As golang.org/x/net/websocket: who sends a larger message is cut off."""


class Messages:
    """WebSocket on a connection: whole messages in, whole messages out.

    Parameters: `connection`; `request`, the client's; `subprotocol` that is spoken; `receive`,
    given every message.  Raises `RemoteProtocolError` where the request is no handshake.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        subprotocol: str,
        receive: Callable[[bytes], object],
    ) -> None:
        self._connection = connection
        self._receive = receive
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._parts: list[bytes] = []
        self._size = 0
        self._ws.initiate_upgrade_connection(
            [(name.encode(), value.encode()) for name, value in request.headers], request.path
        )
        for _ in self._ws.events():
            pass  # the request itself
        accept = events.AcceptConnection(subprotocol=subprotocol or None)
        connection.send(self._ws.send(accept))

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return not self._connection.closed and self._ws.state is ConnectionState.OPEN

    def send(self, message: bytes) -> None:
        """Send a binary message."""
        if self.open:
            self._connection.send(self._ws.send(events.BytesMessage(data=message)))

    def send_text(self, message: str) -> None:
        """Send a text message."""
        if self.open:
            self._connection.send(self._ws.send(events.TextMessage(data=message)))

    def close(self) -> None:
        """Say goodbye, and end the connection when the client has said so too, or soon."""
        connection = self._connection
        if self.open:
            connection.send(self._ws.send(events.CloseConnection(code=1000)))
            connection.front.kernel.call_later(FAREWELL_NS, connection.end, label="WebSocket ends")

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._take(event)
                if self._connection.closed:
                    return
        except RemoteProtocolError:
            self._connection.end()

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.BytesMessage | events.TextMessage):
            piece = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            self._size += len(piece)
            if self._size > MAX_MESSAGE_BYTES:
                self._connection.end()
                return
            self._parts.append(piece)
            if event.message_finished:
                message = b"".join(self._parts)
                self._parts, self._size = [], 0
                self._receive(message)
        elif isinstance(event, events.Ping):
            self._connection.send(self._ws.send(event.response()))
        elif isinstance(event, events.CloseConnection):
            if self._ws.state is ConnectionState.REMOTE_CLOSING:
                self._connection.send(self._ws.send(event.response()))
            self._connection.end()


class Channels:
    """A connection whose messages belong to channels.

    Parameters: `connection`; `upgrade`, the service on it; `request` of the client.
    """

    def __init__(self, connection: Connection, upgrade: Upgrade, request: Request) -> None:
        kernel = upgrade.kernel
        self._channels = [ClientStream(kernel, number) for number in range(len(upgrade.channels))]
        self._connection = connection
        self._upgrade = upgrade
        self._intake = Intake(kernel, connection)
        self._closing = False
        self._pumping = False
        self._messages = Messages(connection, request, upgrade.subprotocol, self._received)
        for stream, way in zip(self._channels, upgrade.channels, strict=True):
            if way not in {READ, BOTH}:
                stream.incoming.close()
            if way in {WRITE, BOTH}:
                stream.outgoing.on_change = self.pump
            else:
                stream.outgoing.break_off()
        upgrade.opened(self)

    @property
    def streams(self) -> list[ClientStream]:
        """The channels in order."""
        return self._channels

    @property
    def saturated(self) -> bool:
        """Whether nothing should be read of the client for now."""
        return self._intake.saturated

    # -- to the client ------------------------------------------------------------------------

    def greet(self, channel: int) -> None:
        """Send an empty message of a channel."""
        self._say(channel, b"")

    def _say(self, channel: int, data: bytes) -> None:
        if self._upgrade.base64:
            self._messages.send_text(chr(48 + channel) + base64.b64encode(data).decode())
        else:
            self._messages.send(bytes((channel,)) + data)

    def pump(self) -> None:
        """Send what waits, as far as the client takes it."""
        # What is sent may make room at once, and lead here again.
        if self._pumping or self._connection.closed:
            return
        self._pumping = True
        try:
            for stream in self.streams:
                while self._connection.backlog() < HIGH_BYTES and (data := take(stream)):
                    self._say(stream.number, data)
            if self._closing and self._connection.backlog() < HIGH_BYTES:
                self._messages.close()
        finally:
            self._pumping = False

    def forget(self, *streams: ClientStream | None) -> None:
        """Channels cannot be reset."""

    def close(self) -> None:
        """Send what waits, then end the connection."""
        self._closing = True
        self.pump()

    # -- from the client ----------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._messages.feed(data)

    def _received(self, message: bytes) -> None:
        if not message:
            return
        channel = message[0]
        if self._upgrade.half_close and channel == CLOSE_SIGNAL:
            if len(message) != 2 or message[1] >= len(self.streams):
                self._connection.end()
            else:
                self.streams[message[1]].incoming.close()
            return
        if self._upgrade.base64:
            channel -= 48
        if not 0 <= channel < len(self.streams):
            return
        data = message[1:]
        if self._upgrade.base64:
            try:
                data = base64.b64decode(data, validate=True)
            except binascii.Error:
                return
        self._intake.put(self.streams[channel].incoming, data)

    def client_closed(self) -> None:
        """The client has gone."""
        for stream in self.streams:
            stream.lose()
        self._upgrade.close()
