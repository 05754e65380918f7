"""The page of a run: what it knows, and that a browser draws it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.report.page import data, page, reference
from pytest_kubesim.report.recording import Recording

ABOUT = {"test": "t.py::test_</script>", "outcome": "failed", "problem": "<b>", "replay": "replay it"}


def run(cluster: Cluster) -> Recording:
    """A pod that comes up on a node, and goes."""
    recording = Recording(cluster)
    cluster.add_nodes(1)
    conflict = cluster.faults.api(verb="create", resource="pods", client="test").fail(503)
    container = {"name": "c", "image": "web:1"}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [container]},
    }
    with pytest.raises(Exception, match="unable to handle"):
        cluster.create(pod)
    assert conflict.struck == 1
    cluster.create(pod)
    cluster.eventually("pod/web", {"status": {"phase": "Running"}}, within="1m")
    cluster.delete("pod/web")
    cluster.advance("1m")
    return recording


def test_the_history_of_an_object_says_who_changed_what_and_who_saw_it(kubesim: Cluster) -> None:
    seen = data(kubesim, run(kubesim), **ABOUT)
    writes = [write for write in seen["writes"] if write["ref"] == "pods/default/web"]
    assert [write["change"] for write in writes][0] == "created"
    assert [write["change"] for write in writes][-1] == "deleted"
    bound = next(w for w in writes if ["spec.nodeName", None, "node-1"] in w["diff"])
    cause = seen["events"][bound["event"]]
    assert seen["lanes"][cause[1]] == {"name": "kube-scheduler", "group": "scheduler"}
    who = {seen["lanes"][lane]["name"] for _, lane, revision, _ in seen["deliveries"]
           if revision == bound["rev"]}
    assert {"node-1", "kube-controller-manager", "kube-scheduler"} <= who


def test_a_pod_has_a_lane_with_its_states(kubesim: Cluster) -> None:
    seen = data(kubesim, run(kubesim), **ABOUT)
    lane, states = seen["bars"][0]
    assert seen["lanes"][lane] == {"name": "default/web", "group": "pods"}
    assert [state for _, _, state in states] == ["Pending", "Scheduled", "Ready", "Terminating"]
    assert all(start <= end for start, end, _ in states)
    assert states[-1][1] < seen["elapsed"]


def test_faults_and_failures_stand_out(kubesim: Cluster) -> None:
    seen = data(kubesim, run(kubesim), **ABOUT)
    assert seen["faults"][0]["struck"] == 1
    tones = {event[3] for event in seen["events"]}
    assert {"fault", "bad", "write", "life"} <= tones


def test_what_is_told_cannot_break_out_of_the_page(kubesim: Cluster) -> None:
    text = page(kubesim, run(kubesim), **ABOUT)
    assert "test_</script>" not in text
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    told: dict[str, Any] = msgspec.json.decode(found[1])
    assert told["test"] == ABOUT["test"]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace(found[1], "")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("/registry/pods/default/web", ("pods", "default", "web")),
        ("/registry/minions/node-1", ("nodes", "", "node-1")),
        ("/registry/services/specs/default/web", ("services", "default", "web")),
        ("/registry/services/endpoints/default/web", ("endpoints", "default", "web")),
        ("/registry/example.com/databases/default/db", ("databases.example.com", "default", "db")),
        (
            "/registry/apiextensions.k8s.io/customresourcedefinitions/x.example.com",
            ("customresourcedefinitions.apiextensions.k8s.io", "", "x.example.com"),
        ),
    ],
)
def test_a_key_says_which_object_it_is(key: str, told: tuple[str, str, str]) -> None:
    assert reference(key) == told


@pytest.mark.slow
def test_a_browser_draws_it(kubesim: Cluster, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    recording = run(kubesim)
    kubesim.close()
    file = tmp_path / "page.html"
    file.write_text(page(kubesim, recording, **ABOUT), encoding="utf-8")
    drawn = subprocess.run(  # noqa: S603 - a browser of this machine
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom",
         file.as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout
    assert drawn.count('role="option"') > 10
    assert drawn.count("<circle") > 5
    assert "default/web: Ready" in drawn
