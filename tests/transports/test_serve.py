"""`kubesim serve` from outside: a process of its own, real sockets, clients that behave and others."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import served
import yaml

pytestmark = pytest.mark.slow
AUTHORIZED = f"Host: x\r\nAuthorization: Bearer {served.TOKEN}\r\n"


@pytest.fixture(scope="module")
def server():
    server = served.Served("--components", "all", "--nodes", "1", "--instant")
    yield server
    complaints = server.stderr()
    assert server.stop() == 0
    assert not complaints


@contextmanager
def raw(server, timeout=10):
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as plain,
        server.context().wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        yield sock


def everything(sock):
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


# -- who is there ----------------------------------------------------------------------------------


def test_the_kubeconfig_names_server_token_and_client_certificate(server):
    config = yaml.safe_load(server.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == server.url
    assert config["users"][0]["user"]["token"] == served.TOKEN
    assert server.kubeconfig.stat().st_mode & 0o077 == 0


def test_a_wrong_token_is_unauthorized(server):
    status, body = server.ask("GET", "/api/v1/pods", token="wrong")
    assert status == 401
    assert body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
    }


def test_nobody_may_ask_for_health_and_version_only(server):
    assert server.ask("GET", "/healthz", token=None) == (200, "ok")
    assert server.ask("GET", "/version", token=None)[1]["minor"] == "37"


def test_a_client_certificate_names_user_and_groups(server):
    import base64

    config = yaml.safe_load(server.kubeconfig.read_text())
    user = config["users"][0]["user"]
    pem = server.folder / "client.pem"
    pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    context = server.context()
    context.load_cert_chain(pem)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        sock.sendall(
            "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = everything(sock)
    told = json.loads(answer.partition(b"\r\n\r\n")[2])["status"]["userInfo"]
    assert told["username"] == "admin"
    assert set(told["groups"]) == {"system:masters", "system:authenticated"}


# -- HTTP as it is spoken --------------------------------------------------------------------------


def test_connections_are_kept(server):
    connection = server.connect()
    try:
        for _ in range(3):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok"
            assert connection.sock is not None
    finally:
        connection.close()


def test_pipelined_requests_are_answered_in_order(server):
    with raw(server) as sock:
        paths = ["/healthz", "/nowhere", "/healthz"]
        sock.sendall("".join(f"GET {p} HTTP/1.1\r\n{AUTHORIZED}\r\n" for p in paths).encode())
        sock.sendall(f"GET /version HTTP/1.1\r\n{AUTHORIZED}Connection: close\r\n\r\n".encode())
        answers = everything(sock).split(b"HTTP/1.1 ")[1:]
    assert [a[:3] for a in answers] == [b"200", b"404", b"200", b"200"]
    assert b"Connection: close" in answers[-1]


def test_http_1_0_gets_its_answer_and_the_end(server):
    with raw(server) as sock:
        sock.sendall(f"GET /healthz HTTP/1.0\r\n{AUTHORIZED}\r\n".encode())
        answer = everything(sock)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\nok")


def test_a_watch_over_http_1_0_has_no_chunks(server):
    with raw(server) as sock:
        sock.sendall(f"GET {CONFIG_MAPS}?watch=1&timeoutSeconds=1 HTTP/1.0\r\n{AUTHORIZED}\r\n".encode())
        head, _, body = everything(sock).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert all(json.loads(line)["type"] for line in body.splitlines())


def test_a_watch_that_closes_its_connection_ends_it(server):
    with raw(server) as sock:
        sock.sendall(
            f"GET {CONFIG_MAPS}?watch=1&timeoutSeconds=1 HTTP/1.1\r\n{AUTHORIZED}Connection: close\r\n\r\n".encode()
        )
        assert everything(sock).endswith(b"0\r\n\r\n")


def test_a_request_without_a_host_is_refused(server):
    with raw(server) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 400 Bad Request")


def test_http_2_carries_many_requests_on_one_connection(server):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("h2")
    headers = {"Authorization": f"Bearer {served.TOKEN}"}
    with httpx.Client(http2=True, verify=server.context(), base_url=server.url, headers=headers) as client:
        with client.stream("GET", CONFIG_MAPS, params={"watch": "1", "resourceVersion": "0"}) as watch:
            assert watch.http_version == "HTTP/2"
            assert client.post(CONFIG_MAPS, json=config_map("multiplexed")).status_code == 201
            lines = watch.iter_lines()
            while json.loads(next(lines))["object"]["metadata"]["name"] != "multiplexed":
                pass
        assert client.delete(f"{CONFIG_MAPS}/multiplexed").status_code == 200
        assert client.get(f"{CONFIG_MAPS}/multiplexed").json()["reason"] == "NotFound"


# -- clients that misbehave ------------------------------------------------------------------------


def test_garbage_is_a_bad_request(server):
    with raw(server) as sock:
        sock.sendall(b"\x00\x01\x02 hello\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 400 Bad Request")


def test_garbage_instead_of_tls_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"\xff" * 100)
        try:
            everything(sock)
        except ConnectionResetError:
            pass


def test_http_on_the_https_port_is_told_so(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Client sent an HTTP request to an HTTPS server." in everything(sock)


def test_half_a_request_harms_nobody(server):
    with raw(server) as sock:
        sock.sendall(f"POST {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}Content-Length: 1000\r\n\r\n{{".encode())
        assert server.ask("GET", "/healthz") == (200, "ok")
    assert server.ask("GET", "/healthz") == (200, "ok")


def test_a_body_beyond_the_limit_is_refused_before_its_end(server):
    with raw(server) as sock:
        gigabyte = 1 << 30
        sock.sendall(
            f"POST {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}Content-Type: application/json\r\n"
            f"Content-Length: {gigabyte}\r\n\r\n".encode()
        )
        sock.sendall(b" " * (3 * 1024 * 1024 + 1))
        head, _, body = everything(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 Request Entity Too Large")
    assert json.loads(body)["message"] == "Request entity too large: limit is 3145728"


def test_a_body_without_end_is_refused_too(server):
    with raw(server) as sock:
        sock.sendall(
            f"POST {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}Content-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
        for _ in range(49):
            sock.sendall(chunk)
        assert everything(sock).startswith(b"HTTP/1.1 413 ")


def test_a_head_without_end_is_refused(server):
    with raw(server) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        sock.sendall(b"X-Long: " + b"x" * (1 << 20))
        assert everything(sock).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


def memory_of(process):
    if not os.path.exists(f"/proc/{process.pid}/statm"):
        pytest.skip("no /proc on this system")
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_client_that_never_reads_is_not_read_from(server):
    for number in range(4):
        server.ask("POST", CONFIG_MAPS, config_map(f"large-{number}", text="x" * 900_000))
    before = memory_of(server.process)
    with raw(server, timeout=0.5) as sock:
        request = f"GET {CONFIG_MAPS} HTTP/1.1\r\n{AUTHORIZED}\r\n".encode()
        with pytest.raises((TimeoutError, ssl.SSLError, ConnectionError)):  # noqa: PT012
            for _ in range(10_000):
                sock.sendall(request * 100)
        assert server.ask("GET", "/healthz") == (200, "ok")
        assert memory_of(server.process) - before < 100_000_000
    for number in range(4):
        server.ask("DELETE", f"{CONFIG_MAPS}/large-{number}")


# -- clients ---------------------------------------------------------------------------------------


def test_the_official_client_over_real_sockets(server):
    import kubernetes

    with kubernetes.config.new_client_from_config(str(server.kubeconfig)) as api:
        core = kubernetes.client.CoreV1Api(api)
        apps = kubernetes.client.AppsV1Api(api)
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        watch = kubernetes.watch.Watch()
        apps.create_namespaced_deployment(
            "default", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
        )
        for event in watch.stream(apps.list_namespaced_deployment, "default", timeout_seconds=30):
            if event["object"].status.available_replicas == 2:
                watch.stop()
        pods = core.list_namespaced_pod("default", label_selector="app=web").items
        assert [p.status.phase for p in pods] == ["Running", "Running"]
        assert core.read_namespaced_pod_log(pods[0].metadata.name, "default") == ""
        with pytest.raises(kubernetes.client.ApiException) as caught:
            core.read_namespaced_pod("none", "default")
        assert caught.value.status == 404
        apps.delete_namespaced_deployment("web", "default")


def test_a_watch_delivers_while_others_write(server):
    connection = server.connect()
    try:
        connection.request("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=0&fieldSelector=metadata.name=seen",
                           headers={"Authorization": f"Bearer {served.TOKEN}"})
        answer = connection.getresponse()
        server.ask("POST", CONFIG_MAPS, config_map("seen", a="1"))
        server.ask("DELETE", f"{CONFIG_MAPS}/seen")
        events = [json.loads(answer.readline()) for _ in range(2)]
        assert [e["type"] for e in events] == ["ADDED", "DELETED"]
    finally:
        connection.close()


needs_kubectl = pytest.mark.skipif(served.kubectl() is None, reason=served.NO_KUBECTL)
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: site}
spec:
  replicas: 2
  selector: {matchLabels: {app: site}}
  template:
    metadata: {labels: {app: site}}
    spec: {containers: [{name: c, image: nginx:1}]}
"""


