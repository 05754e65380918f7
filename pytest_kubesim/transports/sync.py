"""Synchronous sockets: `socket.socket.connect` to a cluster's address leads into this process.

Law: a socket that connects elsewhere is not touched.  One that connects to a cluster becomes, the
same object, a `MemorySocket`: what is sent goes into the HTTP front, and a `recv` that finds
nothing lets virtual time pass until something has come.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
from typing import Any
from weakref import WeakKeyDictionary

from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.transports import addresses, declared, dialing, listeners, tls
from pytest_kubesim.transports.actors import WORLD, to_delay_ns
from pytest_kubesim.transports.dialing import Place, error_of, place_at, refused

_real_getaddrinfo = socket.getaddrinfo
_real_gethostname = socket.gethostname


class End:
    """The client's end of a connection that a socket stands for."""

    __slots__ = (
        "address", "buffer", "connection", "error", "finished", "kernel", "place", "waiter",
    )

    def __init__(self, place: Any, address: tuple[str, int]) -> None:
        self.place = place
        self.kernel = place.cluster.kernel
        self.address = address
        self.buffer = bytearray()
        self.error: OSError | None = None
        self.finished = False
        """The server has ended it."""
        self.waiter: Future[None] | None = None
        self.connection: Any = place.dial(self.hear, self.ended)
        self.connection.backlog = lambda: len(self.buffer)
        self.connection.resumed = self._notify

    def feed(self, data: bytes) -> None:
        """Send `data`, once the server takes more."""
        connection = self.connection
        while connection.saturated and not self.finished:
            waiter: Future[None] = Future(self.kernel)
            self.waiter = waiter
            WORLD.block(waiter, None)
        connection.feed(data)

    def hear(self, data: bytes) -> None:
        """Bytes from the other side."""
        self.buffer += data
        self._notify()

    def ended(self, kind: str) -> None:
        """The other side has ended it: with `eof`, or the `kind` of a loss."""
        self.finished = True
        self.error = error_of(kind)
        self._notify()

    def finish(self) -> None:
        """It is over; whoever waits is told."""
        self.finished = True
        self._notify()

    def _notify(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def readable(self) -> bool:
        """Whether `recv` would not wait."""
        return bool(self.buffer) or self.finished

    def wait(self, timeout_s: float | None) -> None:
        """Until there are bytes, or the end."""
        if self.readable:
            return
        if timeout_s == 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        waiter: Future[None] = Future(self.kernel)
        self.waiter = waiter
        limit_ns = None if timeout_s is None else to_delay_ns(timeout_s)
        if not WORLD.block(waiter, limit_ns) and not self.buffer and not self.finished:
            raise TimeoutError("timed out")

    def take(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end.  Raises: what broke the connection."""
        if not self.buffer:
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return b""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.connection.room()
        return data


_ends: WeakKeyDictionary[socket.socket, End] = WeakKeyDictionary()


class MemorySocket(socket.socket):
    """A socket whose other end is a cluster in this process; TLS over it is left out."""

    __slots__ = ()

    # -- sending and receiving ----------------------------------------------------------------

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send all of `data`."""
        end = _ends[self]
        WORLD.alive()
        end.place.breathe()
        if end.finished and end.error is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        payload = bytes(data)
        end.feed(payload)
        return len(payload)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of `data`."""
        self.send(data)

    def sendmsg(self, buffers: Any, *_: Any) -> int:
        """Send several buffers."""
        return self.send(b"".join(bytes(b) for b in buffers))

    def write(self, data: Any) -> int:
        """As `ssl.SSLSocket.write`."""
        return self.send(data)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Bytes that have come, waiting for some."""
        end = _ends[self]
        end.wait(self.gettimeout())
        if flags & socket.MSG_PEEK:
            return bytes(end.buffer[:bufsize])
        return end.take(bufsize)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer."""
        view = memoryview(buffer).cast("B")
        end = _ends[self]
        end.wait(self.gettimeout())
        data = end.take(nbytes or len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        """As `ssl.SSLSocket.read`."""
        return self.recv(size) if buffer is None else self.recv_into(buffer, size)

    # -- what it looks like -------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that polls as this socket would."""
        end = _ends.get(self)
        if end is None or super().fileno() < 0:
            return super().fileno()
        pair = dialing.descriptors()
        return pair.ready if end.readable else pair.quiet

    def getpeername(self) -> Any:
        """The cluster's address."""
        return _ends[self].address

    def getsockname(self) -> Any:
        """An address in a pod network."""
        return ("10.244.0.1", 40000)

    def setsockopt(self, *_: Any) -> None:
        """Accepted."""

    def shutdown(self, how: int, /) -> None:
        """No more receiving: whoever waits is told the end (half-closing does nothing)."""
        if how == socket.SHUT_WR:
            return
        end = _ends[self]
        end.place.hang_up(end.connection)
        end.finish()

    def _real_close(self, _ss: Any = socket.socket) -> None:
        end = _ends.pop(self, None)
        if end is not None:
            end.place.hang_up(end.connection)
            end.finish()
        _socket.socket.close(self)

    def detach(self) -> int:
        """The end of it as a socket."""
        end = _ends.pop(self, None)
        if end is not None:
            end.place.hang_up(end.connection)
        return super().detach()

    # -- what an SSLSocket has besides --------------------------------------------------------

    def getpeercert(self, binary_form: bool = False) -> Any:
        """A certificate that is good."""
        return b"" if binary_form else tls.peer_certificate(addresses.HOST)

    def version(self) -> str:
        """As `ssl.SSLSocket.version`."""
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int]:
        """As `ssl.SSLSocket.cipher`."""
        return ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)

    def selected_alpn_protocol(self) -> None:
        """As `ssl.SSLSocket.selected_alpn_protocol`."""

    def do_handshake(self, block: bool = False) -> None:
        """As `ssl.SSLSocket.do_handshake`."""

    def pending(self) -> int:
        """As `ssl.SSLSocket.pending`."""
        return len(_ends[self].buffer)

    def unwrap(self) -> MemorySocket:
        """As `ssl.SSLSocket.unwrap`."""
        return self


