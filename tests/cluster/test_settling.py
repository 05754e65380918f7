"""Settling: rest is found, and who never rests is named at once."""

from __future__ import annotations

import time

import pytest

from pytest_kubesim import NeverSettled
from pytest_kubesim.cluster.cluster import Cluster


@pytest.mark.slow
def test_a_hot_loop_is_named_long_before_the_time_is_over(kubesim: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_kubesim.cluster import waiting

    monkeypatch.setattr(waiting._HotLoop, "WRITES", 400)  # noqa: SLF001 - fewer, to be fast
    kubesim.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}})
    core = kubesim.client("kubernetes")

    def hot() -> None:
        from kubernetes import client

        number = 0
        while True:
            number += 1
            client.CoreV1Api(core).patch_namespaced_config_map("d", "default", {"data": {"n": str(number)}})
            time.sleep(0.01)

    kubesim.run(hot, name="hot")
    with pytest.raises(NeverSettled, match="does not settle, hot wrote configmaps/default/d 400 times"):
        kubesim.settle()
    assert kubesim.clock.time < 60


def test_many_objects_of_one_writer_are_no_hot_loop(kubesim: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_kubesim.cluster import waiting

    monkeypatch.setattr(waiting._HotLoop, "WRITES", 100)  # noqa: SLF001 - fewer, to be fast
    kubesim.add_nodes(2)
    kubesim.apply({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 20, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                         "spec": {"containers": [{"name": "c", "image": "web:1"}]}},
        },
    })
    kubesim.settle()
    assert kubesim.get("deployment/web")["status"]["readyReplicas"] == 20