@pytest.mark.interop
@needs_kubectl
def test_kubectl_from_apply_to_delete(server):
    def run(*arguments, stdin="", status=0):
        ran = server.kubectl(*arguments, stdin=stdin)
        assert ran.returncode == status, ran.stderr
        return ran.stdout if status == 0 else ran.stderr

    assert run("apply", "-f", "-", stdin=MANIFEST) == "deployment.apps/site created\n"
    assert "successfully rolled out" in run("rollout", "status", "deployment/site", "--timeout=30s")
    assert run("wait", "deployment/site", "--for=condition=Available", "--timeout=10s") == "deployment.apps/site condition met\n"
    assert run("get", "pods", "-l", "app=site", "--no-headers").split().count("Running") == 2
    assert "Scaled up replica set site-" in run("describe", "deployment", "site")
    assert run("scale", "deployment/site", "--replicas=1") == "deployment.apps/site scaled\n"
    assert run("logs", "deployment/site") == ""
    assert "FIELD: containers <[]Container>" in run("explain", "pods.spec.containers")
    assert "deployments" in run("api-resources", "--api-group=apps")
    unknown = "apiVersion: nowhere.com/v1\nkind: Thing\nmetadata: {name: x}\n"
    assert 'no matches for kind "Thing" in version "nowhere.com/v1"' in run("apply", "-f", "-", stdin=unknown, status=1)
    assert "openapiv2" not in run("explain", "pods", "--output=plaintext-openapiv2")
    assert run("delete", "deployment/site") == 'deployment.apps "site" deleted from default namespace\n'
    assert run("wait", "pods", "-l", "app=site", "--for=delete", "--timeout=60s") is not None


# -- beginning and end -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(number):
    server = served.Served("--components", "apiserver")
    with raw(server) as sock:
        sock.sendall(f"GET {CONFIG_MAPS}?watch=1 HTTP/1.1\r\n{AUTHORIZED}\r\n".encode())
        sock.recv(100)
        started = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - started < 5


def test_a_port_that_is_taken_is_one_clear_error(server):
    ran = subprocess.run(
        [sys.executable, "-m", "pytest_kubesim.cli", "serve", "--port", str(server.port), "--components", "apiserver"],
        capture_output=True, text=True, timeout=30,
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.splitlines() == [
        f"kubesim: serve: --port {server.port} cannot be had: Address already in use; choose another, or 0 for a free one"
    ]
