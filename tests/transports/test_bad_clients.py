"""Clients that mean harm or are broken: each gets an error or is cut off, and nobody else notices."""

from __future__ import annotations

import os
import random
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest
import served

pytestmark = pytest.mark.slow
AUTHORIZED = f"Host: x\r\nAuthorization: Bearer {served.TOKEN}\r\n"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def server():
    server = served.Served("--components", "apiserver")
    yield server
    complaints = server.stderr()
    assert server.stop() == 0
    assert not complaints


class Bystander(threading.Thread):
    """Somebody who minds his own business: one connection, request after request."""

    def __init__(self, server):
        super().__init__()
        self.connection = server.connect(timeout=30)
        self.going = True
        self.codes = []
        self.failure = None
        self.ask()

    def ask(self):
        headers = {"Authorization": f"Bearer {served.TOKEN}"}
        self.connection.request("GET", CONFIG_MAPS + "?limit=1", headers=headers)
        answer = self.connection.getresponse()
        answer.read()
        self.codes.append(answer.status)

    def run(self):
        try:
            while self.going:
                self.ask()
        except Exception as failure:
            self.failure = failure


@contextmanager
def nobody_notices(server):
    """Somebody is answered all the while, and afterwards somebody new is."""
    bystander = Bystander(server)
    bystander.start()
    try:
        yield
        seen = len(bystander.codes)
        while bystander.is_alive() and len(bystander.codes) < seen + 3:
            bystander.join(0.01)
    finally:
        bystander.going = False
        bystander.join(30)
        bystander.connection.close()
    assert bystander.failure is None
    assert set(bystander.codes) == {200}
    assert server.ask("GET", "/healthz") == (200, "ok")


def plain(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def secured(server, *protocols):
    context = server.context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(plain(server), server_hostname="127.0.0.1")


def everything(sock):
    pieces = []
    with suppress(ConnectionError):
        while piece := sock.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def hello(server):
    """The first thing that a TLS client says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        server.context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


def memory(server):
    path = f"/proc/{server.process.pid}/statm"
    if not os.path.exists(path):
        pytest.skip("no /proc on this system")
    with open(path) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_garbage_of_every_kind_is_cut_off(server):
    drawn = random.Random(1)
    first = hello(server)
    with nobody_notices(server):
        for length in (1, 7, 100, 5000):
            for junk in (drawn.randbytes(length), first[: length // 2] + drawn.randbytes(length), b"\x16\x03\x01" + bytes(length)):
                with plain(server) as sock:
                    sock.sendall(junk)
                    sock.shutdown(socket.SHUT_WR)
                    everything(sock)
            for junk in (drawn.randbytes(length), b"GET / HTTP/1.1\r\n" + drawn.randbytes(length) + b"\r\n\r\n"):
                for protocol in ("http/1.1", "h2"):
                    with secured(server, protocol) as sock, suppress(ConnectionError, ssl.SSLError):
                        sock.sendall(junk)
                        sock.unwrap().shutdown(socket.SHUT_WR)


def test_who_leaves_at_any_point_leaves_nothing_behind(server):
    first = hello(server)
    request = f"POST {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}Content-Length: 100\r\n\r\n{{".encode()
    with nobody_notices(server):
        for end in (0, 1, 5, len(first) - 1, len(first)):
            sock = plain(server)
            sock.sendall(first[:end])
            reset(sock)
        for end in (0, 1, 20, len(request) - 1, len(request)):
            sock = secured(server)
            sock.sendall(request[:end])
            reset(sock)


def reset(sock):
    """Close as a process does that is killed with bytes unread."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def test_a_thousand_connections(server):
    first = hello(server)
    with nobody_notices(server), ExitStack() as stack:
        silent = [stack.enter_context(plain(server)) for _ in range(600)]
        for sock in silent[:300]:
            sock.sendall(first[:50])
        for sock in silent[300:]:
            sock.sendall(first)  # all of these handshakes begin, none is finished
        idle = [stack.enter_context(secured(server)) for _ in range(400)]
        idle[-1].sendall(f"GET /healthz HTTP/1.1\r\n{AUTHORIZED}\r\n".encode())
        assert idle[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_when_no_more_files_can_be_opened_the_next_waits(server):
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limits of another process cannot be set on this system")
    before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    with nobody_notices(server):
        open_files = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (open_files + 10, before[1]))
        try:
            with ExitStack() as stack:
                for _ in range(50):
                    stack.enter_context(plain(server))
                late = stack.enter_context(plain(server))
                late.sendall(hello(server))
                late.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    late.recv(1)
            assert server.ask("GET", "/healthz") == (200, "ok")
        finally:
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)


