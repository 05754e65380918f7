"""Two ends of an upgraded connection without a socket: a service of a kubelet, and a client."""

from __future__ import annotations

import wsproto
from wsproto import events

from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.transports import spdy
from pytest_kubesim.transports.http import Connection, Front


class Handler:
    """Answers every request with the same service."""

    def __init__(self, answer):
        self.answer = answer

    async def handle(self, request):
        return self.answer


class Wire:
    """A client's connection to one service; what it was sent is in `received`.

    `unread` stands for what a slow client has not read.
    """

    def __init__(self, kernel: Kernel, service, *headers: tuple[str, str]):
        self.kernel = kernel
        self.received = b""
        self.ended = ""
        self.unread = 0
        self.connection = Connection(Front(kernel, Handler(service)), self._output, self._end)
        self.connection.backlog = lambda: self.unread
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.feed(f"POST /exec HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())

    def _output(self, data):
        self.received += data
        if self.unread:
            self.unread += len(data)
        else:
            self.connection.room()  # as a socket that takes all at once

    def _end(self, kind):
        self.ended = kind

    def feed(self, data):
        self.connection.feed(data)
        self.run()

    def run(self, seconds=0):
        """Let everything happen that falls due."""
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * 1e9))

    def take(self):
        data, self.received = self.received, b""
        return data


class SpdyClient(Wire):
    """Speaks SPDY."""

    def __init__(self, kernel, service, **options):
        self.encoder, self.decoder = spdy.Encoder(), spdy.Decoder()
        super().__init__(
            kernel, service, ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), **options
        )
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        self.head = head.decode()

    def send(self, *frames):
        self.feed(b"".join(self.encoder.encode(frame) for frame in frames))
        return self.frames()

    def frames(self):
        return list(self.decoder.feed(self.take()))


class WebSocketClient(Wire):
    """Speaks WebSocket; `messages` are those received, whole."""

    def __init__(self, kernel, service, protocol=""):
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.kernel, self.received, self.ended, self.unread = kernel, b"", "", 0
        self.connection = Connection(Front(kernel, Handler(service)), self._output, self._end)
        self.connection.backlog = lambda: self.unread
        offered = [protocol] if protocol else []
        self.feed(self.ws.send(events.Request(host="x", target="/exec", subprotocols=offered)))
        self.accepted = None
        self.closed = False
        self.early = []
        self.early = self.messages()

    def send(self, message):
        kind = events.TextMessage if isinstance(message, str) else events.BytesMessage
        self.feed(self.ws.send(kind(data=message)))
        return self.messages()

    def messages(self):
        found, self.early = self.early, []
        self.ws.receive_data(self.take())
        for event in self.ws.events():
            if isinstance(event, events.AcceptConnection):
                self.accepted = event.subprotocol or ""
            elif isinstance(event, events.BytesMessage):
                found.append(bytes(event.data))
            elif isinstance(event, events.TextMessage):
                found.append(event.data)
            elif isinstance(event, events.CloseConnection):
                self.closed = True
        return found
