"""A real etcd to compare with, if there is one: at ``KUBESIM_ETCD`` or on the ``PATH``, 3.7 or newer."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Refused(Exception):  # noqa: N818 -- what etcd answered, not a mistake
    """What etcd answered instead of a response."""


class Gateway:
    """etcd's JSON gateway. Texts go in and out as themselves, numbers as numbers."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call. Raises ``Refused`` with etcd's text."""
        try:
            with self._open(path, body) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["message"]) from None

    def watch(self, create: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The responses of one watch, until etcd ends it; close the iterator to end it before."""
        with self._open("/v3/watch", {"create_request": create}) as response:
            for line in response:
                yield json.loads(line)["result"]

    def _open(self, path: str, body: dict[str, Any]) -> Any:
        data = json.dumps(body).encode()
        return urllib.request.urlopen(self.url + path, data, timeout=20)  # noqa: S310


def encode(text: str | bytes) -> str:
    """A text as the gateway wants it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def decode(text: str) -> bytes:
    """The bytes of what the gateway gave."""
    return base64.b64decode(text)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(binary: str, folder: Path) -> Iterator[Gateway]:
    client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
    command = [binary, "--data-dir", str(folder / "data"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            gateway = Gateway(client)
            _wait(process, gateway)
            yield gateway
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], gateway: Gateway) -> None:
    for _ in range(400):
        assert process.poll() is None, "etcd did not start"
        try:
            gateway.call("/v3/kv/range", {"key": encode("a")})
        except (OSError, Refused):
            time.sleep(0.05)
        else:
            return
    pytest.fail("etcd did not answer within 20 s")


def _binary() -> str:
    found = os.environ.get("KUBESIM_ETCD") or shutil.which("etcd")
    if not found:
        pytest.skip("no etcd to compare with: set KUBESIM_ETCD to one, 3.7 or newer")
    said = subprocess.run(  # noqa: S603
        [found, "--version"], capture_output=True, text=True, check=True
    ).stdout
    version = said.split()[2]
    if tuple(map(int, version.split(".")[:2])) < (3, 7):
        pytest.skip(f"this is etcd {version}: set KUBESIM_ETCD to one of 3.7 or newer")
    return found


@pytest.fixture(scope="session")
def real_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for the run; whoever writes uses keys of its own."""
    yield from _start(_binary(), tmp_path_factory.mktemp("etcd"))


@pytest.fixture
def fresh_real_etcd(tmp_path: Path) -> Iterator[Gateway]:
    """One for the test, empty."""
    yield from _start(_binary(), tmp_path)
