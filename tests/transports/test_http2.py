"""HTTP/2 by itself: two state machines connected directly, no cluster, no sockets."""

from __future__ import annotations

import gzip
from collections import defaultdict

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from hypothesis import given
from hypothesis import strategies as st
from test_http import Server

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.transports import http2
from pytest_kubesim.transports.http import Front
from pytest_kubesim.wire import WatchEvent


class Client:
    def __init__(self, kernel, server, **options):
        self.end = None
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.pending = []
        self.connection = http2.Connection2(
            Front(kernel, server, **options), self.pending.append, lambda kind: setattr(self, "end", kind)
        )
        self.status, self.headers, self.body = {}, {}, defaultdict(bytes)
        self.ended, self.resets = set(), {}
        self.reading = True
        self.h2.initiate_connection()
        self.exchange()

    def exchange(self):
        while True:
            sent = self.h2.data_to_send()
            if sent:
                self.connection.feed(sent)
            if not self.pending:
                if not sent:
                    return
                continue
            data = b"".join(self.pending)
            self.pending.clear()
            for event in self.h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    self.headers[event.stream_id] = dict(event.headers)
                    self.status[event.stream_id] = int(self.headers[event.stream_id][":status"])
                elif isinstance(event, DataReceived):
                    self.body[event.stream_id] += event.data
                    if self.reading:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.ended.add(event.stream_id)
                elif isinstance(event, StreamReset):
                    self.resets[event.stream_id] = event.error_code

    def request(self, path, *headers, method="GET", body=None):
        number = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path), *headers]
        self.h2.send_headers(number, head, end_stream=body is None)
        while body:
            self.exchange()
            size = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(body))
            if number in self.ended or number in self.resets:
                break
            self.h2.send_data(number, body[:size], end_stream=size == len(body))
            body = body[size:]
        self.exchange()
        return number


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def server(kernel):
    return Server(kernel)


@pytest.fixture
def client(kernel, server):
    return Client(kernel, server)


def test_a_request_is_answered_at_once(client, server):
    number = client.request("/a?x=1&y=%20", ("accept", "z"))
    assert client.status[number] == 200
    assert client.headers[number]["audit-id"] == "1"
    assert client.body[number] == b'{"path":"/a"}\n'
    assert number in client.ended
    request = server.requests[0]
    assert (request.method, request.query) == ("GET", (("x", "1"), ("y", " ")))
    assert (request.header("host"), request.header("accept")) == ("x", "z")


def test_a_slow_answer_holds_up_nobody(client, kernel):
    slow = client.request("/slow")
    fast = client.request("/fast")
    assert fast in client.ended
    assert slow not in client.ended
    kernel.run(until_ns=kernel.now_ns + 6 * NS)
    client.exchange()
    assert slow in client.ended
    assert client.connection.idle


def test_head_and_204_have_no_body(client):
    for number in (client.request("/a", method="HEAD"), client.request("/none")):
        assert number in client.ended
        assert not client.body[number]


def test_a_body_is_read_whole(client, server):
    client.request("/a", method="POST", body=b"x" * 300_000)
    assert server.requests[0].body == b"x" * 300_000


def test_a_body_beyond_the_limit_is_answered_before_its_end(client, server):
    number = client.request("/a", method="POST", body=b"x" * (10 << 20))
    assert client.status[number] == 200
    assert len(server.requests[0].body) < 4 << 20
    assert client.request("/b") in client.ended


def test_a_large_answer_goes_through_small_windows(kernel, server):
    client = Client(kernel, server, compress=True)
    number = client.request("/big")
    assert client.body[number] == b"x" * 200_000
    number = client.request("/big", ("accept-encoding", "gzip"))
    assert gzip.decompress(client.body[number]) == b"x" * 200_000


def test_a_lost_request_resets_its_stream_only(client):
    number = client.request("/lost")
    assert client.resets == {number: 2}
    assert client.request("/a") in client.ended
    assert client.end is None


def test_a_mistake_of_ours_resets_its_stream_only(kernel, server):
    failures = []
    client = Client(kernel, server, on_failure=failures.append)
    server.handle = None
    assert client.request("/a") in client.resets
    assert isinstance(failures[0], TypeError)


def test_watch_events_come_as_they_happen(client, server, kernel):
    number = client.request("/watch")
    for name in ("a", "b"):
        server.stream.queue.put(WatchEvent("ADDED", {"kind": name}, 1))
        kernel.run(until_ns=kernel.now_ns)
        client.exchange()
        assert client.body[number].endswith(b'"%s"}}\n' % name.encode())
    server.stream.queue.put(None)
    kernel.run(until_ns=kernel.now_ns)
    client.exchange()
    assert number in client.ended
    assert server.stream.closed


def test_a_watch_that_the_client_resets_is_closed(client, server, kernel):
    number = client.request("/watch")
    client.h2.reset_stream(number)
    client.exchange()
    kernel.run(until_ns=kernel.now_ns)
    assert server.stream.closed
    assert client.connection.idle
    assert client.end is None


def test_a_watch_that_nobody_reads_is_reset(client, server, kernel, monkeypatch):
    monkeypatch.setattr(http2, "MAX_UNSENT_BYTES", 100_000)
    client.reading = False
    number = client.request("/watch")
    for _ in range(30):
        server.stream.queue.put(WatchEvent("ADDED", {"data": "x" * 10_000}, 1))
        kernel.run(until_ns=kernel.now_ns)
    client.exchange()
    assert client.resets == {number: 11}
    assert server.stream.closed


def test_a_client_that_leaves_ends_its_watches(client, server, kernel):
    client.request("/watch")
    client.connection.client_closed()
    kernel.run(until_ns=kernel.now_ns)
    assert server.stream.closed


def test_a_request_without_a_path_is_reset(client):
    client.h2.config.validate_outbound_headers = False
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, [(":method", "GET"), (":scheme", "https")], end_stream=True)
    client.exchange()
    assert client.resets == {number: 1}
    assert client.request("/a") in client.ended


def test_the_end_is_announced(client):
    client.connection.end()
    client.exchange()
    assert client.h2.state_machine.state.name == "CLOSED"
    assert client.end == "eof"


def test_garbage_ends_the_connection(client):
    client.connection.feed(b"\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00")  # data of no stream
    assert client.end == "eof"


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_end_in_an_answer_or_an_end(pieces):
    kernel = Kernel()
    client = Client(kernel, Server(kernel))
    for piece in pieces:
        client.connection.feed(piece)
    kernel.run(until_ns=kernel.now_ns + 6 * NS)
