"""The loop of real sockets, in this process: what one connection or component does wrong harms no other."""

from __future__ import annotations

import http.client
import ssl
import threading

import pytest

from pytest_kubesim.sim.clock import NS, WallClock
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.transports import certificates, peers, sockets
from pytest_kubesim.transports.http import Front
from pytest_kubesim.wire import Response


class Server:
    def __init__(self, kernel):
        self.kernel = kernel

    async def handle(self, request):
        if request.path == "/broken":
            raise RuntimeError("broken")
        if request.path == "/later":
            self.kernel.call_later(NS // 100, self.fail)
        return Response(200, {"path": request.path})

    def fail(self):
        raise RuntimeError("failed later")


@pytest.fixture
def failures():
    return []


@pytest.fixture
def connection(failures, tmp_path):
    kernel = Kernel()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = certificates.Authority()
    context.load_cert_chain(*certificates.write(tmp_path, "server", authority.server()))
    front = Front(kernel, Server(kernel), on_failure=failures.append)
    loop = sockets.Loop(front, WallClock(kernel.now_ns, 1.0), context)
    thread = threading.Thread(target=loop.run)
    thread.start()
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    connection = http.client.HTTPSConnection("127.0.0.1", loop.port, context=trusting, timeout=10)
    yield connection
    connection.close()
    loop.stop()
    thread.join(10)
    assert not thread.is_alive()


def ask(connection, path):
    connection.request("GET", path)
    return connection.getresponse().read()


def test_a_handler_that_fails_costs_its_connection(connection, failures):
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(connection, "/broken")
    connection.close()
    assert ask(connection, "/a") == b'{"path":"/a"}\n'
    assert [str(f) for f in failures] == ["broken"]


def test_a_component_that_fails_is_told_and_the_rest_serves_on(connection, failures):
    import time

    ask(connection, "/later")
    until = time.monotonic() + 5
    while not failures and time.monotonic() < until:
        time.sleep(0.02)
    assert [str(f) for f in failures] == ["failed later"]
    assert ask(connection, "/a") == b'{"path":"/a"}\n'


@pytest.mark.parametrize("part", ["HEAD_S", "IDLE_S", "BODY_S"])
def test_who_takes_too_long_is_cut_off(connection, monkeypatch, part):
    name = {"HEAD_S": "head", "IDLE_S": "idle", "BODY_S": "body"}[part]
    monkeypatch.setitem(peers._LIMITS_S, name, 0.1)
    monkeypatch.setattr(peers, "SWEEP_S", 0.05)
    monkeypatch.setattr(sockets, "LONGEST_SLEEP_S", 0.05)
    ask(connection, "/a")
    sent = {
        "head": b"GET / HTTP/1.1\r\nHost:", "idle": b"",
        "body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
    }[name]
    if sent:
        connection.sock.sendall(sent)
    assert connection.sock.recv(1) == b""