def test_who_goes_on_sending_after_the_answer_is_cut_off(server):
    with nobody_notices(server), secured(server) as sock:
        sock.sendall(
            f"POST {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}Content-Type: application/json\r\n"
            f"Content-Length: {1 << 40}\r\n\r\n".encode()
        )
        before = memory(server)
        megabyte = b" " * (1 << 20)
        with pytest.raises((ConnectionError, ssl.SSLError)):  # noqa: PT012
            for _ in range(1 << 20):
                sock.sendall(megabyte)
        assert memory(server) - before < 64 * 1024 * 1024


def test_who_never_reads_a_large_list_holds_its_answer_and_no_more(server):
    for number in range(4):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"large-{number}"}, "data": {"x": "x" * 900_000}}
        assert server.ask("POST", CONFIG_MAPS, body)[0] == 201
    before = memory(server)
    request = f"GET {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}\r\n".encode()
    with nobody_notices(server), ExitStack() as stack:
        for _ in range(10):
            sock = stack.enter_context(secured(server))
            sock.sendall(request * 50)
        sock.sendall(request)
        assert server.ask("GET", "/healthz") == (200, "ok")
        assert memory(server) - before < 150_000_000  # an answer has 3.6 MB: one for each, not fifty
    for number in range(4):
        server.ask("DELETE", f"{CONFIG_MAPS}/large-{number}")


def test_who_reads_none_of_many_streams_holds_a_few_answers(server):
    client = http2_client()
    for number in range(4):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"large-{number}"}, "data": {"x": "x" * 900_000}}
        assert server.ask("POST", CONFIG_MAPS, body)[0] == 201
    before = memory(server)
    with nobody_notices(server), secured(server, "h2") as sock:
        for _ in range(90):
            client.send_headers(client.get_next_available_stream_id(), asking(CONFIG_MAPS), end_stream=True)
        sock.sendall(client.data_to_send())
        assert server.ask("GET", "/healthz") == (200, "ok")
        assert memory(server) - before < 150_000_000
        begun = set()
        while len(begun) < 4:  # who reads on gets more
            for event in client.receive_data(sock.recv(1 << 16)):
                if type(event).__name__ == "DataReceived":
                    begun.add(event.stream_id)
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            sock.sendall(client.data_to_send())
    for number in range(4):
        server.ask("DELETE", f"{CONFIG_MAPS}/large-{number}")


def http2_client():
    connection = pytest.importorskip("h2.connection")
    config = pytest.importorskip("h2.config").H2Configuration(client_side=True, header_encoding="utf-8")
    client = connection.H2Connection(config)
    client.initiate_connection()
    return client


def asking(path):
    return [
        (":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "x"),
        ("authorization", f"Bearer {served.TOKEN}"),
    ]


def test_streams_that_are_opened_and_reset_by_the_thousand(server):
    client, headers = http2_client(), asking(CONFIG_MAPS + "?watch=1")
    with nobody_notices(server), secured(server, "h2") as sock:
        assert sock.selected_alpn_protocol() == "h2"
        for _ in range(40):
            for _ in range(100):
                stream = client.get_next_available_stream_id()
                client.send_headers(stream, headers, end_stream=True)
                client.reset_stream(stream)
            sock.sendall(client.data_to_send())
        sock.settimeout(0.2)
        with suppress(TimeoutError, ConnectionError):
            while sock.recv(1 << 16):
                pass


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_flood_that_nobody_reads_the_answers_to(server, protocol):
    ping = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" + b"\0\0\10\6\0\0\0\0\0PINGPING" * 5000
    requests = f"GET /version HTTP/1.1\r\n{AUTHORIZED}\r\n".encode() * 1000
    before = memory(server)
    with nobody_notices(server), secured(server, protocol) as sock:
        sock.settimeout(0.5)
        with suppress(TimeoutError, ConnectionError, ssl.SSLError):
            sock.sendall(ping if protocol == "h2" else requests)
            for _ in range(300):
                sock.sendall(ping[33:] if protocol == "h2" else requests)
        assert memory(server) - before < 64 * 1024 * 1024
