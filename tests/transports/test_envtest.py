"""The folder for envtest: executables that take the flags of the real ones, as envtest gives them."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_kubesim.cli import main
from pytest_kubesim.errors import UsageError
from pytest_kubesim.transports import apiserver_flags, certificates, envtest

SLOW = pytest.mark.slow
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


# -- flags -----------------------------------------------------------------------------------------


def test_flags_are_read_as_pflag_reads_them():
    flags = apiserver_flags.parse(
        ["--secure-port=1", "--bind-address", "127.0.0.1", "--allow-privileged", "--anonymous-auth=false",
         "--authorization-mode=Node,RBAC", "--service-account-issuer=a", "--service-account-issuer=b", "-v=4"]
    )
    assert flags.last("secure-port") == "1"
    assert flags.last("bind-address") == "127.0.0.1"
    assert flags.on("allow-privileged")
    assert not flags.on("anonymous-auth", default=True)
    assert flags.all("authorization-mode") == ("Node", "RBAC")
    assert flags.values["service-account-issuer"] == ("a", "b")
    assert flags.last("v") == "4"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--insecure-port=0"], "unknown flag: --insecure-port"),
        (["--secure-port"], "flag needs an argument: --secure-port"),
        (["run"], 'unknown command "run" for "kube-apiserver"'),
    ],
)
def test_what_kube_apiserver_refuses_is_refused_in_its_words(arguments, told):
    with pytest.raises(UsageError, match=told):
        apiserver_flags.parse(arguments)


def test_flags_without_an_effect_are_named():
    assert apiserver_flags.parse(["--audit-policy-file=x", "--v=2"]).without_effect() == ["audit-policy-file"]


def test_the_help_lists_a_flag_a_line_and_not_those_that_are_gone(capsys):
    assert main(["kube-apiserver", "--", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "      --etcd-servers" in lines
    assert not any(line.strip().startswith("--insecure-port") for line in lines)
    assert main(["kube-apiserver", "--", "--version"]) == 0
    assert capsys.readouterr().out == "Kubernetes v1.37.2\n"


# -- the folder ------------------------------------------------------------------------------------


def made(folder, *words):
    assert main(["envtest", str(folder), *words]) == 0
    return folder


def test_the_folder_says_which_cluster_is_behind_it(tmp_path, capsys):
    made(tmp_path / "a b", "--components", "all", "--nodes", "2", "--clock-scale", "10", "--seed", "3")
    assert f"export KUBEBUILDER_ASSETS='{tmp_path}/a b'" in capsys.readouterr().out
    script = (tmp_path / "a b" / "kube-apiserver").read_text()
    assert "--components all --nodes 2 --clock-scale 10.0 --seed 3 --version 1.37 -- " in script
    assert all(os.access(tmp_path / "a b" / name, os.X_OK) for name in ("etcd", "kube-apiserver", "kubectl"))


def test_a_folder_without_kubectl_says_so_when_it_is_called(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    made(tmp_path / "assets")
    assert "no kubectl" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    done = subprocess.run([tmp_path / "assets" / "kubectl", "get"], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "kubesim has none of its own" in done.stderr


def test_a_kubectl_of_another_version_is_not_taken(tmp_path, monkeypatch):
    for name, version in (("old", "v1.30.1"), ("new", "v1.36.0")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "kubectl"
        path.write_text(f"#!/bin/sh\necho Client Version: {version}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/old:{tmp_path}/new:/bin")
    assert envtest.find_kubectl(tmp_path) == str(tmp_path / "new" / "kubectl")
    assert envtest.find_kubectl(tmp_path / "new") is None


def test_nodes_need_kubelets(tmp_path, capsys):
    assert main(["envtest", str(tmp_path), "--nodes", "1"]) == 2
    assert "has no kubelets" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# -- the executables -------------------------------------------------------------------------------


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Plane:
    """etcd and kube-apiserver, started as envtest starts them."""

    def __init__(self, assets, folder, *flags, etcd=None):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.etcd_url = etcd.etcd_url if etcd else f"http://127.0.0.1:{free_port()}"
        self.etcd = None if etcd else subprocess.Popen([
            assets / "etcd", f"--listen-client-urls={self.etcd_url}", f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls=http://127.0.0.1:{free_port()}", f"--data-dir={folder}", "--unsafe-no-fsync=true",
        ])
        self.port = free_port()
        serving = certificates.Authority()
        self.authority = serving.pem
        certificates.write(self.folder, "apiserver", serving.server())
        self.clients = certificates.Authority()
        (self.folder / "client-ca.crt").write_bytes(self.clients.pem)
        signing = certificates.Authority().server()
        (self.folder / "sa-signer.crt").write_bytes(signing.certificate)
        (self.folder / "sa-signer.key").write_bytes(signing.key)
        if not etcd:
            wait(lambda: plain(self.etcd_url, "/health")[0] == 200)
        self.stderr = self.folder / "stderr"
        self.issuer = f"https://127.0.0.1:{self.port}/"
        self.server = subprocess.Popen(
            [assets / "kube-apiserver", f"--secure-port={self.port}", "--bind-address=127.0.0.1",
             f"--cert-dir={folder}", f"--client-ca-file={folder}/client-ca.crt", "--authorization-mode=RBAC",
             f"--etcd-servers={self.etcd_url}", "--disable-admission-plugins=ServiceAccount",
             "--allow-privileged=true", "--service-cluster-ip-range=10.0.0.0/24",
             f"--service-account-issuer={self.issuer}", f"--service-account-key-file={folder}/sa-signer.crt",
             f"--service-account-signing-key-file={folder}/sa-signer.key", *flags],
            stderr=self.stderr.open("wb"),
        )

    def ready(self):
        wait(lambda: self.server.poll() is not None or self.ask("GET", "/readyz", user=None)[0] == 200)
        assert self.server.poll() is None, self.stderr.read_text()
        return self

    def ask(self, method, path, body=None, user="admin", groups=("system:masters",), headers=None):
        context = ssl.create_default_context(cadata=self.authority.decode())
        if user:
            pair = self.clients.client(user, groups)
            pem = self.folder / "client.pem"
            pem.write_bytes(pair.certificate + pair.key)
            context.load_cert_chain(pem)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            text = answer.read()
            kind = answer.getheader("Content-Type") or ""
            return answer.status, json.loads(text) if "json" in kind else text.decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def stop_server(self):
        self.server.send_signal(signal.SIGTERM)
        return self.server.wait(10)

    def stop(self):
        codes = [self.stop_server()] if self.server.poll() is None else []
        if self.etcd is not None:
            self.etcd.send_signal(signal.SIGTERM)
            codes.append(self.etcd.wait(10))
        return codes


def wait(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.02)


def plain(url, path):
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    options = argparse.Namespace(
        folder=str(folder), components="apiserver", nodes=0, manage_all_nodes=False, clock_scale=1.0, instant=True,
        seed=0, kubernetes_version="1.37",
    )
    envtest.make(folder, envtest.serve_options(options), None)
    return folder


@pytest.fixture(scope="module")
def plane(assets, tmp_path_factory):
    plane = Plane(assets, tmp_path_factory.mktemp("plane")).ready()
    yield plane
    assert plane.stop() == [0, 0]


@SLOW
def test_a_client_certificate_of_the_given_authority_says_who_asks(plane):
    assert plane.ask("GET", "/api/v1/namespaces/default")[0] == 200
    assert plane.ask("GET", "/api/v1/secrets", user="somebody", groups=())[1]["message"].startswith(
        'secrets is forbidden: User "somebody" cannot list resource'
    )
    assert plane.ask("GET", "/healthz", user=None) == (200, "ok")


@SLOW
def test_service_account_tokens_are_signed_with_the_given_key_and_issuer(plane):
    plane.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})
    status, request = plane.ask("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"})
    assert status == 201
    token = request["status"]["token"]
    head, claims, _ = (json.loads(base64.urlsafe_b64decode(part + "==")) if n < 2 else part
                       for n, part in enumerate(token.split(".")))
    assert (head["alg"], claims["iss"], claims["aud"]) == ("ES256", plane.issuer, [plane.issuer])
    bearer = {"Authorization": f"Bearer {token}"}
    status, me = plane.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}, user=None, headers=bearer)
    assert me["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    status, keys = plane.ask("GET", "/openid/v1/jwks")
    assert (status, keys["keys"][0]["kid"]) == (200, head["kid"])
    assert plane.ask("GET", "/.well-known/openid-configuration")[1]["issuer"] == plane.issuer


@SLOW
def test_without_the_service_account_plugin_pods_need_no_account(plane):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    status, stored = plane.ask("POST", "/api/v1/namespaces/default/pods", pod)
    assert status == 201
    assert "serviceAccountName" not in stored["spec"]


@SLOW
def test_cluster_ips_are_of_the_given_range(plane):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    status, stored = plane.ask("POST", "/api/v1/namespaces/default/services", service)
    assert status == 201
    assert stored["spec"]["clusterIP"].startswith("10.0.0.")
    assert plane.ask("GET", "/api/v1/namespaces/default/services/kubernetes")[1]["spec"]["clusterIP"] == "10.0.0.1"
    assert plane.ask("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")[1]["spec"]["cidrs"] == ["10.0.0.0/24"]


@SLOW
def test_the_remote_control_is_there_too(plane):
    assert plane.ask("GET", "/kubesim/v1/clock")[0] == 200
    assert plane.ask("GET", "/kubesim/v1/clock", user="somebody", groups=())[0] == 403


@SLOW
def test_several_run_at_once_and_share_nothing(plane, assets, tmp_path):
    other = Plane(assets, tmp_path).ready()
    try:
        other.ask("POST", CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})
        assert plane.ask("GET", f"{CONFIG_MAPS}/other")[0] == 404
        assert other.ask("GET", "/api/v1/namespaces/default", user=None)[0] == 403
    finally:
        assert other.stop() == [0, 0]


@SLOW
def test_what_one_api_server_leaves_with_etcd_the_next_one_has(assets, tmp_path):
    first = Plane(assets, tmp_path / "one").ready()
    try:
        first.ask("POST", CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}})
        _, kept = first.ask("GET", f"{CONFIG_MAPS}/kept")
        second = Plane(assets, tmp_path / "two", etcd=first)
        assert second.server.wait(20) == 1
        assert "several API servers of one etcd are not simulated" in second.stderr.read_text()
        assert first.stop_server() == 0
        second = Plane(assets, tmp_path / "three", etcd=first).ready()
        _, again = second.ask("GET", f"{CONFIG_MAPS}/kept")
        assert again["metadata"]["uid"] == kept["metadata"]["uid"]
        assert int(again["metadata"]["resourceVersion"]) >= int(kept["metadata"]["resourceVersion"])
        assert second.stop_server() == 0
    finally:
        first.stop()


@SLOW
def test_a_token_file_and_the_wrong_flags(assets, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text('secret,alice,1,"system:masters,others"\n')
    plane = Plane(assets, tmp_path / "tokens-plane", f"--token-auth-file={tokens}", "--feature-gates=MutatingAdmissionPolicy=false").ready()
    try:
        bearer = {"Authorization": "Bearer secret"}
        assert plane.ask("GET", "/api/v1/secrets", user=None, headers=bearer)[0] == 200
        assert "--feature-gates=MutatingAdmissionPolicy=false is not simulated" in plane.stderr.read_text()
    finally:
        plane.stop()
    wrong = Plane(assets, tmp_path / "wrong", "--enable-admission-plugins=Nonsense")
    try:
        assert wrong.server.wait(20) == 1
        assert 'admission-plugins plugin "Nonsense" is unknown' in wrong.stderr.read_text().replace("'", '"')
    finally:
        wrong.stop()


def test_a_certificate_made_for_a_test_is_valid_now():
    from cryptography import x509

    pair = certificates.Authority().server()
    found = x509.load_pem_x509_certificate(pair.certificate)
    now = datetime.now(UTC)
    assert found.not_valid_before_utc < now < found.not_valid_after_utc - timedelta(days=365)
