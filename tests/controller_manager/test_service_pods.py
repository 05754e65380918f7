"""Which pods and Services belong together is found by indexes, as a look at all of them finds it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.client_go.store import Store
from pytest_kubesim.controller_manager import pods, service_pods

Object = dict[str, Any]

LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
SPACES = st.sampled_from(["n", "m"])


def _all(entries: list[tuple[str, Any]], field: str, kind: str) -> list[Object]:
    return [
        {"metadata": {"namespace": space, "name": f"{kind}{number}", "labels": value},
         "spec": {field: value}}
        for number, (space, value) in enumerate(entries)
    ]


@given(
    st.lists(st.tuples(SPACES, LABELS)), st.lists(st.tuples(SPACES, st.none() | LABELS)), SPACES, LABELS
)
def test_indexes_find_what_a_look_at_all_finds(
    some_pods: list[tuple[str, Any]], some_services: list[tuple[str, Any]], space: str,
    wanted: dict[str, str],
) -> None:
    pod_store, services = Store(), Store()
    pods.add_label_index(pod_store)
    service_pods.add_selector_index(services)
    for pod in _all(some_pods, "x", "p"):
        pod_store.put(pod)
    for service in _all(some_services, "selector", "s"):
        services.put(service)
    matches = labels.from_set(wanted).matches
    assert pods.labelled(pod_store, space, wanted) == [
        pod for pod in pod_store.list(space) if matches(pod["metadata"]["labels"])
    ]
    assert sorted(service_pods.services_of(services, space, wanted)) == sorted(
        f"{space}/{service['metadata']['name']}"
        for service in services.list(space)
        if (selector := service["spec"]["selector"]) is not None
        and labels.from_set(selector).matches(wanted)
    )


def test_what_was_worked_out_is_kept_until_pod_node_or_service_is_another() -> None:
    asked: list[str] = []

    def work(service: Object, pod: Object, node: Object | None) -> str:
        asked.append(pod["metadata"]["name"])
        return f"{service['n']}{pod['metadata']['name']}{node and node['n']}"

    def pod(name: str) -> Object:
        return {"metadata": {"name": name}}

    worked = service_pods.Worked(work)
    service, node, first, second = {"n": "s"}, {"n": "k"}, pod("a"), pod("b")
    assert worked.out("s", service, [(first, node), (second, None)]) == ["sak", "sbNone"]
    assert worked.out("s", service, [(second, None), (first, node)]) == ["sbNone", "sak"]
    assert asked == ["a", "b"]
    worked.out("s", service, [(first, {"n": "k"}), (pod("b"), None)])
    assert asked == ["a", "b", "a", "b"]
    assert worked.out("s", {"n": "t"}, [(first, node)]) == ["tak"]
