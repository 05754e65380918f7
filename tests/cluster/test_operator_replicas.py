"""Operators with replicas: the leader elections that user code brings along."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

LEASE = "lease/my-operator"


def by_the_official_client(journal: list[tuple[float, str]], kubesim: Any) -> Any:
    """An operator that works while it leads, by `kubernetes.leaderelection`."""
    leaderelection: Any = pytest.importorskip("kubernetes.leaderelection.leaderelection")
    config: Any = pytest.importorskip("kubernetes.config")
    from kubernetes.leaderelection import electionconfig
    from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

    def main() -> None:
        config.load_incluster_config()
        name = socket.gethostname()

        def work() -> None:
            while True:
                journal.append((kubesim.clock.time, name))
                time.sleep(1)

        lock: Any = LeaseLock("my-operator", "default", name)
        election: Any = electionconfig.Config(
            lock, lease_duration=15, renew_deadline=10, retry_period=2,
            onstarted_leading=work, onstopped_leading=None,
        )
        leaderelection.LeaderElection(election).run()

    return main


def workers(journal: list[tuple[float, str]], since: float, until: float) -> set[str]:
    return {name for at, name in journal if since <= at < until}


def test_of_two_replicas_one_works(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("60s")

    assert workers(journal, 0, 60) == {"op"}
    assert kubesim.get(LEASE)["spec"]["holderIdentity"] == "op"


def test_when_the_leader_crashes_the_other_takes_over(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    first = kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("30s")
    first.crash()
    kubesim.advance("60s")

    assert workers(journal, 31, 90) == {"op-2"}
    assert not workers(journal, 31, 42)


def test_a_leader_that_was_frozen_goes_on_beside_the_new_one(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    first = kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("30s")
    first.pause()
    kubesim.advance("60s")
    assert workers(journal, 31, 90) == {"op-2"}
    first.resume()
    kubesim.advance("10s")

    assert workers(journal, 90, 95) == {"op", "op-2"}
    assert kubesim.get(LEASE)["spec"]["holderIdentity"] == "op-2"


@pytest.mark.kubesim(control_planes=3)
def test_replicas_go_on_when_an_api_server_goes(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("20s")
    for server in kubesim.control_plane.servers[:2]:
        server.process.crash()
    kubesim.advance("60s")

    assert workers(journal, 0, 80) == {"op"}


def peering_definition() -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusterkopfpeerings.kopf.dev"},
        "spec": {
            "group": "kopf.dev",
            "scope": "Cluster",
            "names": {
                "kind": "ClusterKopfPeering", "plural": "clusterkopfpeerings",
                "singular": "clusterkopfpeering",
            },
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    }


def test_of_two_replicas_that_peer_by_kopf_one_works_and_the_other_takes_over(
    kubesim: Any,
) -> None:
    kopf: Any = pytest.importorskip("kopf")
    registry = kopf.OperatorRegistry()
    handled: list[tuple[str, str]] = []

    @kopf.on.startup(registry=registry)
    def configure(settings: Any, **_: Any) -> None:
        settings.peering.priority = 10 if socket.gethostname() == "op" else 5

    @kopf.on.create("configmaps", labels={"app": "mine"}, registry=registry)
    def created(name: str, **_: Any) -> None:
        handled.append((socket.gethostname(), name))

    def config_map(name: str) -> dict[str, Any]:
        metadata = {"name": name, "labels": {"app": "mine"}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}

    kubesim.apply(peering_definition())
    kubesim.apply({
        "apiVersion": "kopf.dev/v1", "kind": "ClusterKopfPeering",
        "metadata": {"name": "default"},
    })
    first = kubesim.run(registry, name="op", replicas=2)
    kubesim.advance("10s")
    kubesim.apply(config_map("a"))
    kubesim.advance("10s")
    assert handled == [("op", "a")]

    first.crash()
    kubesim.advance("2m")
    kubesim.apply(config_map("b"))
    kubesim.advance("10s")
    assert handled == [("op", "a"), ("op-2", "b")]