def address_of(address: Any) -> str | None:
    """The address of ours that a socket address names; None for all others."""
    if isinstance(address, tuple) and address:
        return addresses.resolve(address[0])  # pyright: ignore[reportUnknownArgumentType]
    return None


def _connect(self: socket.socket, address: Any, /) -> None:
    ours = address_of(address)
    if ours is None:
        listener = None
        if isinstance(address, tuple) and WORLD.inside():
            listener = listeners.find(address[0], address[1])  # pyright: ignore[reportUnknownArgumentType]
        if listener is None:
            _c_connect(self, address)
        else:
            WORLD.alive()
            become(self, End(listener, ("127.0.0.1", listener.port)))
        return
    if not WORLD.inside():
        raise refused("this thread was started before the cluster was there, or outlives its test")
    WORLD.alive()
    place = place_at(ours, int(address[1]))
    _await_way(place, self.gettimeout())
    become(self, End(place, (ours, int(address[1]))))


def become(sock: socket.socket, end: End) -> None:
    """Make `sock` the client's end of a connection of ours."""
    sock.__class__ = MemorySocket
    _ends[sock] = end


def _connect_ex(self: socket.socket, address: Any, /) -> int:
    if address_of(address) is None and not (
        isinstance(address, tuple) and WORLD.inside() and listeners.find(address[0], address[1])  # pyright: ignore[reportUnknownArgumentType]
    ):
        return _c_connect_ex(self, address)
    try:
        _connect(self, address)
    except OSError as error:
        return error.errno or errno.ECONNREFUSED
    return 0


def _await_way(place: Place, timeout_s: float | None) -> None:
    """Wait while the network between caller and API server is cut."""
    actor = WORLD.actor
    host = "test" if actor is None else actor.process.host
    network, kernel = place.cluster.network, place.cluster.kernel
    server_host = place.server_host
    if network.instant(host, server_host):
        return
    way = kernel.spawn(
        network.transit(host, server_host), name="connect", daemon=True, eager=True
    )
    if not way.done():
        WORLD.block(way, None if timeout_s is None else to_delay_ns(timeout_s))
    if not way.done():
        way.cancel()
        place.out_of_reach(server_host)
        raise TimeoutError("timed out")


_c_connect: Any = socket.socket.connect
_c_connect_ex: Any = socket.socket.connect_ex


def _getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    ours = addresses.resolve(host)
    if ours is not None:
        if WORLD.clusters and WORLD.inside():
            _look_up(str(host))
        return dialing.address_infos(ours, port)
    return _real_getaddrinfo(host, port, *args, **kwargs)


def _look_up(host: str) -> None:
    """Let a lookup take as long as a fault makes it take.  Raises: `socket.gaierror`."""
    took_ns = declared.lookup(WORLD.cluster(), host)
    if took_ns:
        WORLD.block(None, abs(took_ns))
    if took_ns < 0:
        raise declared.no_answer()


def end_of(sock: MemorySocket) -> End:
    """The client's end of a connection."""
    return _ends[sock]


def is_ours(sock: object) -> bool:
    """Whether a socket leads to a cluster."""
    return isinstance(sock, MemorySocket)


def _gethostname() -> str:
    """The name of an operator's process, as a pod's host name is the pod's: replicas differ."""
    actor = WORLD.actor if WORLD.inside() else None
    return _real_gethostname() if actor is None else actor.process.host


def install() -> None:
    """Let synchronous clients reach clusters."""
    module: Any = socket
    module.socket.connect = _connect
    module.socket.connect_ex = _connect_ex
    module.getaddrinfo = _getaddrinfo
    module.gethostname = _gethostname
    tls.install(is_ours)


def uninstall() -> None:
    """Sockets as they were."""
    module: Any = socket
    for name in ("connect", "connect_ex"):
        if name in module.socket.__dict__:
            delattr(module.socket, name)
    module.getaddrinfo = _real_getaddrinfo
    module.gethostname = _real_gethostname
    tls.uninstall()
