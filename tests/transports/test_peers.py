"""How long a client may take for what, by a clock of the test's own: the slow ones are cut off, no other."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.transports import certificates, peers
from pytest_kubesim.transports.http import Front
from pytest_kubesim.wire import Response


class Server:
    def __init__(self, kernel):
        self.kernel = kernel

    async def handle(self, request):
        if request.path == "/slow":
            await self.kernel.sleep(10**15)
        return Response(200, {"path": request.path})


class Listener:
    """A listening socket at which somebody waits."""

    def __init__(self, *waiting):
        self.waiting = list(waiting)

    def accept(self):
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), None


class Client:
    """TLS in memory on one end of a socket pair."""

    def __init__(self, world):
        self.sock, other = socket.socketpair()
        self.sock.setblocking(False)
        (self.peer,) = world.hub.accept(Listener(Unnagled(other)), world.front)
        self.world = world
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = world.trusting.wrap_bio(self._in, self._out, server_hostname="localhost")

    def hello(self):
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._out.read()

    def give(self, data):
        self.sock.send(data)
        self.world.look()

    def connect(self):
        self.give(self.hello())
        self._in.write(self.sock.recv(1 << 16))
        self.tls.do_handshake()
        self.give(self._out.read())
        return self

    def say(self, text):
        self.tls.write(text)
        self.give(self._out.read())

    def read(self):
        """What it was answered; b"" when the connection has ended."""
        with suppress(BlockingIOError):
            self._in.write(self.sock.recv(1 << 16))
        try:
            return self.tls.read(1 << 16)
        except ssl.SSLWantReadError:
            return None

    @property
    def there(self):
        return self.peer in self.world.hub.peers


class Unnagled(socket.socket):
    """One end of a pair, that takes the options of TCP."""

    def __init__(self, sock):
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())

    def setsockopt(self, level, *rest):
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *rest)


class World:
    def __init__(self, folder):
        authority = certificates.Authority()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificates.write(folder, "server", authority.server()))
        self.trusting = ssl.create_default_context(cadata=authority.pem.decode())
        self.now_s = 1000.0
        self.hub = peers.Hub(context, lambda: self.now_s)
        self.front = Front(Kernel(), None)
        self.front = Front(self.front.kernel, Server(self.front.kernel))

    def look(self):
        for key, mask in self.hub.selector.select(0):
            self.hub.attend(key.data, mask)

    def wait(self, seconds):
        """Let time pass, half a second at a time."""
        for _ in range(int(seconds * 2)):
            self.now_s += 0.5
            self.look()
            self.hub.sweep()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.hub.close()


def test_a_handshake_has_to_be_finished(world):
    silent, half, good = Client(world), Client(world), Client(world).connect()
    half.give(half.hello()[:100])
    world.wait(31)
    assert silent.there
    assert half.there
    world.wait(2)
    assert (silent.there, half.there, good.there) == (False, False, True)


def test_a_head_that_comes_byte_by_byte_does_not_come_for_ever(world):
    slow, good = Client(world).connect(), Client(world).connect()
    for byte in b"GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaa":
        if not slow.there:
            break
        slow.say(bytes((byte,)))
        world.wait(1)
    assert not slow.there
    assert world.now_s < 1036
    assert good.there


def test_a_body_that_comes_byte_by_byte_does_not_come_for_ever(world):
    slow = Client(world).connect()
    slow.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        if not slow.there:
            break
        slow.say(b"x")
        world.wait(1)
    assert 1058 < world.now_s < 1063


def test_an_idle_client_is_told_and_one_that_waits_for_its_answer_stays(world):
    idle, waiting = Client(world).connect(), Client(world).connect()
    waiting.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(3):
        world.wait(60)
        idle.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in idle.read()
    world.wait(95)
    assert not idle.there
    assert not idle.read()
    assert waiting.there


def test_who_does_not_take_the_farewell_is_left(world):
    client = Client(world).connect()
    client.say(b"nonsense\r\n\r\n")
    assert client.there
    world.wait(1.5)
    assert not client.there
    assert b"400 Bad Request" in client.read()


def test_when_no_more_files_can_be_opened_the_hub_is_told(world, monkeypatch):
    full = []
    monkeypatch.setattr(world.hub, "exhausted", full.append)

    class Exhausted:
        def accept(self):
            raise OSError(24, "Too many open files")

    listener = Exhausted()
    assert world.hub.accept(listener, world.front) == []
    assert full == [listener]
