"""Plain sockets to a cluster: what libraries that use none of the others see."""

from __future__ import annotations

import os
import select
import socket
import ssl

import pytest

HEAD = "Host: x\r\nAuthorization: Bearer kubesim-token\r\n\r\n"


@pytest.fixture
def sock(kubesim):
    address = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
    context = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    with socket.create_connection(address, timeout=10) as plain, context.wrap_socket(plain, server_hostname="kubernetes") as sock:
        yield sock


def test_a_request_by_hand(sock):
    sock.sendall(f"GET /healthz HTTP/1.1\r\n{HEAD}".encode())
    assert sock.recv(15) == b"HTTP/1.1 200 OK"
    with sock.makefile("rb") as file:
        assert file.read(2) == b"\r\n"
    assert sock.version() == "TLSv1.3"


def test_reading_times_out_in_virtual_time(kubesim, sock):
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert kubesim.clock.time == 10
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_select_waits_virtually(kubesim, sock):
    assert select.select([sock], [], [], 5) == ([], [], [])
    assert kubesim.clock.time == 5
    assert select.select([sock], [sock], [], 5) == ([], [sock], [])
    sock.sendall(f"GET /healthz HTTP/1.1\r\n{HEAD}".encode())
    assert select.select([sock], [], [], 5) == ([sock], [], [])
    assert kubesim.clock.time == 5


@pytest.mark.skipif(not hasattr(select, "poll"), reason="no poll on this system")
def test_poll_waits_virtually(kubesim, sock):
    sock.sendall(f"GET /api/v1/configmaps?watch=1&resourceVersion=0 HTTP/1.1\r\n{HEAD}".encode())
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while poll.poll(100):
        sock.recv(65536)
    started = kubesim.clock.time
    assert poll.poll(5000) == []
    assert kubesim.clock.time - started == pytest.approx(5)
    kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert [event for _, event in poll.poll(5000)] == [select.POLLIN]
    assert b"ADDED" in sock.recv(65536)


def test_a_closed_connection_reads_as_its_end(kubesim, sock):
    sock.sendall(f"GET /healthz HTTP/1.1\r\nConnection: close\r\n{HEAD}".encode())
    assert b"200 OK" in sock.recv(65536)
    assert sock.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        sock.sendall(b"x")


def test_a_thread_from_before_is_refused(kubesim):
    sock = socket.socket()
    from pytest_kubesim.transports.actors import WORLD

    ident, WORLD.main_ident = WORLD.main_ident, -1
    try:
        with pytest.raises(ConnectionRefusedError, match="started before the cluster"):
            sock.connect(("kubesim.test", 6443))
    finally:
        WORLD.main_ident = ident
        sock.close()


def test_real_sockets_remain(kubesim):
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"hello")
            assert select.select([client], [], [], 1)[0] == [client]
            assert client.recv(5) == b"hello"
