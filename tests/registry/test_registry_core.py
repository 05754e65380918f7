"""The smaller kinds of the core: what they are filled in with, refused for and shown as."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_pipeline import NOW, Pipeline, causes, merged, resource_of, row

from pytest_kubesim.apimachinery.status import APIStatus

Object = dict[str, Any]


def named(name: str = "x", **fields: Any) -> Object:
    return {"metadata": {"name": name}, **fields}


def claim(**spec: Any) -> Object:
    size = {"requests": {"storage": "1Gi"}}
    return named(spec={"accessModes": ["ReadWriteOnce"], "resources": size, **spec})


def volume(**spec: Any) -> Object:
    return named(
        spec={
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/x"},
            **spec,
        }
    )


def refused(plural: str, obj: Object) -> list[str]:
    with pytest.raises(APIStatus) as caught:
        Pipeline().create(plural, obj)
    return causes(caught.value)


def refused_change(plural: str, old: Object, changes: Object, sub: str = "") -> list[str]:
    pipeline = Pipeline()
    with pytest.raises(APIStatus) as caught:
        pipeline.change(plural, pipeline.create(plural, old), changes, sub)
    return causes(caught.value)


@pytest.mark.parametrize(
    ("plural", "obj", "field", "expected"),
    [
        ("secrets", named(), "type", "Opaque"),
        ("secrets", named(stringData={"a": "hi"}), "data", {"a": "aGk="}),
        ("namespaces", named(), "spec", {"finalizers": ["kubernetes"]}),
        ("namespaces", named(), "status", {"phase": "Active"}),
        ("persistentvolumeclaims", claim(), "status", {"phase": "Pending"}),
        (
            "persistentvolumeclaims",
            claim(),
            "spec",
            {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeMode": "Filesystem",
            },
        ),
        (
            "persistentvolumes",
            volume(),
            "status",
            {"phase": "Pending", "lastPhaseTransitionTime": NOW},
        ),
        (
            "limitranges",
            named(spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
            "spec",
            {
                "limits": [
                    {
                        "type": "Container",
                        "max": {"cpu": "1"},
                        "default": {"cpu": "1"},
                        "defaultRequest": {"cpu": "1"},
                    }
                ]
            },
        ),
    ],
)
def test_what_each_kind_is_filled_in_with(
    plural: str, obj: Object, field: str, expected: Any
) -> None:
    assert Pipeline().create(plural, obj)[field] == expected


def test_a_namespace_bears_its_name_as_a_label() -> None:
    made = Pipeline().create("namespaces", named("n"))
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}


@pytest.mark.parametrize(
    ("plural", "obj", "expected"),
    [
        (
            "configmaps",
            named(data={"a": "1"}, binaryData={"a": "aGk="}),
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        (
            "configmaps",
            named(data={"a": "x" * (1024 * 1024 + 1)}),
            ["[]: Too long: may not be more than 1048576 bytes"],
        ),
        (
            "secrets",
            named(type="kubernetes.io/tls"),
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            "nodes",
            named(spec={"taints": [{"key": "a", "effect": "Never"}]}),
            [
                (
                    'metadata.taints[0].effect: Unsupported value: "Never": supported values: '
                    '"NoSchedule", "PreferNoSchedule", "NoExecute"'
                )
            ],
        ),
        (
            "persistentvolumeclaims",
            claim(accessModes=[]),
            ["spec.accessModes: Required value: at least 1 access mode is required"],
        ),
        (
            "persistentvolumes",
            volume(capacity={"storage": "0"}),
            [
                'spec.capacity[storage]: Invalid value: "0": must be greater than zero',
            ],
        ),
        (
            "resourcequotas",
            named(spec={"hard": {"pods": "1.5"}}),
            ['spec.hard[pods]: Invalid value: "1500m": must be an integer'],
        ),
        (
            "endpoints",
            named(subsets=[{"addresses": [{"ip": "127.0.0.1"}]}]),
            [
                (
                    'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the '
                    "loopback range (127.0.0.0/8, ::1/128)"
                )
            ],
        ),
        (
            "events",
            named(involvedObject={"namespace": "elsewhere"}),
            [
                (
                    'involvedObject.namespace: Invalid value: "elsewhere": does not match '
                    "event.namespace"
                )
            ],
        ),
    ],
)
def test_a_bad_object_is_refused_in_these_words(
    plural: str, obj: Object, expected: list[str]
) -> None:
    assert refused(plural, obj) == expected


@pytest.mark.parametrize(
    ("plural", "changes", "expected"),
    [
        ("configmaps", {"data": {"a": "c"}}, ["data: Forbidden: field is immutable when `immutable` is set"]),
        ("secrets", {"immutable": False}, ["immutable: Forbidden: field is immutable when `immutable` is set"]),
    ],
)  # fmt: skip
def test_what_is_immutable_stays(plural: str, changes: Object, expected: list[str]) -> None:
    assert refused_change(plural, named(immutable=True), changes) == expected


def test_the_type_of_a_secret_stays() -> None:
    assert refused_change("secrets", named(type="a/b"), {"type": "c/d"}) == [
        'type: Invalid value: "c/d": field is immutable'
    ]


def test_a_bound_claim_grows_and_does_not_shrink() -> None:
    pipeline = Pipeline()
    pending = pipeline.create("persistentvolumeclaims", claim(storageClassName="s"))
    bound = {"spec": {"volumeName": "v"}}
    held = pipeline.change("persistentvolumeclaims", pending, bound)
    held = pipeline.change(
        "persistentvolumeclaims",
        held,
        {"status": {"phase": "Bound", "capacity": {"storage": "1536Mi"}}},
        "status",
    )

    def sized(size: str) -> Object:
        return {"spec": {"resources": {"requests": {"storage": size}}}}

    grown = pipeline.change("persistentvolumeclaims", held, sized("2Gi"))
    assert grown["spec"]["resources"] == {"requests": {"storage": "2Gi"}}
    with pytest.raises(APIStatus) as caught:
        pipeline.change("persistentvolumeclaims", grown, sized("1Gi"))
    assert causes(caught.value) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]


def test_finalize_alone_takes_finalizers_from_a_namespace() -> None:
    pipeline = Pipeline()
    old = pipeline.create("namespaces", named("n"))
    changes: Object = {"spec": {"finalizers": []}}
    kept = pipeline.change("namespaces", old, changes)
    assert kept["spec"]["finalizers"] == ["kubernetes"]
    assert not pipeline.change("namespaces", kept, changes, "finalize")["spec"]


def test_a_node_keeps_its_provider() -> None:
    old = merged(named(), {"spec": {"providerID": "a"}})
    assert refused_change("nodes", old, {"spec": {"providerID": "b"}}) == [
        "spec.providerID: Invalid value: null: field cannot be modified once set"
    ]


def test_events_are_selected_by_what_they_are_about() -> None:
    made = Pipeline().create(
        "events", named(involvedObject={"namespace": "default", "kind": "Pod"}, reason="R")
    )
    strategy = resource_of("events").strategy
    found = strategy.selectable_fields(made)
    assert found["involvedObject.kind"] == "Pod"
    assert found["reason"] == "R"
    assert strategy.ttl_seconds == 3600


def test_rows() -> None:
    pipeline = Pipeline()
    made = pipeline.create("configmaps", named(data={"a": "1"}, binaryData={"b": "aGk="}))
    assert row("configmaps", made) == ["x", 2, "0s"]
    made = pipeline.create("secrets", named(data={"a": "aGk="}))
    assert row("secrets", made) == ["x", "Opaque", 1, "0s"]
    made = pipeline.create("namespaces", named())
    assert row("namespaces", made) == ["x", "Active", "0s"]
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    labels = {"node-role.kubernetes.io/worker": ""}
    node = {"metadata": {"name": "x", "labels": labels}, "status": ready}
    assert row("nodes", pipeline.create("nodes", node))[:3] == ["x", "Ready", "worker"]
    made = pipeline.create("persistentvolumeclaims", claim(storageClassName="s"))
    assert row("persistentvolumeclaims", made)[:6] == ["x", "Pending", "", "", "", "s"]
