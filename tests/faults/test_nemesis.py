"""Random schedules over an operator and a deployment: equal digests, no broken law, and healing."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client.rest import ApiException

from pytest_kubesim import ReplayError
from pytest_kubesim.checkers.convergence import unconverged
from pytest_kubesim.config import parse_replay_token, replay_token

SCHEDULES = int(os.environ.get("KUBESIM_SCHEDULES", "0"))
"""How many are tried of each sort; the thorough run says 1000."""

EXAMPLES = Path(__file__).parents[2] / "examples"


def seeds(few):
    """Those of the thorough run, or the few of every day: some that have once found something."""
    return range(SCHEDULES) if SCHEDULES else few


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


def deployment(kubesim):
    kubesim.add_nodes(2)
    kubesim.run(stubborn(kubesim), name="operator")
    kubesim.advance("5s")
    kubesim.faults.random(4, within="3m")
    kubesim.advance("6m")
    # Everything has ended: what the cluster was asked for comes about.
    kubesim.eventually("deployment/web", {"status": {"readyReplicas": 3}}, within="20m")
    kubesim.settle("30m")


def database(kubesim):
    import database_operator

    kubesim.add_nodes(3)
    kubesim.apply(EXAMPLES / "kopf_database" / "crd.yaml")
    kubesim.run(database_operator, name="operator")
    kubesim.advance("5s")
    spec = {"replicas": 3}
    kubesim.apply({"apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "db"}, "spec": spec})
    kubesim.faults.random(4, within="3m")
    kubesim.advance("6m")
    kubesim.eventually("database/db", {"status": {"phase": "Ready"}}, within="20m")
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=3, labels={"app": "db"}, within="5m")


class Names:
    """The provider outside that the web application's operator calls."""

    async def create(self, host):
        pass

    async def delete(self, host):
        pass


def webapp(kubesim):
    from webapp_operator import Operator

    async def main():
        # As its pod would: what ends with an error is started again.
        while True:
            try:
                await Operator(Names()).main()
            except Exception:
                await asyncio.sleep(5)

    kubesim.add_nodes(2)
    kubesim.apply(EXAMPLES / "webapp" / "crd.yaml")
    kubesim.run(main, name="operator")
    kubesim.advance("5s")
    spec = {"image": "shop:1", "host": "shop.example.com"}
    kubesim.apply({"apiVersion": "example.com/v1", "kind": "WebApp", "metadata": {"name": "shop"}, "spec": spec})
    kubesim.faults.random(4, within="3m")
    kubesim.advance("6m")
    kubesim.eventually("webapp/shop", {"status": {"phase": "Ready"}}, within="20m")
    kubesim.eventually("deployment/shop", {"status": {"readyReplicas": 2}}, within="20m")


def certificate(kubesim):
    from certificate_operator import SERIAL
    from certificate_operator import main as renew

    def main():
        while True:
            try:
                renew()
            except Exception:
                time.sleep(5)

    kubesim.add_nodes(1)
    kubesim.run(main, name="operator")
    kubesim.advance("5s")
    labels = {"example.com/issue": "true"}
    kubesim.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "labels": labels}})
    kubesim.faults.random(4, within="3m")
    kubesim.advance("6m")
    kubesim.eventually("secret/web", lambda s: SERIAL in s["metadata"].get("annotations", {}), within="5h")


def goes_twice(kubesim_factory, seed, story, **options):
    """Let it go, see that all is well in the end, bring it back from a token, see that it is equal."""
    digests, token = [], ""
    for _ in range(2):
        kubesim = kubesim_factory(seed=parse_replay_token(token).seed if token else seed, **options)
        if token:
            kubesim.faults.replay(parse_replay_token(token).schedule)
        story(kubesim)
        assert unconverged(kubesim.list) == []
        digests.append(kubesim.journal.digest())
        token = replay_token(seed, digests[0], [f.to_json() for f in kubesim.faults.drawn])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("seed", seeds((0, 1, 2, 46, 257)))
def test_a_cluster_heals_from_a_random_schedule_and_a_replay_is_equal(kubesim_factory, seed):
    goes_twice(kubesim_factory, seed, deployment)


@pytest.mark.parametrize("seed", seeds((0,)))
def test_several_api_servers_and_members_heal(kubesim_factory, seed):
    goes_twice(kubesim_factory, seed, deployment, control_planes=3, etcd_members=3)


@pytest.mark.parametrize("seed", seeds((0,)))
@pytest.mark.parametrize(
    ("folder", "story", "needs"),
    [
        ("kopf_database", database, "kopf"),
        ("webapp", webapp, "lightkube"),
        ("certificates", certificate, "kubernetes"),
    ],
)
def test_the_examples_heal(kubesim_factory, seed, folder, story, needs, monkeypatch):
    pytest.importorskip(needs)
    monkeypatch.syspath_prepend(str(EXAMPLES / folder))
    goes_twice(kubesim_factory, seed, story)


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
