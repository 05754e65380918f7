"""The informer's store: indexes and tallies say what the objects say."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.client_go.store import Store, key_of

Object = dict[str, Any]


def nodes_of(obj: Object) -> list[str]:
    return obj["nodes"]


def phase_of(obj: Object) -> str:
    return obj["phase"]


META = st.sampled_from([{"namespace": space, "name": name} for space in "xy" for name in "abc"])


def change(meta: dict[str, str], nodes: list[str], phase: str, gone: bool) -> Object:
    return {"metadata": meta, "nodes": nodes, "phase": phase, "gone": gone}


CHANGES = st.lists(
    st.builds(
        change,
        META,
        st.lists(st.sampled_from(["n1", "n2", "n3"]), max_size=3),
        st.sampled_from(["Pending", "Running"]),
        st.booleans(),
    )
)


@given(CHANGES)
def test_indexes_and_tallies_are_those_of_a_fresh_look_at_all_objects(changes: list[Object]) -> None:
    store = Store()
    store.add_indexer("node", nodes_of)
    store.add_tally("phase", "node", phase_of)
    there: dict[str, Object] = {}
    for one in changes:
        key = key_of(one)
        if one["gone"]:
            assert store.remove(key) is there.pop(key, None)
        else:
            assert store.put(one) is there.get(key)
            there[key] = one
    late = Store()
    for obj in store.list():
        late.put(obj)
    late.add_indexer("node", nodes_of)
    late.add_tally("phase", "node", phase_of)
    for node in ("n1", "n2", "n3"):
        found = [obj for obj in there.values() if node in obj["nodes"]]
        for one in (store, late):
            assert sorted(map(key_of, one.by_index("node", node))) == sorted(map(key_of, found))
            assert one.tally("phase", "node", node) == Counter(map(phase_of, found))
    assert set(store.index_values("node")) == {n for obj in there.values() for n in obj["nodes"]}
    for namespace in ("x", "y"):
        assert store.list(namespace) == [
            obj for obj in there.values() if obj["metadata"]["namespace"] == namespace
        ]
