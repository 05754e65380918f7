"""A connection that has gone over to WebSocket: exec, attach, port-forward.

Follows `apimachinery/pkg/util/httpstream/wsstream` and `client-go/tools/remotecommand/v5.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import wsproto
from wsproto import events

if TYPE_CHECKING:
    from pytest_kubesim.transports.http import Connection
    from pytest_kubesim.wire import Request


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
        """Say goodbye and end the connection."""
        if not self._connection.closed:
            close = events.CloseConnection(code=code, reason=reason)
            self._connection.send(self._ws.send(close))
            self._connection.end()

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._ws.receive_data(data)
        for event in self._ws.events():
            if isinstance(event, events.BytesMessage):
                self._receive(bytes(event.data))
            elif isinstance(event, events.TextMessage):
                self._receive(event.data.encode())
            elif isinstance(event, events.Ping):
                self._connection.send(self._ws.send(event.response()))
            elif isinstance(event, events.CloseConnection):
                self._connection.send(self._ws.send(event.response()))
                self._connection.end()

    def client_closed(self) -> None:
        """The client has gone."""
        self._stream.close()
