"""Requests that the API server hands on to a program, and what comes back."""

from __future__ import annotations

import pytest

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver.proxy_transport import Body, Location, RawUpgrade, send
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.pipes import Refused, TimedOut, Unreachable, connection
from pytest_kubesim.wire import Request, Response

PREFIX = "/api/v1/namespaces/default/pods/p/proxy"


class Program:
    """Answers every connection with the same bytes; `asked` is what it was asked."""

    def __init__(self, answer=b"", *, stays=False, refuses=None):
        self.kernel = Kernel()
        self.asked = b""
        self.answer = answer
        self.stays = stays
        self.refuses = refuses

    async def connect(self, host, port):
        if self.refuses is not None:
            raise self.refuses
        here, there = connection(self.kernel)

        async def main():
            self.asked = await there.incoming.read_until(b"\r\n\r\n")
            there.write(self.answer)
            if not self.stays:
                there.close_write()

        self.kernel.spawn(main(), name="program", daemon=True)
        self.end = there
        return here

    def ask(self, method="GET", path="/a", headers=(), query=(), body=None):
        request = Request(method, PREFIX + path, query, (("host", "api:6443"), *headers), body)
        location = Location("10.0.0.5", 80, path)
        return self.kernel.run_coroutine(send(self.kernel, self.connect, location, request))

    def read(self, body):
        async def main():
            pieces = []
            while (event := await body.next()) is not None:
                pieces.append(body.encode(event))
            return pieces

        return self.kernel.run_coroutine(main())


def ok(body, *headers):
    head = "".join(f"{h}\r\n" for h in (f"Content-Length: {len(body)}", *headers))
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


def test_the_program_sees_the_request_without_what_is_not_its_own():
    program = Program(ok(b""))
    program.ask("POST", "/a%20b", [
        ("authorization", "Bearer x"), ("connection", "keep-alive, x-mine"), ("x-mine", "1"),
        ("keep-alive", "5"), ("accept", "a/b"), ("impersonate-user", "me"),
    ], (("q", "1 2"),), b"hello")
    assert program.asked.decode().split("\r\n") == [
        "POST /a%20b?q=1%202 HTTP/1.1", "Host: api:6443", "Accept: a/b", "Content-Length: 5",
        "X-Forwarded-For: 127.0.0.1", f"X-Forwarded-Uri: {PREFIX}/a%20b", "", "",
    ]


def test_the_answer_comes_back_without_what_concerns_the_connection():
    program = Program(ok(
        b"body", "Content-Type: a/b", "X-Own: 1", "Keep-Alive: 5", "Access-Control-Allow-Origin: *",
    ))
    answer = program.ask()
    assert isinstance(answer, Response)
    assert (answer.status, answer.encoded(), answer.content_type) == (200, b"body", "a/b")
    assert answer.headers == (("X-Own", "1"),)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Refused(), "connect: connection refused"),
        (Unreachable(), "connect: no route to host"),
        (TimedOut(), "i/o timeout"),
    ],
)
def test_who_cannot_be_reached(error, words):
    with pytest.raises(APIStatus) as caught:
        Program(refuses=error).ask()
    assert caught.value.code == 503
    assert caught.value.message == f"error trying to reach service: dial tcp 10.0.0.5:80: {words}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "EOF"),
        (b"HTTP/1.1 200 OK\r\n", "unexpected EOF"),
        (b"garbage\r\n\r\n", 'net/http: HTTP/1.x transport connection broken: malformed HTTP response "garbage"'),
    ],
)
def test_what_is_no_answer(answer, words):
    with pytest.raises(APIStatus) as caught:
        Program(answer).ask()
    assert caught.value.message == f"error trying to reach service: {words}"


def test_a_body_in_chunks_is_handed_on_as_it_comes():
    program = Program(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n",
        stays=True,
    )
    answer = program.ask()
    assert isinstance(answer, Body)
    assert answer.status == 201
    assert program.read(answer) == [b"abc", b"de"]


def test_a_body_of_no_length_ends_with_the_connection():
    program = Program(b"HTTP/1.0 200 OK\r\n\r\nall there is")
    assert b"".join(program.read(program.ask())) == b"all there is"


def test_a_large_body_is_not_taken_whole():
    program = Program(ok(bytes(3 << 20)))
    answer = program.ask()
    assert isinstance(answer, Body)
    assert sum(map(len, program.read(answer))) == 3 << 20


def test_a_client_that_leaves_ends_the_connection():
    program = Program(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", stays=True)
    program.ask().close()
    assert program.end.outgoing.closed


def test_a_head_alone_has_no_body():
    answer = Program(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").ask("HEAD")
    assert answer.encoded() == b""


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("/x/", f"{PREFIX}/x/"),
        ("http://10.0.0.5:80/x", f"{PREFIX}/x"),
        ("relative", "relative"),
        ("http://elsewhere/x", "http://elsewhere/x"),
        (f"{PREFIX}/x", f"{PREFIX}/x"),
    ],
)
def test_redirects_lead_through_the_proxy(link, shown):
    program = Program(f"HTTP/1.1 302 Found\r\nLocation: {link}\r\nContent-Length: 0\r\n\r\n".encode())
    assert dict(program.ask().headers)["Location"] == shown


def test_links_of_a_page_lead_through_the_proxy():
    page = b'<!DOCTYPE html><a class="k" href="/x?a=1&amp;b=2">&lt;x&gt;</a><img src="y.png"/><p x="/z">'
    answer = Program(ok(page, "Content-Type: text/html; charset=utf-8")).ask()
    assert answer.encoded() == (
        b'<!DOCTYPE html><a class="k" href="' + PREFIX.encode()
        + b'/x?a=1&amp;b=2">&lt;x&gt;</a><img src="y.png"/><p x="/z">'
    )


def test_a_connection_may_be_upgraded():
    program = Program(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nearly", stays=True)
    answer = program.ask(headers=[("connection", "Upgrade"), ("upgrade", "x")])
    assert isinstance(answer, RawUpgrade)
    assert b"Connection: Upgrade\r\nUpgrade: x\r\n" in program.asked
    assert answer.head.startswith(b"HTTP/1.1 101")
    assert answer.stream.incoming.read_nowait() == b"early"


def test_an_upgrade_that_is_refused_is_told_otherwise():
    with pytest.raises(APIStatus) as caught:
        Program(refuses=Refused()).ask(headers=[("connection", "Upgrade"), ("upgrade", "x")])
    assert caught.value.code == 500
    assert caught.value.message == "error dialing backend: dial tcp 10.0.0.5:80: connect: connection refused"


def test_no_program_speaks_tls():
    program = Program(ok(b""))
    location = Location("10.0.0.5", 443, "/", secure=True)
    request = Request("GET", PREFIX + "/", (), (("host", "api"),))
    with pytest.raises(APIStatus) as caught:
        program.kernel.run_coroutine(send(program.kernel, program.connect, location, request))
    assert caught.value.message == (
        "error trying to reach service: tls: first record does not look like a TLS handshake"
    )
