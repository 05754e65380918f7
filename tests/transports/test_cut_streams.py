"""A network that is cut between the API server and a kubelet: logs, commands, forwarded ports."""

from __future__ import annotations

import kubernetes
import pytest
from kubernetes.client import ApiException
from kubernetes.stream import portforward, stream
from websocket import WebSocketConnectionClosedException

pytestmark = pytest.mark.kubesim(components="all", nodes=1)


@pytest.fixture
def core(kubesim):
    for name, container in {
        "box": {"image": "busybox:1", "command": ["sleep", "360000"]},
        "talks": {"image": "busybox:1", "command": ["sh", "-c", "echo hello; sleep 360000"]},
        "ticks": {"image": "busybox:1", "command": ["sh", "-c", "while true; do date +%s; sleep 10; done"]},
        "web": {"image": "nginx:1"},
    }.items():
        kubesim.apply({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", **container}]},
        })
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=4, within="2m")
    kubesim.advance("1s")
    kubernetes.config.load_kube_config()
    return kubernetes.client.CoreV1Api()


def cut(kubesim):
    return kubesim.faults.partition("node-1", "control-plane").for_("1h")


def test_logs_of_a_node_that_is_cut_off_time_out_after_thirty_seconds(kubesim, core):
    cut(kubesim)
    before_s = kubesim.clock.time
    with pytest.raises(ApiException) as told:
        core.read_namespaced_pod_log("talks", "default")
    assert told.value.status == 500
    assert "/containerLogs/default/talks/c" in told.value.body
    assert ":10250: i/o timeout" in told.value.body
    assert kubesim.clock.time - before_s == pytest.approx(30, abs=0.1)


def test_a_short_cut_only_takes_its_time(kubesim, core):
    kubesim.faults.partition("node-1", "control-plane").for_("7s")
    before_s = kubesim.clock.time
    assert core.read_namespaced_pod_log("talks", "default").startswith("hello")
    assert kubesim.clock.time - before_s == pytest.approx(7, abs=0.5)


def test_a_frozen_kubelet_takes_the_connection_and_says_nothing(kubesim, core):
    kubesim.faults.node("node-1").freeze()
    with pytest.raises(ApiException) as told:
        core.read_namespaced_pod_log("talks", "default")
    assert "TLS handshake timeout" in told.value.body


def test_a_command_into_a_cut_is_an_error(kubesim, core):
    cut(kubesim)
    with pytest.raises(ApiException) as told:
        stream(core.connect_get_namespaced_pod_exec, "box", "default", command=["true"], stdout=True, stderr=True)
    assert "i/o timeout" in str(told.value)


def test_what_is_typed_into_a_cut_arrives_when_it_has_healed(kubesim, core):
    cat = stream(
        core.connect_get_namespaced_pod_exec, "box", "default", command=["cat"], stdin=True, stdout=True, stderr=True,
        _preload_content=False,
    )
    kubesim.faults.partition("node-1", "control-plane").for_("1m")
    cat.write_stdin("one\n")
    cat.update(timeout=5)
    assert not cat.peek_stdout()
    kubesim.advance("61s")
    cat.update(timeout=5)
    assert cat.read_stdout() == "one\n"


def test_a_connection_that_is_cut_for_long_is_lost(kubesim, core):
    cat = stream(
        core.connect_get_namespaced_pod_exec, "box", "default", command=["cat"], stdin=True, stdout=True, stderr=True,
        _preload_content=False,
    )
    cut(kubesim)
    cat.write_stdin("one\n")
    kubesim.advance("4m59s")
    cat.update(timeout=1)
    assert cat.is_open()
    kubesim.advance("2s")
    with pytest.raises(WebSocketConnectionClosedException):
        cat.update(timeout=1)


def test_a_log_that_is_followed_stands_still_and_catches_up(kubesim, core):
    log = core.read_namespaced_pod_log("ticks", "default", follow=True, tail_lines=1, _preload_content=False)
    lines = iter(log.stream(amt=None))
    first = int(next(lines))
    fault = kubesim.faults.partition("node-1", "control-plane").for_("35s")
    before_s = kubesim.clock.time
    piece = next(lines).split()
    assert kubesim.clock.time - before_s > 34.9
    assert int(piece[0]) - first == 10
    fault.disarm()
    log.release_conn()


def test_a_forwarded_port_is_cut_too(kubesim, core):
    forward = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="80")
    socket = forward.socket(80)
    socket.setblocking(True)
    kubesim.advance("1s")
    kubesim.faults.partition("node-1", "control-plane").for_("40s")
    before_s = kubesim.clock.time
    socket.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    assert socket.recv(12) == b"HTTP/1.1 200"
    assert kubesim.clock.time - before_s > 39.9


def test_the_kubelet_itself_behind_the_proxy(kubesim, core):
    cut(kubesim)
    with pytest.raises(ApiException) as told:
        core.connect_get_node_proxy_with_path("node-1", "healthz")
    assert told.value.status == 503
    assert "i/o timeout" in told.value.body


def test_a_pod_behind_the_proxy(kubesim, core):
    assert "nginx" in core.connect_get_namespaced_pod_proxy_with_path("web", "default", "/")
    cut(kubesim)
    with pytest.raises(ApiException) as told:
        core.connect_get_namespaced_pod_proxy_with_path("web", "default", "/")
    assert told.value.status == 503
    assert "i/o timeout" in told.value.body


def test_pods_of_two_nodes_that_do_not_reach_each_other(kubesim, core):
    kubesim.add_nodes(1)
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "far"},
        "spec": {"nodeName": "node-2", "containers": [{"name": "c", "image": "busybox:1", "command": ["sleep", "360000"]}]},
    })
    kubesim.eventually("pod/far", {"status": {"phase": "Running"}}, within="2m")
    address = kubesim.get("pod/web")["status"]["podIP"]

    def fetched():
        return stream(
            core.connect_get_namespaced_pod_exec, "far", "default",
            command=["wget", "-q", "-O", "-", "-T", "5", f"http://{address}/"], stdout=True, stderr=True,
        )

    assert "nginx" in fetched()
    kubesim.faults.partition("node-1", "node-2").for_("1m")
    assert "timed out" in fetched()
    kubesim.advance("1m")
    assert "nginx" in fetched()
