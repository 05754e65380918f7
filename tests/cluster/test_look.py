"""A condition that is looked at again answers as a look at everything does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.cluster.look import Look
from pytest_kubesim.cluster.waiting import condition_of
from pytest_kubesim.config import ClusterConfig

BLUE: dict[str, Any] = {"data": {"colour": "blue"}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(ClusterConfig(components="apiserver"))
    yield made
    made.close()


def _map(name: str, colour: str, **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"colour": colour}}


def test_every_look_says_what_a_look_at_everything_says(cluster: Cluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    conditions = [
        condition_of(cluster, "configmaps", BLUE),
        condition_of(cluster, "configmaps", BLUE, count=2),
        condition_of(cluster, "configmaps", BLUE, count=1, labels={"app": "a"}),
        condition_of(cluster, "configmaps", BLUE, namespace="other"),
        condition_of(cluster, "configmaps", BLUE, count=1, namespace="other", labels="app in (a,b)"),
    ]
    looks = [Look(condition) for condition in conditions]
    choose = random.Random(3)
    for _ in range(120):
        name, space = choose.choice("xyz"), choose.choice(["default", "other"])
        there = {(m["metadata"]["namespace"], m["metadata"]["name"])
                 for m in cluster.list("configmaps")}
        if (space, name) in there:
            if choose.random() < 0.4:
                cluster.delete(f"configmap/{name}", namespace=space)
            else:
                change = {"metadata": {"labels": {"app": choose.choice("abc")}},
                          "data": {"colour": choose.choice(["blue", "red"])}}
                cluster.patch(f"configmap/{name}", change, namespace=space)
        else:
            cluster.create(_map(name, choose.choice(["blue", "red"]), namespace=space))
        if choose.random() < 0.7:
            for look, condition in zip(looks, conditions, strict=True):
                assert look.holds() == condition.holds()
                assert look.holds_for_all() == condition.holds_for_all()


def test_what_a_backup_brings_back_is_seen(cluster: Cluster) -> None:
    cluster.create(_map("x", "red"))
    cluster.faults.etcd().backup("before")
    cluster.patch("configmap/x", BLUE)
    look = Look(condition_of(cluster, "configmaps", BLUE))
    assert look.changed()
    assert look.holds()
    cluster.faults.etcd().restore("before")
    cluster.advance("1s")
    assert look.changed()
    assert not look.holds()
    cluster.patch("configmap/x", BLUE)
    assert look.changed()
    assert look.holds()


def test_a_predicate_is_asked_of_everything_at_every_look(cluster: Cluster) -> None:
    wanted = "red"

    def has_it(found: dict[str, Any]) -> bool:
        return found["data"].get("colour") == wanted

    look = Look(condition_of(cluster, "configmaps", has_it))
    cluster.create(_map("x", "blue"))
    assert not look.holds()
    wanted = "blue"
    assert look.holds()
