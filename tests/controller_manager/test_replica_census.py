"""Counting a set's pods by the tally gives what a look at each of them gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.client_go.store import Store
from pytest_kubesim.controller_manager import pods, replica_census

Object = dict[str, Any]

LABELS = st.sampled_from([{"app": "web", "tier": "a"}, {"app": "web"}, {"app": "db"}, {}])


def owned_by(uid: str) -> Object:
    return {"kind": "ReplicaSet", "name": f"web-{uid}", "uid": uid, "controller": True}


@st.composite
def pod(draw: st.DrawFn, number: int) -> Object:
    meta: Object = {"namespace": "x", "name": f"p{number}", "labels": draw(LABELS)}
    if owner := draw(st.sampled_from(["1", "1", "1", "2", ""])):
        meta["ownerReferences"] = [owned_by(owner)]
    if draw(st.booleans()):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status: Object = {"phase": draw(st.sampled_from(["Pending", "Running", "Failed"]))}
    if draw(st.booleans()):
        ready = draw(st.sampled_from(["True", "False"]))
        status["conditions"] = [{"type": "Ready", "status": ready}]
    return {"metadata": meta, "status": status}


@given(st.integers(0, 6).flatmap(lambda n: st.tuples(*(pod(i) for i in range(n)))), LABELS)
def test_a_tally_gives_what_a_look_at_each_pod_gives(
    present: tuple[Object, ...], template: Object
) -> None:
    replica_set = {
        "metadata": {"namespace": "x", "name": "web-1", "uid": "1"},
        "spec": {"template": {"metadata": {"labels": template}}},
    }
    selector = labels.from_set({"app": "web"})
    store = Store()
    pods.add_standing_tally(store)
    for one in present:
        store.put(one)
    active, terminating = replica_census.surveyed(
        pods.of_owner(store, replica_set, "ReplicaSet", orphans=True)
    )
    matching = [one for one in active if selector.matches(one["metadata"]["labels"])]
    mine = [one for one in active if one["metadata"].get("ownerReferences")]
    census = replica_census.counted(store, replica_set, "ReplicaSet", selector)
    if matching == mine:
        assert census == replica_census.of_pods(mine, terminating, replica_set, selector, 0)
    else:
        assert census is None, "a pod has to be adopted or released"
