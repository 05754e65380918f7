"""`kubesim ctl`: the remote control from a command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    server = served.Served("--components", "apiserver", "--instant")
    yield server
    assert server.stop() == 0


def ctl(server, *words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "pytest_kubesim.cli", "ctl", "--kubeconfig", str(server.kubeconfig), *words],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_faults_are_added_listed_removed(server):
    fault = ctl(server, "faults", "add", "kubesim.faults.api(client='manager').fail(500, times=None)")
    assert fault["armed"] is True
    assert [each["id"] for each in ctl(server, "faults", "list")["items"]] == [fault["id"]]
    assert ctl(server, "faults", "remove", str(fault["id"]))["armed"] is False
    assert not any(each["armed"] for each in ctl(server, "faults", "clear")["items"])
    assert "there is no 'explode'" in ctl(server, "faults", "add", "kubesim.faults.api().explode()", code=2)


def test_the_clock_is_turned(server):
    before = ctl(server, "clock", "freeze")
    assert ctl(server, "clock", "advance", "1h")["elapsedSeconds"] == pytest.approx(before["elapsedSeconds"] + 3600)
    assert ctl(server, "clock", "scale", "2")["frozen"] is True
    thawed = ctl(server, "clock", "thaw")
    assert (thawed["frozen"], thawed["scale"]) == (False, 2)
    assert ctl(server, "clock", "get")["elapsedSeconds"] >= 3600
    assert ctl(server, "settle", "--timeout", "5m")["elapsedSeconds"] > thawed["elapsedSeconds"]


def test_what_is_stored_is_kept_and_brought_back(server):
    path = "/api/v1/namespaces/default/configmaps"
    file = server.folder / "backup"
    ctl(server, "clock", "freeze")  # nobody renews a lease meanwhile
    assert ctl(server, "snapshot", "--file", str(file))["keys"] > 50
    ctl(server, "snapshot", "clean")
    for restore in (("--file", str(file)), ("clean",)):
        server.ask("POST", path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}})
        assert ctl(server, "restore", *restore)["changes"] == 1
        assert server.ask("GET", f"{path}/new")[0] == 404
    ctl(server, "clock", "thaw")
    assert "give a name, or --file" in ctl(server, "snapshot", code=2)


def test_what_is_refused_is_told_with_a_remedy(server):
    assert "first keep one: kubesim ctl snapshot NAME" in ctl(server, "restore", "nobody", code=2)
    assert "kubesim ctl faults list shows the ids" in ctl(server, "faults", "remove", "999", code=2)
    assert "401: Unauthorized; give the kubeconfig" in ctl(server, "--token", "wrong", "clock", "get", code=2)
    assert "does `kubesim serve` run there" in ctl(server, "--server", "https://127.0.0.1:1", "clock", "get", code=2)
    assert "'5x' is not a duration" in ctl(server, "clock", "advance", "5x", code=2)
    assert "scale: 0.0: give a number above 0" in ctl(server, "clock", "scale", "0", code=2)
    config = server.folder / "broken"
    config.write_text("contexts: []")
    assert "names no cluster and user" in ctl(server, "--kubeconfig", str(config), "clock", "get", code=2)


def test_the_journal_is_read(server):
    server.ask("GET", "/api/v1/namespaces/default/configmaps/x", headers={"User-Agent": "reader/1"})
    entries = ctl(server, "journal", "--actor", "reader", "--kind", "request", "--limit", "1")["items"]
    assert entries[0]["fields"]["code"] == 404


def test_who_names_no_cluster_is_told_how():
    done = subprocess.run(
        [sys.executable, "-m", "pytest_kubesim.cli", "ctl", "clock", "get"],
        capture_output=True, text=True, timeout=60, check=False, env={"PATH": ""},
    )
    assert done.returncode == 2
    assert "which cluster?" in done.stderr
