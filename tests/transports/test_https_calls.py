"""Calls to servers outside, over real TLS, in the words of Go's client."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.transports import certificates
from pytest_kubesim.transports.https_calls import Call, exchange


class Echo(BaseHTTPRequestHandler):
    """Gives back what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is inherited
        """Says nothing."""


def serve(context: ssl.SSLContext | None) -> HTTPServer:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture(scope="module")
def authority() -> certificates.Authority:
    return certificates.Authority()


@pytest.fixture(scope="module")
def call(
    authority: certificates.Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Call]:
    folder: Path = tmp_path_factory.mktemp("tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.write(folder, "tls", authority.server()))
    server = serve(context)
    yield Call(
        "POST", f"127.0.0.1:{server.server_address[1]}", "127.0.0.1", "/x",
        {"Content-Type": "application/json"}, b"{}", authority.pem, 5.0,
    )
    server.shutdown()
    server.server_close()


def test_an_answer_comes_back(call: Call) -> None:
    answer = exchange(call)
    assert (answer.code, answer.body) == (200, b"{}")


def test_a_certificate_of_somebody_else_is_not_trusted(call: Call) -> None:
    other = attrs.evolve(call, ca_bundle=certificates.Authority("other").pem)
    with pytest.raises(CallError, match="x509: certificate signed by unknown authority"):
        exchange(other)


def test_a_certificate_is_for_a_name(call: Call) -> None:
    other = attrs.evolve(call, server_name="op.default.svc")
    with pytest.raises(CallError, match=r"x509: certificate is valid for .*, not op.default.svc"):
        exchange(other)


def test_nobody_listens(call: Call) -> None:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    free = f"127.0.0.1:{server.server_address[1]}"
    server.server_close()
    with pytest.raises(CallError, match=rf"^dial tcp {free}: connect: connection refused$"):
        exchange(attrs.evolve(call, dialled=free))


def test_a_server_without_tls_is_found_out(call: Call) -> None:
    server = serve(None)
    plain = attrs.evolve(call, dialled=f"127.0.0.1:{server.server_address[1]}")
    with pytest.raises(CallError, match="server gave HTTP response to HTTPS client"):
        exchange(plain)
    server.shutdown()
    server.server_close()
