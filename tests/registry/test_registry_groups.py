"""The kinds of the groups beside core, apps and batch: filled in, refused, kept and shown."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_pipeline import NOW, Pipeline, causes, row

from pytest_kubesim.apimachinery.status import APIStatus

Object = dict[str, Any]


def named(name: str = "x", **fields: Any) -> Object:
    return {"metadata": {"name": name}, **fields}


def of(**spec: Any) -> Object:
    return named(spec=spec)


def refused(plural: str, obj: Object) -> list[str]:
    with pytest.raises(APIStatus) as caught:
        Pipeline().create(plural, obj)
    return causes(caught.value)


def refused_change(plural: str, obj: Object, changes: Object, sub: str = "") -> list[str]:
    pipeline = Pipeline()
    old = pipeline.create(plural, obj)
    with pytest.raises(APIStatus) as caught:
        pipeline.change(plural, old, changes, sub)
    return causes(caught.value)


PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}  # fmt: skip
INGRESS = of(rules=[{"host": "a.b", "http": {"paths": [PATH]}}])
SCALED = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3}  # fmt: skip
HOOK = {
    "name": "a.b.c",
    "clientConfig": {"url": "https://x"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
RULES = {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}  # fmt: skip
CLAIM = of(devices={"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]})
SLICE = of(driver="a.b", pool={"name": "n", "resourceSliceCount": 1}, nodeName="n")
BINDING = named(roleRef={"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}, subjects=[{"kind": "User", "name": "u"}])  # fmt: skip


@pytest.mark.parametrize(
    ("plural", "obj", "field", "expected"),
    [
        ("networkpolicies", of(podSelector={}, egress=[{}]), "policyTypes", ["Ingress", "Egress"]),
        ("servicecidrs", of(cidrs=["10.0.0.0/24"]), "cidrs", ["10.0.0.0/24"]),
        ("csidrivers", of(), "volumeLifecycleModes", ["Persistent"]),
        ("flowschemas", of(priorityLevelConfiguration={"name": "p"}), "matchingPrecedence", 1000),
        ("horizontalpodautoscalers", of(**SCALED), "minReplicas", 1),
        (
            "prioritylevelconfigurations",
            of(type="Limited", limited={"limitResponse": {"type": "Reject"}}),
            "limited",
            {
                "nominalConcurrencyShares": 30,
                "limitResponse": {"type": "Reject"},
                "lendablePercent": 0,
            },
        ),
        (
            "resourceclaims",
            CLAIM,
            "devices",
            {
                "requests": [
                    {
                        "name": "r",
                        "exactly": {
                            "deviceClassName": "gpu",
                            "allocationMode": "ExactCount",
                            "count": 1,
                        },
                    }
                ]
            },
        ),
        (
            "devicetaintrules",
            of(taint={"key": "k", "effect": "None"}),
            "taint",
            {"key": "k", "effect": "None", "timeAdded": NOW},
        ),
        (
            "mutatingadmissionpolicies",
            of(
                matchConstraints=RULES,
                reinvocationPolicy="Never",
                mutations=[
                    {
                        "patchType": "ApplyConfiguration",
                        "applyConfiguration": {
                            "expression": "Object{spec: Object.spec{replicas: 3}}"
                        },
                    }
                ],
            ),
            "failurePolicy",
            "Fail",
        ),
    ],
)
def test_what_the_spec_of_a_kind_is_filled_in_with(
    plural: str, obj: Object, field: str, expected: Any
) -> None:
    assert Pipeline().create(plural, obj)["spec"][field] == expected


def test_what_else_is_filled_in() -> None:
    pipeline = Pipeline()
    made = pipeline.create("storageclasses", named(provisioner="a/b"))
    assert (made["reclaimPolicy"], made["volumeBindingMode"]) == ("Delete", "Immediate")
    made = pipeline.create("priorityclasses", named(value=7))
    assert made["preemptionPolicy"] == "PreemptLowerPriority"
    made = pipeline.create("endpointslices", named(addressType="IPv4", ports=[{"port": 80}]))
    assert made["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]
    made = pipeline.create("rolebindings", BINDING)
    assert made["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"
    made = pipeline.create("validatingwebhookconfigurations", named(webhooks=[HOOK]))
    assert (made["webhooks"][0]["timeoutSeconds"], made["metadata"]["generation"]) == (10, 1)


@pytest.mark.parametrize(
    ("plural", "obj", "expected"),
    [
        (
            "networkpolicies",
            of(
                podSelector={},
                ingress=[
                    {"from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]}
                ],
            ),
            [
                "spec.ingress[0].from[0]: Required value: must specify a peer",
                (
                    'spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/8": must '
                    "be a strict subset of `cidr`"
                ),
            ],
        ),
        (
            "ingresses",
            of(rules=[{"http": {"paths": [{**PATH, "path": "x"}]}}]),
            ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'],
        ),
        (
            "ipaddresses",
            named("01.2.3.4", spec={}),
            [
                'metadata.name: Invalid value: "01.2.3.4": must not have leading 0s',
                "spec.parentRef: Required value",
            ],
        ),
        (
            "poddisruptionbudgets",
            of(minAvailable="120%", maxUnavailable=1),
            [
                (
                    'spec: Invalid value: {"MinAvailable":"120%","Selector":null,'
                    '"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}: minAvailable and '
                    "maxUnavailable cannot be both set"
                ),
                'spec.minAvailable: Invalid value: "120%": must not be greater than 100%',
            ],
        ),
        (
            "priorityclasses",
            named("system-x", value=5),
            [
                (
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are "
                    "reserved for system use only. error: system-x is not a known system priority "
                    "class"
                )
            ],
        ),
        (
            "endpointslices",
            named(addressType="IPv4", endpoints=[{"addresses": ["127.0.0.1"]}]),
            [
                (
                    'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the '
                    "loopback range (127.0.0.0/8, ::1/128)"
                )
            ],
        ),
        (
            "leases",
            of(leaseDurationSeconds=0, leaseTransitions=-1),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            "horizontalpodautoscalers",
            of(**{**SCALED, "maxReplicas": 1, "minReplicas": 2}),
            [
                (
                    "spec.maxReplicas: Invalid value: 1: must be greater than or equal to "
                    "`minReplicas`"
                )
            ],
        ),
        (
            "clusterroles",
            named(rules=[{"verbs": [], "apiGroups": [""], "resources": ["pods"]}]),
            ["rules[0].verbs: Required value"],
        ),
        (
            "rolebindings",
            named(roleRef={"kind": "Odd"}),
            [
                'roleRef.kind: Unsupported value: "Odd": supported values: "Role", "ClusterRole"',
                "roleRef.name: Required value",
            ],
        ),
        (
            "flowschemas",
            of(matchingPrecedence=99999, priorityLevelConfiguration={"name": "p"}),
            ["spec.matchingPrecedence: Invalid value: 99999: must not be greater than 10000"],
        ),
        (
            "apiservices",
            named(
                "v1.a.b",
                spec={
                    "group": "a.c",
                    "version": "v1",
                    "groupPriorityMinimum": 1,
                    "versionPriority": 1,
                },
            ),
            [
                (
                    'metadata.name: Invalid value: "v1.a.b": must be '
                    '`spec.version+"."+spec.group`: "v1.a.c"'
                )
            ],
        ),
        (
            "validatingwebhookconfigurations",
            named(webhooks=[{**HOOK, "clientConfig": {"url": "http://x"}, "timeoutSeconds": 99}]),
            [
                (
                    "webhooks[0].timeoutSeconds: Invalid value: 99: the timeout value must be "
                    "between 1 and 30 seconds"
                ),
                (
                    "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only "
                    "allowed URL scheme; desired format: https://host[/path]"
                ),
            ],
        ),
        (
            "validatingadmissionpolicies",
            of(
                matchConstraints=RULES,
                variables=[{"name": "a", "expression": "odd"}],
                validations=[{"expression": "variables.a"}, {"expression": "1"}],
            ),
            [
                (
                    'spec.variables[0].expression: Invalid value: "odd": compilation failed: '
                    "ERROR: <input>:1:1: undeclared reference to 'odd' (in container '')\n"
                    " | odd\n | ^"
                ),
                (
                    'spec.validations[0].expression: Invalid value: "variables.a": must evaluate '
                    "to bool but got dyn"
                ),
                (
                    'spec.validations[1].expression: Invalid value: "1": must evaluate to bool '
                    "but got int"
                ),
            ],
        ),
        (
            "deviceclasses",
            of(selectors=[{"cel": {"expression": "device.driver"}}, {}]),
            [
                (
                    'spec.selectors[0].cel.expression: Invalid value: "device.driver": must '
                    "evaluate to bool or the unknown type, not string"
                ),
                "spec.selectors[1].cel: Required value",
            ],
        ),
        (
            "resourceclaims",
            of(devices={"requests": [{"name": "r"}], "constraints": [{"requests": ["q"]}]}),
            [
                (
                    "spec.devices.requests[0]: Required value: exactly one of `exactly` or "
                    "`firstAvailable` is required"
                ),
                (
                    'spec.devices.constraints[0].requests[0]: Invalid value: "q": must be the name '
                    "of a request in the claim or the name of a request and a subrequest separated "
                    "by '/'"
                ),
                (
                    'spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" '
                    'or "distinctAttribute" is required, but multiple fields are set'
                ),
            ],
        ),
        (
            "resourceslices",
            of(
                driver="a.b",
                pool={"name": "n", "resourceSliceCount": 1},
                allNodes=True,
                devices=[{"name": "d", "attributes": {"/v": {"version": "1"}}}],
            ),
            [
                ('spec.devices[0].attributes: Invalid value: "": the domain must not be empty'),
                (
                    'spec.devices[0].attributes[/v].version: Invalid value: "1": must be a string '
                    "compatible with semver.org spec 2.0.0"
                ),
            ],
        ),
    ],
)
def test_a_bad_object_of_any_group_is_refused_in_these_words(
    plural: str, obj: Object, expected: list[str]
) -> None:
    assert refused(plural, obj) == expected


@pytest.mark.parametrize(
    ("plural", "obj", "changes", "expected"),
    [
        ("resourceclaims", CLAIM, {"spec": {"devices": None}}, "spec: Invalid value: null"),
        ("storageclasses", named(provisioner="a/b"), {"provisioner": "c/d"}, "provisioner: Invalid value: null"),
        ("rolebindings", BINDING, {"roleRef": {"name": "z"}}, 'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"z"}'),
        ("resourceslices", SLICE, {"spec": {"driver": "c.d"}}, 'spec.driver: Invalid value: "c.d"'),
        ("ipaddresses", named("1.2.3.4", spec={"parentRef": {"resource": "services", "name": "x", "namespace": "d"}}), {"spec": {"parentRef": {"name": "y"}}}, "spec.parentRef: Invalid value: null"),
    ],
)  # fmt: skip
def test_what_a_kind_is_made_of_stays(
    plural: str, obj: Object, changes: Object, expected: str
) -> None:
    assert refused_change(plural, obj, changes) == [f"{expected}: field is immutable"]


@pytest.mark.parametrize(
    ("plural", "obj", "changes"),
    [
        ("networkpolicies", of(podSelector={}), {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ("ingresses", INGRESS, {"spec": {"ingressClassName": "c"}}),
        ("poddisruptionbudgets", of(minAvailable=1), {"spec": {"minAvailable": 2}}),
        ("flowschemas", of(priorityLevelConfiguration={"name": "p"}), {"spec": {"matchingPrecedence": 7}}),
        ("deviceclasses", of(), {"spec": {"selectors": [{"cel": {"expression": "true"}}]}}),
    ],
)  # fmt: skip
def test_a_change_of_the_spec_raises_the_generation(
    plural: str, obj: Object, changes: Object
) -> None:
    pipeline = Pipeline()
    old = pipeline.create(plural, {**obj, "status": {"observedGeneration": 9}})
    assert old["metadata"]["generation"] == 1
    same = pipeline.change(plural, old, {"metadata": {"labels": {"a": "b"}}})
    assert same["metadata"]["generation"] == 1
    assert pipeline.change(plural, same, changes)["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("plural", "obj", "status"),
    [
        ("ingresses", INGRESS, {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}),
        ("volumeattachments", of(attacher="a", nodeName="n", source={"persistentVolumeName": "v"}), {"attached": True}),
        ("resourceclaims", CLAIM, {"allocation": {"devices": {}}}),
    ],
)  # fmt: skip
def test_the_status_changes_through_its_own_path_alone(
    plural: str, obj: Object, status: Object
) -> None:
    pipeline = Pipeline()
    old = pipeline.create(plural, obj)
    before = old["status"]
    kept = pipeline.change(plural, old, {"status": status})
    assert kept["status"] == before
    changed = pipeline.change(plural, kept, {"status": status, "spec": None}, "status")
    assert (changed["spec"], changed["status"]) == (old["spec"], {**before, **status})


def test_devices_that_are_given_back_have_no_status() -> None:
    pipeline = Pipeline()
    device = {"driver": "a.b", "pool": "n", "device": "d"}
    given = {
        "allocation": {"devices": {"results": [{"request": "r", **device}]}},
        "devices": [device],
    }
    claim = pipeline.create("resourceclaims", CLAIM)
    claim = pipeline.change("resourceclaims", claim, {"status": given}, "status")
    assert len(claim["status"]["devices"]) == 1
    taken = {"status": {"allocation": None}}
    assert pipeline.change("resourceclaims", claim, taken, "status")["status"] == {}


@pytest.mark.parametrize(
    ("plural", "obj", "cells"),
    [
        ("networkpolicies", of(podSelector={}), ["x", "<none>", "0s"]),
        ("ingresses", INGRESS, ["x", "<none>", "a.b", "", "80", "0s"]),
        ("poddisruptionbudgets", of(minAvailable=1), ["x", "1", "N/A", 0, "0s"]),
        ("storageclasses", named(provisioner="a/b"), ["x", "a/b", "Delete", "Immediate", False, "0s"]),
        ("priorityclasses", named(value=7), ["x", 7, False, "0s", "PreemptLowerPriority"]),
        ("endpointslices", named(addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}]), ["x", "IPv4", "80", "10.0.0.1", "0s"]),
        ("leases", of(holderIdentity="h"), ["x", "h", "0s"]),
        ("rolebindings", BINDING, ["x", "Role/r", "0s", "u", "", ""]),
        ("flowschemas", of(priorityLevelConfiguration={"name": "p"}), ["x", "p", 1000, "<none>", "0s", "?"]),
        ("resourceclaims", CLAIM, ["x", "pending", "0s"]),
        ("resourceslices", SLICE, ["x", "n", "a.b", "n", "0s"]),
        ("storageversionmigrations", of(resource={"group": "apps", "resource": "deployments"}), ["x", "deployments.apps", "Unknown"]),
    ],
)  # fmt: skip
def test_rows_of_other_groups(plural: str, obj: Object, cells: list[Any]) -> None:
    assert row(plural, Pipeline().create(plural, obj)) == cells
