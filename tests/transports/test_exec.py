"""exec and attach through the official client: programs answer over WebSocket."""

from __future__ import annotations

import json

import kubernetes
import pytest
from kubernetes.stream import stream
from websocket import WebSocketConnectionClosedException

from pytest_kubesim.cri.programs import ExecResult, runs_forever

pytestmark = pytest.mark.kubesim(components="all", nodes=1)


@pytest.fixture
def core(kubesim):
    kubernetes.config.load_kube_config()

    def shell(container, command):
        if command[0] == "echo":
            return " ".join(command[1:]) + "\n"
        return ExecResult(3, "out", "err")

    kubesim.images["app:1"] = runs_forever().having(exec=shell)
    for name, image in (("app", "app:1"), ("plain", "plain:1")):
        kubesim.apply({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": image}]},
        })
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=2, within="1m")
    return kubernetes.client.CoreV1Api()


def run(core, *command, name="app", **options):
    return stream(
        core.connect_get_namespaced_pod_exec, name, "default", command=list(command),
        **{"stdout": True, "stderr": True, "stdin": False, "tty": False, **options},
    )


def test_what_a_command_prints(core):
    assert run(core, "echo", "hello", "there") == "hello there\n"


def test_how_a_command_ends(core):
    ended = run(core, "fail", _preload_content=False)
    ended.run_forever(timeout=5)
    assert (ended.read_stdout(), ended.read_stderr()) == ("out", "err")
    assert ended.returncode == 3


def test_only_the_streams_that_are_wanted(core):
    assert run(core, "fail", stdout=False) == "err"


def test_a_program_without_a_hook_says_so(core):
    with pytest.raises(kubernetes.client.ApiException, match="does not simulate commands"):
        run(core, "echo", name="plain")


def test_a_plain_request_is_told_to_upgrade(core):
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.connect_get_namespaced_pod_exec("app", "default", command=["echo"], stdout=True)
    assert caught.value.status == 400
    assert json.loads(caught.value.body)["message"] == "Upgrade request required"


def test_attach_gives_what_is_written_until_the_end(core, kubesim):
    async def main(container):
        for number in range(3):
            await container.sleep(1)
            container.log(f"line {number}")
        await container.sleep(1)

    kubesim.images["talks:1"] = main
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talks"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "talks:1"}]},
    })
    kubesim.eventually("pod/talks", {"status": {"phase": "Running"}}, within="1m")
    text = stream(
        core.connect_get_namespaced_pod_attach, "talks", "default", stdout=True, stderr=True, stdin=False
    )
    assert text.endswith("line 2\n")


def test_a_request_that_is_no_websocket_is_refused(core, kubesim):
    import os
    import socket
    import ssl

    address = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
    context = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    with socket.create_connection(address, timeout=10) as plain, context.wrap_socket(plain, server_hostname="kubernetes") as sock:
        sock.sendall(
            b"GET /api/v1/namespaces/default/pods/app/exec?command=echo&stdout=true HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n"
            b"Authorization: Bearer kubesim-token\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 400 Bad Request")


def test_garbage_after_the_handshake_ends_the_connection(core):
    command = run(core, "echo", _preload_content=False, stdin=True)
    command.sock.sock.sendall(b"\xff" * 100)
    with pytest.raises(WebSocketConnectionClosedException):
        command.run_forever(timeout=1)
