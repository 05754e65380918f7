"""Client libraries of other languages: each creates, watches, patches, applies, deletes, elects a leader."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GO = HERE / "client_go"


@pytest.mark.parametrize(("protocol", "environment"), [("HTTP/2.0", {}), ("HTTP/1.1", {"DISABLE_HTTP2": "1"})])
def test_client_go(toolchain, server, protocol, environment):
    toolchain.need("go")
    folder = toolchain.copy(GO)
    toolchain.build(folder, "go", "build", "-o", "interop", ".")
    toolchain.check(folder, "./interop", KUBECONFIG=server.kubeconfig, INTEROP_PROTOCOL=protocol, **environment)


def test_client_go_as_an_operator_of_a_test(toolchain, kubesim_factory):
    toolchain.need("go")
    folder = toolchain.copy(GO)
    toolchain.build(folder, "go", "build", "-o", "interop", ".")
    kubesim = kubesim_factory(components="controllers")
    operator = kubesim.run([folder / "interop"], name="client-go")
    kubesim.eventually(lambda: operator.process.state == "exited", within=10**9)
    assert operator.log[-1].text == "OK", operator.log.text
    asked = {entry.fields["verb"] for entry in kubesim.journal.entries("request", "client-go")}
    assert {"create", "get", "list", "watch", "patch", "update", "delete"} <= asked


def test_helm(toolchain, server):
    toolchain.need("go")
    folder = toolchain.copy(HERE / "helm")
    toolchain.build(folder, "go", "build", "-o", "interop", ".")
    toolchain.check(folder, "./interop", KUBECONFIG=server.kubeconfig)


def test_kube_rs(toolchain, server):
    toolchain.need("cargo")
    folder = toolchain.copy(HERE / "kube_rs")
    toolchain.build(folder, "cargo", "build", "--quiet")
    toolchain.check(folder, "target/debug/interop", KUBECONFIG=server.kubeconfig)


def test_fabric8(toolchain, server):
    toolchain.need("mvn", "java")
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < 17:
        pytest.skip("java 17 or newer is not installed")
    folder = toolchain.copy(HERE / "fabric8")
    plugin = "org.codehaus.mojo:exec-maven-plugin:3.6.2"
    toolchain.build(folder, "mvn", "-q", "-B", "compile", f"{plugin}:help")
    toolchain.check(folder, "mvn", "-q", "-B", "-o", f"{plugin}:java", KUBECONFIG=server.kubeconfig)


def test_client_node(toolchain, server):
    toolchain.need("node", "npm")
    folder = toolchain.copy(HERE / "client_node")
    toolchain.build(folder, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
    toolchain.check(folder, "node", "interop.mjs", KUBECONFIG=server.kubeconfig)


def test_a_kubectl_plugin_finds_the_cluster(toolchain, server, tmp_path):
    import served

    if served.kubectl() is None:
        pytest.skip(served.NO_KUBECTL)
    plugin = tmp_path / "kubectl-whereami"
    plugin.write_text('#!/bin/sh\nexec kubectl auth whoami -o jsonpath="{.status.userInfo.username}" "$@"\n')
    plugin.chmod(0o755)
    shutil.copy(served.kubectl(), tmp_path / "kubectl")
    done = toolchain.run(
        tmp_path, tmp_path / "kubectl", "whereami", KUBECONFIG=server.kubeconfig, PATH=f"{tmp_path}:/bin:/usr/bin"
    )
    assert (done.returncode, done.stdout) == (0, "admin"), done.stderr


# -- the examples ----------------------------------------------------------------------------------

EXAMPLES = HERE.parent.parent / "examples"


def test_the_operator_in_go_bears_a_lost_answer(toolchain, assets):
    toolchain.need("go")
    folder = toolchain.copy(EXAMPLES / "go_operator")
    toolchain.build(folder, "go", "test", "-c", "-o", "operator.test", ".")
    done = toolchain.run(folder, "./operator.test", KUBEBUILDER_ASSETS=assets)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def test_the_operator_in_javascript_bears_a_lost_answer(toolchain, server):
    toolchain.need("node", "npm")
    folder = toolchain.copy(EXAMPLES / "javascript")
    toolchain.build(folder, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
    done = toolchain.run(folder, "node", "--test", "--test-force-exit", KUBECONFIG=server.kubeconfig)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
