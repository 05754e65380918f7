"""The server's end of a SPDY connection: streams that the client opens.

The law is that of the library that Kubernetes uses, which differs from the draft: there are no
windows (`WINDOW_UPDATE` is ignored and never sent; who does not read holds up the connection), and
a connection that is closed resets its open streams.

    SYN_STREAM -> service accepts -> SYN_REPLY, DATA ... FIN both ways: gone
                  service rejects -> RST_STREAM

Follows `github.com/moby/spdystream` and `k8s.io/streaming/pkg/httpstream/spdy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.kubelet.streaming import ClientStream
from pytest_kubesim.transports import spdy
from pytest_kubesim.transports.answers import HIGH_BYTES
from pytest_kubesim.transports.upgrades import Intake, take
from pytest_kubesim.transports.websocket import Messages

if TYPE_CHECKING:
    from pytest_kubesim.kubelet.streaming import Upgrade
    from pytest_kubesim.transports.http import Connection
    from pytest_kubesim.wire import Request

LAST_STREAM = 0x7FFFFFFF


class Session:
    """SPDY on a connection.

    Parameters: `connection`, for how far behind the client is; `upgrade`, the service; `send`,
    given bytes for the client; `end`, called when it is over.
    """

    def __init__(
        self,
        connection: Connection,
        upgrade: Upgrade,
        send: Callable[[bytes], object],
        end: Callable[[], object],
    ) -> None:
        self._connection = connection
        self._upgrade = upgrade
        self._send = send
        self._end = end
        self._decoder, self._encoder = spdy.Decoder(), spdy.Encoder()
        self._intake = Intake(upgrade.kernel, connection)
        self._open: dict[int, ClientStream] = {}
        self._finished: set[int] = set()
        """Streams on which the server has sent its last."""
        self._forgotten: set[int] = set()
        self._next = 1
        self._gone_away = False
        self._closing = False
        self._pumping = False
        self._over = False

    @property
    def streams(self) -> list[ClientStream]:
        """The streams that are open."""
        return list(self._open.values())

    @property
    def saturated(self) -> bool:
        """Whether nothing should be read of the client for now."""
        return self._intake.saturated

    # -- to the client ------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what waits, as far as the client takes it."""
        # What is sent may make room at once, and lead here again.
        if self._pumping or self._over or self._connection.closed:
            return
        self._pumping = True
        try:
            for stream in list(self._open.values()):
                self._pump(stream)
            if self._closing and self._connection.backlog() < HIGH_BYTES:
                self._finish()
        finally:
            self._pumping = False

    def _pump(self, stream: ClientStream) -> None:
        number = stream.number
        while self._connection.backlog() < HIGH_BYTES and (data := take(stream)):
            self._write(spdy.Data(number, data))
        if not stream.outgoing.ended or number in self._finished:
            return
        self._finished.add(number)
        if stream.resetting:
            self._write(spdy.RstStream(number, spdy.CANCEL))
            self._open.pop(number, None)
        else:
            self._write(spdy.Data(number, b"", fin=True))
            if stream.incoming.closed:
                self._open.pop(number, None)

    def _write(self, frame: spdy.Frame) -> None:
        if not self._over:
            self._send(self._encoder.encode(frame))

    def greet(self, channel: int) -> None:
        """SPDY clients are told by the replies to their streams."""

    def forget(self, *streams: ClientStream | None) -> None:
        """These are not reset when the connection ends."""
        self._forgotten.update(stream.number for stream in streams if stream is not None)

    def close(self) -> None:
        """Send what waits, reset what is open, say goodbye and end the connection."""
        self._closing = True
        self.pump()

    def _finish(self) -> None:
        for stream in list(self._open.values()):
            if stream.number not in self._finished and stream.number not in self._forgotten:
                self._write(spdy.RstStream(stream.number, spdy.CANCEL))
            stream.lose()
        self._open.clear()
        if not self._gone_away:
            self._gone_away = True
            self._write(spdy.GoAway(max(self._next - 2, 0)))
        self._over = True
        self._end()

    # -- from the client ----------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
                if self._over or self._connection.closed:
                    return
        except spdy.ProtocolError:
            self._over = True
            self._end()

    def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.SynStream():
                self._begin(frame)
            case spdy.Data(number, data, fin):
                stream = self._open.get(number)
                if stream is not None:
                    if data:
                        self._intake.put(stream.incoming, data)
                    if fin:
                        self._heard_out(stream)
            case spdy.RstStream(number, _):
                stream = self._open.pop(number, None)
                if stream is not None:
                    self._finished.add(number)
                    stream.lose()
            case spdy.Ping(number):
                if number % 2:  # the client's own; an even one would be the answer to ours
                    self._write(frame)
            case spdy.HeadersFrame(number, _, fin) | spdy.SynReply(number, _, fin):
                stream = self._open.get(number)
                if stream is not None and fin:
                    self._heard_out(stream)
            case spdy.GoAway():
                self._gone_away = True
                for stream in list(self._open.values()):
                    stream.lose()
                self._over = True
                self._end()
            case spdy.Settings() | spdy.WindowUpdate():
                pass

    def _begin(self, frame: spdy.SynStream) -> None:
        number = frame.stream
        if self._gone_away or self._closing:
            return
        if number < self._next or number % 2 == 0:
            self._write(spdy.RstStream(number, spdy.PROTOCOL_ERROR))
            return
        self._next = number + 2
        stream = ClientStream(self._upgrade.kernel, number, dict(frame.headers))
        if frame.fin:
            stream.incoming.close()
        stream.outgoing.on_change = self.pump
        self._open[number] = stream
        try:
            self._upgrade.accept(stream)
        except ValueError:
            del self._open[number]
            stream.lose()
            self._write(spdy.RstStream(number, spdy.CANCEL))
            return
        self._write(spdy.SynReply(number))
        self._upgrade.accepted(stream)

    def _heard_out(self, stream: ClientStream) -> None:
        stream.incoming.close()
        if stream.number in self._finished:
            self._open.pop(stream.number, None)

    def client_closed(self) -> None:
        """The client has gone."""
        self._over = True
        for stream in list(self._open.values()):
            stream.lose()
        self._open.clear()
        self._upgrade.close()


def over_http(connection: Connection, upgrade: Upgrade) -> Session:
    """SPDY in place of HTTP."""
    connection.switch(upgrade.headers)
    session = Session(connection, upgrade, connection.send, connection.end)
    upgrade.opened(session)
    return session


def over_websocket(connection: Connection, upgrade: Upgrade, request: Request) -> Tunnel:
    """SPDY in messages of a WebSocket (`client-go/tools/portforward/tunneling_connection.go`)."""
    return Tunnel(connection, upgrade, request)


class Tunnel:
    """SPDY whose bytes are carried by WebSocket messages."""

    def __init__(self, connection: Connection, upgrade: Upgrade, request: Request) -> None:
        self._messages = Messages(connection, request, upgrade.subprotocol, self._received)
        self._session = Session(connection, upgrade, self._messages.send, self._messages.close)
        self.pump = self._session.pump
        self.client_closed = self._session.client_closed
        self.feed = self._messages.feed
        upgrade.opened(self._session)

    @property
    def saturated(self) -> bool:
        """Whether nothing should be read of the client for now."""
        return self._session.saturated

    def _received(self, message: bytes) -> None:
        self._session.feed(message)
