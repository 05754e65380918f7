"""Streams as kubectl opens them, to a cluster served on real sockets: WebSocket and SPDY."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from served import NO_KUBECTL, Served, kubectl

pytestmark = [
    pytest.mark.skipif(kubectl() is None, reason=NO_KUBECTL),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WIRES = ("true", "false")
"""What `KUBECTL_REMOTE_COMMAND_WEBSOCKETS` says."""


@pytest.fixture(scope="module")
def served():
    cluster = Served("--nodes", "1", "--instant")
    cluster.kubectl("run", "box", "--image=busybox", "--", "sleep", "36000")
    cluster.kubectl("run", "web", "--image=nginx", "--port=80", "--labels=app=web", "--expose")
    cluster.kubectl("create", "deployment", "fleet", "--image=nginx")
    for what in ("pod/box", "pod/web", "deployment/fleet"):
        condition = "Available" if what.startswith("deployment") else "Ready"
        waited = cluster.kubectl("wait", f"--for=condition={condition}", what, "--timeout=30s")
        assert waited.returncode == 0, waited.stderr
    yield cluster
    cluster.stop()


@pytest.fixture(params=WIRES, ids=["websocket", "spdy"])
def cluster(request, served, monkeypatch):
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", request.param)
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", request.param)
    return served


def command(cluster, *arguments):
    return [
        str(kubectl()), "--kubeconfig", str(cluster.kubeconfig),
        "--cache-dir", str(cluster.folder / "cache"), *arguments,
    ]


def test_a_command_and_how_it_ends(cluster):
    done = cluster.kubectl("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.returncode) == ("out\n", 3)
    assert done.stderr == "err\ncommand terminated with exit code 3\n"


def test_input_up_to_its_end(cluster):
    done = cluster.kubectl("exec", "-i", "box", "--", "wc", "-c", stdin="12345")
    assert done.stdout.strip() == "5"


def test_megabytes_there_and_back(cluster):
    data = os.urandom(3_000_000)
    done = subprocess.run(
        command(cluster, "exec", "-i", "box", "--", "cat"), input=data, capture_output=True,
        timeout=60, check=False,
    )
    assert done.stdout == data


def test_a_program_that_is_not_there(cluster):
    done = cluster.kubectl("exec", "box", "--", "nope")
    assert done.returncode == 1
    assert 'exec: "nope": executable file not found in $PATH' in done.stderr


def test_files_are_copied_both_ways(cluster, tmp_path):
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "data").write_bytes(os.urandom(100_000))
    there = f"box:/tmp/{os.environ['KUBECTL_REMOTE_COMMAND_WEBSOCKETS']}"
    assert cluster.kubectl("cp", str(tmp_path / "tree"), there).returncode == 0
    assert cluster.kubectl("cp", there, str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back/deep/data").read_bytes() == (tmp_path / "tree/deep/data").read_bytes()


class Desk:
    """kubectl at a terminal."""

    def __init__(self, cluster, *arguments):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            line = command(cluster, *arguments)
            os.execv(line[0], line)
        self.seen = ""

    def until(self, text, seconds=15):
        """Read until `text` has come (since the last time)."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} has not come, but {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 4096).decode()
            except OSError:
                raise AssertionError(f"{text!r} has not come, but {self.seen!r}") from None
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def ends(self):
        while True:
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:
                break
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_shell_at_a_terminal(cluster):
    desk = Desk(cluster, "exec", "-it", "box", "--", "sh")
    desk.until("/ # ")
    desk.type("echo $((6*7))\r")
    desk.until("echo $((6*7))\r\n42\r\n/ # ")
    desk.type("sleep 1000\r")
    desk.until("sleep 1000\r\n")
    desk.type("\x03")
    desk.until("/ # ")
    desk.type("exit 4\r")
    assert desk.ends() == 4


def test_a_pod_for_a_moment(cluster):
    name = f"moment-{os.environ['KUBECTL_REMOTE_COMMAND_WEBSOCKETS']}"
    desk = Desk(cluster, "run", name, "-it", "--rm", "--restart=Never", "--image=busybox", "--", "sh")
    desk.until("press")
    desk.until("enter.\r\n")
    time.sleep(0.5)
    desk.type("hostname\r")
    desk.until(f"hostname\r\n{name}\r\n")
    desk.type("exit\r")
    desk.until(f'pod "{name}" deleted')
    assert desk.ends() == 0


def test_a_container_to_look_around(cluster):
    done = cluster.kubectl(
        "debug", "box", "-i", "--image=busybox", "--target=box", "--", "sh", stdin="hostname; exit\n"
    )
    assert "box" in done.stdout
    assert done.returncode == 0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def fetch(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece
    return answer


@pytest.mark.parametrize("target", ["pod/web", "service/web", "deployment/fleet"])
def test_forwarded_ports(cluster, target):
    port = free_port()
    with subprocess.Popen(
        command(cluster, "port-forward", target, f"{port}:80"), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:
        try:
            assert process.stdout.readline().startswith("Forwarding from 127.0.0.1:")
            for _ in range(3):
                assert b"Welcome to nginx!" in fetch(port)
        finally:
            process.terminate()


def test_a_port_on_which_nobody_listens(cluster):
    port = free_port()
    with subprocess.Popen(
        command(cluster, "port-forward", "pod/web", f"{port}:81"), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:
        assert process.stdout.readline().startswith("Forwarding from 127.0.0.1:")
        assert fetch(port) == b""
        told = process.stdout.read()
        assert "error forwarding port 81 to pod " in told
        assert "connect: connection refused" in told
        assert "lost connection to pod" in told


def test_a_log_is_followed_until_its_reader_leaves(served):
    served.kubectl("run", "talks", "--image=busybox", "--", "sh", "-c", "while true; do echo tick; sleep 0.1; done")
    served.kubectl("wait", "--for=condition=Ready", "pod/talks", "--timeout=30s")
    with subprocess.Popen(
        command(served, "logs", "-f", "talks", "--tail=1", "--timestamps"), stdout=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stdout.readline() for _ in range(5)]
        process.terminate()
    assert all(line.endswith("Z tick\n") for line in lines)
    limited = served.kubectl("logs", "-f", "talks", "--limit-bytes=12")
    assert limited.stdout == "tick\ntick\nti"
    assert served.kubectl("logs", "talks", "--since=1h", "--tail=2").stdout == "tick\ntick\n"


def test_a_reader_that_never_reads_costs_no_memory(served):
    def resident():
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc")
    before = resident()
    with subprocess.Popen(command(served, "exec", "box", "--", "yes"), stdout=subprocess.PIPE) as process:
        time.sleep(2)
        after = resident()
        process.kill()
    assert after - before < 40_000
    assert served.kubectl("exec", "box", "--", "echo", "alive").stdout == "alive\n"
