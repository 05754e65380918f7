"""What `kubesim.fake` makes is accepted by the API server, for every kind; and every kind works."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.status import APIStatus, is_not_found
from pytest_kubesim.builders import fake
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.data import load
from pytest_kubesim.errors import UsageError

ALL = [(i.api_version, i.kind, i.plural) for i in load.resources() if {"create", "delete", "list"} <= set(i.verbs)]
IDS = [f"{v}-{k}" for v, k, _ in ALL]


def cluster() -> Cluster:
    sim = Cluster(ClusterConfig(components="apiserver"))
    # Without controllers nobody makes the service account that pods run as.
    sim.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
    return sim


@pytest.mark.parametrize(("api_version", "kind", "plural"), ALL, ids=IDS)
def test_every_kind_can_be_created_read_changed_and_deleted(api_version: str, kind: str, plural: str) -> None:
    sim = cluster()
    group, _, version = api_version.rpartition("/")
    reference = f"{plural}.{version}.{group}" if group else f"{plural}.{version}."
    made = sim.create(sim.fake.k8s_object(kind, api_version))
    name = made["metadata"]["name"]
    assert sim.get(f"{reference}/{name}")["metadata"]["uid"] == made["metadata"]["uid"]
    listed = sim.list(reference, namespace=made["metadata"].get("namespace"))
    assert name in [o["metadata"]["name"] for o in listed]
    for kind_of_patch, patch in (
        ("merge", {"metadata": {"annotations": {"a": "1"}}}),
        ("strategic", {"metadata": {"annotations": {"b": "2"}}}),
        ("json", [{"op": "add", "path": "/metadata/annotations/c", "value": "3"}]),
    ):
        changed = sim.patch(f"{reference}/{name}", patch, type=kind_of_patch)
    assert {"a", "b", "c"} <= set(changed["metadata"]["annotations"])
    applied = sim.apply({"apiVersion": api_version, "kind": kind, "metadata": {
        k: v for k, v in made["metadata"].items() if k in ("name", "namespace")} | {"labels": {"applied": "yes"}}})
    assert applied["metadata"]["labels"]["applied"] == "yes"
    sim.patch(f"{reference}/{name}", {"metadata": {"finalizers": None}})
    sim.delete(f"{reference}/{name}", grace_period=0)
    try:
        left = sim.get(f"{reference}/{name}")
    except APIStatus as error:
        assert is_not_found(error)
    else:
        assert left["metadata"]["deletionTimestamp"]  # namespaces and such wait for their controllers
    sim.close()


@given(st.integers(0, 2**32), st.sampled_from(ALL))
@settings(max_examples=60)
def test_what_any_seed_makes_is_accepted(seed: int, what: tuple[str, str, str]) -> None:
    sim = cluster()
    api_version, kind, _ = what
    made = sim.create(fake(seed).k8s_object(kind, api_version))
    assert made["metadata"]["resourceVersion"]
    sim.close()


def test_equal_seeds_make_equal_objects() -> None:
    assert fake(7).k8s_deployment() == fake(7).k8s_deployment()
    assert fake(7).k8s_deployment() != fake(8).k8s_deployment()


def test_the_runs_seed_seeds_it() -> None:
    first, second = (Cluster(ClusterConfig(seed=3)).fake.k8s_name() for _ in range(2))
    assert first == second


CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": {
                "type": "object", "required": ["size", "names", "mode", "ratio"],
                "properties": {
                    "size": {"type": "integer", "minimum": 3, "maximum": 9, "multipleOf": 3},
                    "names": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "maxLength": 5}},
                    "mode": {"type": "string", "enum": ["a", "b"]},
                    "ratio": {"type": "number", "minimum": 0, "maximum": 1},
                    "port": {"x-kubernetes-int-or-string": True},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "at": {"type": "string", "format": "date-time"},
                    "secret": {"type": "string", "pattern": "^[A-Z]{40}$"},
                    "deep": {"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}, "y": {"type": "integer", "default": 4}}},
                },
            }}}},
        }],
    },
}


@given(st.integers(0, 2**32))
@settings(max_examples=40)
def test_custom_resources_fit_the_schema_of_their_definition(seed: int) -> None:
    sim = _with_crd()
    made = sim.create(fake(seed).k8s_custom_resource(CRD, metadata={"name": None, "generateName": "w-"}))
    assert made["spec"]["size"] in (3, 6, 9)


_made: list[Cluster] = []


def _with_crd() -> Cluster:
    if not _made:
        _made.append(cluster())
        _made[0].apply(CRD)
    return _made[0]


def test_what_cannot_be_made_up_is_said() -> None:
    with pytest.raises(UsageError, match="no built-in kind 'Widget'.*give one of"):
        fake(0).k8s_object("Widget")
    with pytest.raises(UsageError, match="serves no version 'v9'; it serves v1"):
        fake(0).k8s_custom_resource(CRD, version="v9")
    schema = {"type": "object", "required": ["code"], "properties": {"code": {"type": "string", "pattern": "^[A-Z]{40}$"}}}
    crd = {**CRD, "spec": {**CRD["spec"], "versions": [{"name": "v1", "served": True, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}, "required": ["spec"]}}}]}}
    with pytest.raises(UsageError, match="spec.code is required and must match"):
        fake(0).k8s_custom_resource(crd)


def test_fields_are_merged_in() -> None:
    pod = fake(1).k8s_pod(spec={"restartPolicy": "Never"}, metadata={"name": "mine"})
    assert pod["metadata"]["name"] == "mine"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["containers"]
