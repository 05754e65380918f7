"""What answers as `etcd` where a test suite starts one: the store itself is inside the API server.

A program of its own, run by its path with nothing but the standard library, since it has to be
there at once.  It answers health checks, and keeps what an API server leaves behind when it stops
for the next one that is started with the same `--etcd-servers`.  Whoever speaks etcd's own protocol
is told that it is not spoken here.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys

VERSION = "3.7.0"
MAX_BYTES = 1 << 30
HELP = """Usage:

  etcd [flags]
    Start what stands in for an etcd server: the store is inside the simulated API server.

  --listen-client-urls 'http://localhost:2379'
    List of URLs to listen on for client traffic; http only.
  --data-dir, --listen-peer-urls, --advertise-client-urls, --unsafe-no-fsync and all others
    Taken, without an effect that could be seen.
"""


class Keeper:
    """What is kept between two API servers: bytes, and who has them now."""

    def __init__(self) -> None:
        self.kept = b""
        self.owner = 0

    def answer(self, method: str, path: str, query: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer to a request."""
        if path in ("/health", "/readyz", "/livez"):
            if path == "/health":
                return 200, "application/json", b'{"health":"true","reason":""}'
            return 200, "text/plain", b"ok"
        if path == "/version":
            told = f'{{"etcdserver":"{VERSION}","etcdcluster":"{VERSION}"}}'
            return 200, "application/json", told.encode()
        if path != "/kubesim/v1/store":
            return 404, "text/plain", b"404 page not found\n"
        process = int(query.partition("pid=")[2] or 0)
        if method == "GET":
            if self.owner not in (0, process) and _alive(self.owner):
                return 409, "text/plain", b"%d" % self.owner
            self.owner = process
            return 200, "application/json", self.kept
        if method == "PUT" and process == self.owner:
            self.kept, self.owner = body, 0
            return 200, "text/plain", b"ok"
        return 405, "text/plain", b"405 method not allowed\n"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Client:
    """One connection: a request at a time."""

    def __init__(self, sock: socket.socket, keeper: Keeper) -> None:
        self.sock = sock
        self._keeper = keeper
        self._received = b""

    def readable(self) -> bool:
        """Take in what has come; False when the connection is over."""
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._received += data
        if not data or self._received.startswith(b"PRI * HTTP/2"):
            return False
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            lines = self._received[:end].decode("latin-1").split("\r\n")
            headers = {
                name: value
                for name, _, value in (
                    line.lower().replace(" ", "").partition(":") for line in lines[1:]
                )
            }
            size = headers.get("content-length", "0")
            method, _, rest = lines[0].partition(" ")
            if not size.isdigit() or int(size) > MAX_BYTES or not rest.startswith("/"):
                return False
            whole = end + 4 + int(size)
            if len(self._received) < whole:
                return True
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            path, _, query = rest.partition(" ")[0].partition("?")
            if not self._send(*self._keeper.answer(method, path, query, body)):
                return False
            if headers.get("connection") == "close":
                return False
        return len(self._received) < MAX_BYTES

    def _send(self, status: int, content_type: str, body: bytes) -> bool:
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
        self.sock.setblocking(True)
        self.sock.settimeout(10)
        try:
            self.sock.sendall(f"{head}\r\n\r\n".encode() + body)
        except OSError:
            return False
        self.sock.setblocking(False)
        return True


def urls(arguments: list[str]) -> list[str]:
    """The URLs to listen on for clients."""
    found = "http://localhost:2379"
    for index, word in enumerate(arguments):
        name, given, value = word.lstrip("-").partition("=")
        if name == "listen-client-urls":
            found = value if given else (arguments[index + 1 :] or [found])[0]
    return found.split(",")


def listen(url: str) -> socket.socket:
    """A socket that listens there.  Raises: `OSError`, `ValueError`."""
    scheme, _, rest = url.partition("://")
    if scheme != "http":
        raise ValueError(f"--listen-client-urls {url}: give an http URL")
    host, _, port = rest.partition("/")[0].rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, int(port)), family=family)
    listener.setblocking(False)
    return listener


def serve(listeners: list[socket.socket], keeper: Keeper) -> None:
    """Answer until SIGTERM or SIGINT."""
    selector = selectors.DefaultSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ, listener)
    while True:
        for key, _ in selector.select():
            who: Client | socket.socket = key.data
            if isinstance(who, socket.socket):
                accepted, _ = who.accept()
                accepted.setblocking(False)
                selector.register(accepted, selectors.EVENT_READ, Client(accepted, keeper))
            elif not who.readable():
                selector.unregister(who.sock)
                who.sock.close()


def _exit(_number: int, _frame: object) -> None:
    os._exit(0)


def main(arguments: list[str]) -> int:
    """Run; gives the exit status."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(HELP)
        return 0
    if "--version" in arguments:
        sys.stdout.write(f"etcd Version: {VERSION}\n")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    try:
        listeners = [listen(url) for url in urls(arguments)]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"etcd: {error}\n")
        return 1
    serve(listeners, Keeper())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
