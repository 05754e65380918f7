"""Admission plugins that are off by default, and switching plugins on and off."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim import config
from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.admission.plugins.pod_toleration_restriction import merge
from pytest_kubesim.cri.programs import runs_forever
from pytest_kubesim.errors import UsageError

OFF_BY_DEFAULT = [name for name in chain.ORDER if name not in chain.DEFAULT_ON]


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "c", "image": "a:1", "imagePullPolicy": "Never"}], **spec,
        },
    }


def test_chosen_plugins_run_in_order() -> None:
    names = chain.chosen(["AlwaysDeny", "NodeRestriction"], ["ResourceQuota"])
    assert "ResourceQuota" not in names
    assert list(names) == [name for name in chain.ORDER if name in names]


@pytest.mark.parametrize("name", OFF_BY_DEFAULT)
def test_every_plugin_can_be_had_or_says_why_not(name: str) -> None:
    if name in chain.UNCONFIGURED:
        with pytest.raises(ValueError, match=f"couldn't init admission plugin \"{name}\""):
            chain.chosen([name])
    else:
        assert name in dict(chain.load(chain.chosen([name])).plugins)


def test_unknown_names_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match='enable-admission-plugins plugin "Nope" is unknown.*Al'):
        chain.chosen(["Nope"])
    with pytest.raises(ValueError, match=r"\[Priority\] in enable-admission-plugins and disable"):
        chain.chosen(["Priority"], ["Priority"])


def test_the_marker_takes_names_and_minuses() -> None:
    made = config.merge(
        config.ClusterConfig(), {"admission_plugins": "NodeRestriction,-ResourceQuota"}, "marker"
    )
    assert config.switched(made.admission_plugins) == (["NodeRestriction"], ["ResourceQuota"])
    with pytest.raises(UsageError, match="marker: admission_plugins: .*is unknown"):
        config.merge(config.ClusterConfig(), {"admission_plugins": ["nope"]}, "marker")
    with pytest.raises(UsageError, match="give a list of names"):
        config.merge(config.ClusterConfig(), {"admission_plugins": 3}, "marker")


@pytest.mark.kubesim(
    admission_plugins=["AlwaysPullImages", "NamespaceAutoProvision", "PodNodeSelector"],
    components="controllers",
)
def test_plugins_of_a_marker_work(kubesim: Any) -> None:
    kubesim.create(pod("a"), namespace="fresh")
    assert kubesim.get("namespace/fresh")["status"]["phase"] == "Active"
    containers = kubesim.get("pod/a", namespace="fresh")["spec"]["containers"]
    assert containers[0]["imagePullPolicy"] == "Always"
    kubesim.patch(
        "namespace/fresh",
        {"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "env=prod"}}},
    )
    kubesim.create(pod("b"), namespace="fresh")
    assert kubesim.get("pod/b", namespace="fresh")["spec"]["nodeSelector"] == {"env": "prod"}


@pytest.mark.kubesim(admission_plugins=["NodeRestriction"], nodes=1)
def test_kubelets_do_their_work_under_node_restriction(kubesim: Any) -> None:
    kubesim.images["b:1"] = runs_forever()
    kubesim.create(pod("a", containers=[{"name": "c", "image": "b:1"}]))
    kubesim.eventually("pod/a", {"status": {"phase": "Running"}}, within="1m")
    kubesim.delete("pod/a")
    kubesim.eventually("pods", count=0, within="1m")
    client = kubesim.client("httpx")
    answer = client.patch(
        "/api/v1/nodes/node-1",
        json={"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
        headers={
            "Content-Type": "application/merge-patch+json",
            "Impersonate-User": "system:node:node-1",
            "Impersonate-Group": "system:nodes",
        },
    )
    assert answer.json()["message"] == (
        'nodes "node-1" is forbidden: node "node-1" is not allowed to modify taints'
    )


def test_what_another_toleration_covers_is_left_out() -> None:
    wide = {"key": "a", "operator": "Exists"}
    narrow = {"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}
    other = {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    assert merge([narrow, other], [wide]) == [other, wide]
    assert merge([wide, wide], [narrow]) == [wide]
