"""Random schedules over an operator and a deployment: equal digests, no broken law, and healing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client.rest import ApiException

from pytest_kubesim import ReplayError
from pytest_kubesim.config import parse_replay_token, replay_token

SCHEDULES = int(os.environ.get("KUBESIM_SCHEDULES", "5"))
"""How many are tried; the thorough run says 1000."""


def stubborn(kubesim):
    """Sees to it, every ten seconds, that there is a deployment; survives every error."""

    def main():
        apps = client.AppsV1Api(kubesim.client("kubernetes"))
        labels = {"app": "web"}
        body = {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}},
            },
        }
        while True:
            try:
                apps.read_namespaced_deployment("web", "default", _request_timeout=5)
            except ApiException as error:
                if error.status == 404:
                    try:
                        apps.create_namespaced_deployment("default", body, _request_timeout=5)
                    except Exception:  # noqa: S110 - the next round sees what came of it
                        pass
            except Exception:  # noqa: S110 - as above
                pass
            time.sleep(10)

    return main


def run(kubesim):
    kubesim.add_nodes(2)
    kubesim.run(stubborn(kubesim), name="operator")
    kubesim.advance("5s")
    kubesim.faults.random(4, within="3m")
    kubesim.advance("6m")
    # Everything has ended: what the cluster was asked for comes about.
    kubesim.eventually("deployment/web", {"status": {"readyReplicas": 3}}, within="20m")
    kubesim.settle("30m")


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("seed", range(max(2, SCHEDULES // 5)))
def test_the_database_example_heals_from_a_random_schedule(kubesim_factory, seed, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES / "kopf_database"))
    operator = pytest.importorskip("database_operator")
    kubesim = kubesim_factory(seed=seed, nodes=3)
    kubesim.apply(EXAMPLES / "kopf_database" / "crd.yaml")
    kubesim.run(operator, name="operator")
    kubesim.advance("5s")
    kubesim.apply({
        "apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "db"}, "spec": {"replicas": 3},
    })
    kubesim.faults.random(4, within="3m")
    kubesim.advance("6m")
    kubesim.eventually("database/db", {"status": {"phase": "Ready"}}, within="20m")
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=3, labels={"app": "db"}, within="5m")


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_cluster_heals_from_a_random_schedule_and_a_replay_is_equal(kubesim_factory, seed):
    first = kubesim_factory(seed=seed)
    run(first)
    if seed % 5 == 0:
        token = replay_token(seed, first.journal.digest(), [f.to_json() for f in first.faults.drawn])
        again = kubesim_factory(seed=parse_replay_token(token).seed)
        again.faults.replay(parse_replay_token(token).schedule)
        run(again)
        assert again.journal.digest() == first.journal.digest()


def test_a_token_holds_the_schedule_and_stays_short(kubesim):
    kubesim.add_nodes(2)
    kubesim.faults.random(6)
    schedule = [each.to_json() for each in kubesim.faults.drawn]
    token = replay_token(7, "0123456789abcdef", schedule)
    assert list(parse_replay_token(token).schedule) == schedule
    assert len(token) < 600
    with pytest.raises(ReplayError):
        parse_replay_token(token[:-6] + token[-5:])


def test_what_is_replayed_is_armed_instead_of_what_would_be_drawn(kubesim):
    kubesim.add_nodes(2)
    other = [kubesim.faults.node("node-1").reboot(at="1h").fault]
    kubesim.faults.replay([f.to_json() for f in other])
    assert [armed.fault for armed in kubesim.faults.random(1)] == other
    kubesim.faults.armed.clear()
