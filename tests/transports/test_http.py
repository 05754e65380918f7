"""The HTTP front by itself: bytes in, bytes out, no cluster."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.tasks import Queue
from pytest_kubesim.transports.http import Connection, Front, Identity, parse_query
from pytest_kubesim.wire import ConnectionLost, Response, WatchEvent


class Stream:
    status, content_type, headers = 200, "application/json", ()

    def __init__(self, kernel):
        self.queue = Queue(kernel)
        self.closed = False

    async def next(self):
        return await self.queue.get()

    def next_nowait(self):
        return self.queue.get_nowait() if len(self.queue) else None

    def close(self):
        self.closed = True

    def encode(self, event):
        return event.frame()


class Server:
    def __init__(self, kernel):
        self.kernel = kernel
        self.requests = []
        self.stream = Stream(kernel)

    async def handle(self, request):
        self.requests.append(request)
        if request.path == "/slow":
            await self.kernel.sleep(5 * NS)
        if request.path == "/lost":
            raise ConnectionLost("reset", "gone")
        if request.path == "/watch":
            return self.stream
        if request.path == "/big":
            return Response(200, body=b"x" * 200_000)
        if request.path == "/none":
            return Response(204)
        return Response(200, {"path": request.path}, headers=(("audit-id", "1"),))


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def server(kernel):
    return Server(kernel)


class Client:
    def __init__(self, kernel, server, **options):
        self.out = b""
        self.end = None
        self.connection = Connection(Front(kernel, server, **options), self._output, self._closed)

    def _output(self, data):
        self.out += data

    def _closed(self, kind):
        self.end = kind

    def get(self, path, *headers, method="GET", body=b""):
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.connection.feed("\r\n".join([*lines, "", ""]).encode() + body)


@pytest.fixture
def client(kernel, server):
    return Client(kernel, server)


def test_a_request_that_nothing_holds_is_answered_at_once(client, server):
    client.get("/api?a=1&b=x%20y+z&c", "X-Thing: 1", method="POST", body=b"{}")
    assert client.out == (
        b"HTTP/1.1 200 OK\r\nCache-Control: no-cache, private\r\naudit-id: 1\r\nContent-Type: application/json\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 16\r\n\r\n" + b'{"path":"/api"}\n'
    )
    (request,) = server.requests
    assert request.query == (("a", "1"), ("b", "x y z"), ("c", ""))
    assert (request.method, request.body, request.header("x-thing")) == ("POST", b"{}", "1")


def test_requests_in_one_packet_are_served_one_after_the_other(kernel, client, server):
    client.connection.feed(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (client.out, len(server.requests)) == (b"", 1)
    kernel.run()
    assert client.out.index(b"/slow") < client.out.index(b'"/b"')
    assert client.end is None


def test_bytes_may_come_one_by_one(client):
    for byte in b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n":
        client.connection.feed(bytes([byte]))
    assert client.out.endswith(b'{"path":"/a"}\n')


def test_a_client_that_closes_keep_alive(client):
    client.get("/a", "Connection: close")
    assert b"Connection: close\r\n" in client.out
    assert client.end == "eof"


def test_head_and_204_have_no_body(client):
    client.get("/a", method="HEAD")
    assert client.out.endswith(b"Content-Length: 14\r\n\r\n")
    client.out = b""
    client.get("/none")
    assert b"Content-Length" not in client.out


def test_expect_100_continue(client):
    client.connection.feed(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert client.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.connection.feed(b"{}")
    assert b"200 OK" in client.out


def test_watch_events_are_chunks_that_come_as_they_come(kernel, client, server):
    client.get("/watch")
    assert b"Transfer-Encoding: chunked\r\n\r\n" in client.out
    client.out = b""
    event = WatchEvent("ADDED", {"a": 1}, 1)
    server.stream.queue.put(event)
    server.stream.queue.put(event)
    kernel.run()
    chunk = b"%x\r\n%s\r\n" % (len(event.frame()), event.frame())
    assert client.out == chunk * 2
    client.out = b""
    server.stream.queue.put(None)
    kernel.run()
    assert client.out == b"0\r\n\r\n"
    assert server.stream.closed
    client.get("/after")
    assert b"/after" in client.out


def test_a_client_that_goes_ends_its_watch(kernel, client, server):
    client.get("/watch")
    client.connection.client_closed()
    kernel.run()
    assert server.stream.closed
    assert client.end is None


def test_watch_events_take_their_time(kernel, server):
    client = Client(kernel, server, watch_latency_ns=(NS, 2 * NS))
    client.get("/watch")
    client.out = b""
    server.stream.queue.put(WatchEvent("ADDED", {"a": 1}, 1))
    kernel.run()
    assert client.out
    assert NS <= kernel.elapsed_ns <= 2 * NS


def test_a_lost_connection_is_told(client):
    client.get("/lost")
    assert (client.out, client.end) == (b"", "reset")


@pytest.mark.parametrize("compress", [True, False])
def test_large_bodies_are_compressed_for_those_who_accept_it(kernel, server, compress):
    client = Client(kernel, server, compress=compress)
    client.get("/big", "Accept-Encoding: gzip, deflate")
    head, _, body = client.out.partition(b"\r\n\r\n")
    assert (b"content-encoding: gzip" in head) is compress
    assert (gzip.decompress(body) if compress else body) == b"x" * 200_000
    client.out = b""
    client.get("/a", "Accept-Encoding: gzip")
    assert b"gzip" not in client.out


def test_nonsense_is_a_bad_request(client):
    client.connection.feed(b"\x16\x03\x01 what\r\n\r\n")
    assert client.out.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert client.end == "eof"


def test_headers_have_a_limit(client):
    client.get("/a", "X: " + "y" * (1 << 20))
    assert client.out.startswith(b"HTTP/1.1 431 ")
    assert client.end == "eof"


def test_the_door_says_who_asks(kernel, server):
    client = Client(kernel, server, identify=lambda headers: Identity(client=dict(headers)["host"], host="h"))
    client.get("/a")
    assert (server.requests[0].client, server.requests[0].host) == ("x", "h")


@given(st.lists(st.tuples(st.text(), st.text())))
def test_queries_come_back(pairs):
    from urllib.parse import urlencode

    wanted = tuple((k, v) for k, v in pairs)
    assert parse_query(urlencode(pairs)) == wanted
