"""A connection that has gone over to WebSocket: exec, attach, port-forward.

Follows `apimachinery/pkg/util/httpstream/wsstream` and `client-go/tools/remotecommand/v5.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import wsproto
from wsproto import events
from wsproto.connection import ConnectionState
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from pytest_kubesim.transports.http import Connection
    from pytest_kubesim.wire import Request


def take_over(connection: Connection, stream: Any, request: Request) -> Upgraded | None:
    """The connection as a WebSocket; None, and an end to it, where the client's request is none."""
    try:
        return Upgraded(connection, stream, request)
    except (RemoteProtocolError, LocalProtocolError) as problem:
        stream.close()
        connection.refuse(400, f"400 Bad Request: {problem}")
        return None


class Upgraded:
    """A connection that speaks WebSocket: exec, attach, port-forward.

    `stream` is an upgrade stream with `connect(send, close)`, which gives what is called with every
    message of the client, and `subprotocol`.  Messages are bytes; text is encoded.
    """

    def __init__(self, connection: Connection, stream: Any, request: Request) -> None:
        self._connection = connection
        self._ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._ws.initiate_upgrade_connection(
            [(name.encode(), value.encode()) for name, value in request.headers], request.path
        )
        for _ in self._ws.events():
            pass  # the request itself
        accept = events.AcceptConnection(subprotocol=stream.subprotocol or None)
        connection.send(self._ws.send(accept))
        self._stream = stream
        self._receive: Callable[[bytes], None] = stream.connect(self.send_message, self.close)

    def send_message(self, message: bytes) -> None:
        """Send a binary message to the client."""
        self._connection.send(self._ws.send(events.BytesMessage(data=message)))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; the connection ends when the client has said so too."""
        if not self._connection.closed and self._ws.state is ConnectionState.OPEN:
            close = events.CloseConnection(code=code, reason=reason)
            self._connection.send(self._ws.send(close))

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        try:
            self._ws.receive_data(data)
            received = list(self._ws.events())
        except RemoteProtocolError:
            self._connection.end()
            return
        for event in received:
            if isinstance(event, events.BytesMessage):
                self._receive(bytes(event.data))
            elif isinstance(event, events.TextMessage):
                self._receive(event.data.encode())
            elif isinstance(event, events.Ping):
                self._connection.send(self._ws.send(event.response()))
            elif isinstance(event, events.CloseConnection):
                if self._ws.state is ConnectionState.REMOTE_CLOSING:
                    self._connection.send(self._ws.send(event.response()))
                self._connection.end()

    def client_closed(self) -> None:
        """The client has gone."""
        self._stream.close()
