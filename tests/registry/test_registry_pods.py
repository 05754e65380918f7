"""Pods: defaults, rules, changes, warnings, deletion and the row that `kubectl get` shows."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_pipeline import Pipeline, causes, merged, resource_of, row

from pytest_kubesim.apimachinery.status import APIStatus

Object = dict[str, Any]


def pod(spec: Object | None = None, **container: Any) -> Object:
    made: Object = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", **container}]},
    }
    return merged(made, {"spec": spec or {}})


def refused(obj: Object) -> list[str]:
    with pytest.raises(APIStatus) as caught:
        Pipeline().create("pods", obj)
    return causes(caught.value)


def refused_change(old: Object, changes: Object, sub: str = "") -> list[str]:
    pipeline = Pipeline()
    with pytest.raises(APIStatus) as caught:
        pipeline.change("pods", pipeline.create("pods", old), changes, sub)
    return causes(caught.value)


# -- defaults ----------------------------------------------------------------------------------


def test_a_pod_is_filled_in() -> None:
    made = Pipeline().create("pods", pod())
    assert made["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("a.b:5000/nginx", "Always"),
        ("a.b:5000/nginx:2", "IfNotPresent"),
        ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    made = Pipeline().create("pods", pod(image=image))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_requests_follow_limits_and_amounts_are_canonical() -> None:
    limits = {"cpu": "0.5", "memory": "1024Mi"}
    made = Pipeline().create("pods", pod(resources={"limits": limits}))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m", "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }
    assert made["status"]["qosClass"] == "Guaranteed"


def test_probes_ports_and_volumes_are_filled_in() -> None:
    made = Pipeline().create(
        "pods",
        pod(
            {
                "volumes": [
                    {"name": "a"},
                    {"name": "b", "configMap": {"name": "x"}},
                    {"name": "h", "hostPath": {"path": "/x"}},
                ]
            },
            ports=[{"containerPort": 80}],
            readinessProbe={"httpGet": {"port": 80}},
        ),
    )
    container = made["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert made["spec"]["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
        {"name": "h", "hostPath": {"path": "/x", "type": ""}},
    ]


def test_ports_of_the_host_network_are_those_of_the_host() -> None:
    made = Pipeline().create("pods", pod({"hostNetwork": True}, ports=[{"containerPort": 80}]))
    assert made["spec"]["containers"][0]["ports"] == [
        {"hostPort": 80, "containerPort": 80, "protocol": "TCP"}
    ]


def test_a_negative_grace_period_is_a_second() -> None:
    made = Pipeline().create("pods", pod({"terminationGracePeriodSeconds": -1}))
    assert made["spec"]["terminationGracePeriodSeconds"] == 1


def test_service_account_has_two_names() -> None:
    made = Pipeline().create("pods", pod({"serviceAccountName": "x"}))
    assert made["spec"]["serviceAccount"] == "x"
    made = Pipeline().create("pods", pod({"serviceAccount": "y"}))
    assert made["spec"]["serviceAccountName"] == "y"


# -- rules -------------------------------------------------------------------------------------

C = "spec.containers[0]"
RULES: list[tuple[Object, list[str]]] = [
    ({"spec": {"containers": []}}, ["spec.containers: Required value"]),
    (pod(image=""), [f"{C}.image: Required value"]),
    (
        pod(name="A"),
        [
            (
                f'{C}.name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case '
                "alphanumeric characters or '-', and must start and end with an alphanumeric character "
                "(e.g. 'my-name',  or '123-abc', regex used for validation is "
                "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            )
        ],
    ),
    (
        pod(env=[{"value": "x"}, {"name": "a=b"}]),
        [
            f"{C}.env[0].name: Required value",
            (
                f'{C}.env[1].name: Invalid value: "a=b": a valid environment variable name must '
                "consist only of printable ASCII characters other than '='"
            ),
        ],
    ),
    (
        pod(ports=[{"containerPort": 0}, {"containerPort": 80, "protocol": "X"}]),
        [
            f"{C}.ports[0].containerPort: Required value",
            f'{C}.ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"',
        ],
    ),
    (
        pod(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
        [
            (
                f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit '
                "of 1"
            )
        ],
    ),
    (
        pod(resources={"limits": {"gpu": "1"}}),
        [
            (
                f'{C}.resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or '
                "fully qualified"
            ),
            (
                f'{C}.resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for '
                "containers"
            ),
            (
                f'{C}.resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type '
                "or fully qualified"
            ),
            (
                f'{C}.resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for '
                "containers"
            ),
        ],
    ),
    (
        pod(volumeMounts=[{"name": "v", "mountPath": ""}]),
        [
            f'{C}.volumeMounts[0].name: Not found: "v"',
            f"{C}.volumeMounts[0].mountPath: Required value",
        ],
    ),
    (
        pod(livenessProbe={"periodSeconds": -1}),
        [
            f"{C}.livenessProbe: Required value: must specify a handler type",
            (
                f"{C}.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal "
                "to 0"
            ),
        ],
    ),
    (
        pod({"restartPolicy": "Sometimes"}),
        [
            (
                'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", '
                '"OnFailure", "Never"'
            )
        ],
    ),
    (
        pod({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    ),
    (
        pod({"tolerations": [{"operator": "Equal"}]}),
        [
            (
                'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when '
                '`key` is empty, which means "match all values and all keys"'
            )
        ],
    ),
    (
        pod({"nodeName": "n", "schedulingGates": [{"name": "a.b/c"}]}),
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    ),
    (
        pod({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
        ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    ),
]


@pytest.mark.parametrize(("obj", "expected"), RULES, ids=lambda value: "")
def test_a_bad_pod_is_refused_in_these_words(obj: Object, expected: list[str]) -> None:
    assert refused({"metadata": {"name": "p"}, **obj}) == expected


# -- changes -----------------------------------------------------------------------------------


def test_little_of_a_pod_can_change() -> None:
    (cause,) = refused_change(pod(), {"spec": {"hostNetwork": True}})
    head, _, diff = cause.partition("\n")
    assert head == (
        "spec: Forbidden: pod updates may not change fields other than "
        "`spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
        "negative)"
    )
    assert '- "HostNetwork": false,\n+ "HostNetwork": true,\n' in diff


def test_an_image_changes_and_the_generation_counts_it() -> None:
    pipeline = Pipeline()
    old = pipeline.create("pods", pod())
    new = pipeline.change("pods", old, {"spec": {"containers": [{"name": "c", "image": "j"}]}})
    assert new["metadata"]["generation"] == 2
    labelled = pipeline.change("pods", new, {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 2


def test_the_status_is_not_touched_by_a_plain_update_nor_the_spec_by_a_status_update() -> None:
    pipeline = Pipeline()
    old = pipeline.create("pods", pod())
    assert pipeline.change("pods", old, {"status": {"phase": "Failed"}})["status"] == old["status"]
    old = pipeline.objects["pods"][0]
    new = pipeline.change(
        "pods", old, {"spec": {"nodeName": "n"}, "status": {"phase": "Running"}}, "status"
    )
    assert new["status"]["phase"] == "Running"
    assert "nodeName" not in new["spec"]


def test_gates_only_go_and_a_gated_pod_may_be_narrowed() -> None:
    gated = pod({"schedulingGates": [{"name": "a.b/c"}], "nodeSelector": {"a": "b"}})
    pipeline = Pipeline()
    old = pipeline.create("pods", gated)
    narrowed = pipeline.change("pods", old, {"spec": {"nodeSelector": {"c": "d"}}})
    assert narrowed["spec"]["nodeSelector"] == {"a": "b", "c": "d"}
    assert (
        "schedulingGates"
        not in pipeline.change("pods", narrowed, {"spec": {"schedulingGates": []}})["spec"]
    )
    more = {"spec": {"schedulingGates": [{"name": "a.b/c"}, {"name": "d.e/f"}]}}
    assert refused_change(gated, more)[0] == (
        "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new "
        "scheduling gate 'd.e/f'"
    )


def test_ephemeral_containers_are_added_and_never_changed() -> None:
    pipeline = Pipeline()
    old = pipeline.create("pods", pod())
    added = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}
    new = pipeline.change("pods", old, added, "ephemeralcontainers")
    assert [c["name"] for c in new["spec"]["ephemeralContainers"]] == ["e"]
    with pytest.raises(APIStatus) as caught:
        pipeline.change("pods", new, {"spec": {"ephemeralContainers": []}}, "ephemeralcontainers")
    assert causes(caught.value) == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed\n'
    ]


def test_a_resize_changes_what_is_asked_for_but_not_the_class() -> None:
    asks = pod(resources={"requests": {"cpu": "1"}})
    pipeline = Pipeline()
    old = pipeline.create("pods", asks)

    def sized(**resources: Any) -> Object:
        return {"spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}}

    new = pipeline.change("pods", old, sized(requests={"cpu": "2"}), "resize")
    assert new["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    assert new["metadata"]["generation"] == 2
    assert refused_change(asks, sized(), "resize") == [
        'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
        f"{C}.resources.requests: Forbidden: resource requests cannot be removed",
    ]


# -- warnings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod(), []),
        (
            pod({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            [
                ("spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "
                '"kubernetes.io/os" instead')
            ],
        ),
        (
            pod(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
            [('spec.containers[0].env[1]: hides previous definition of "A", which may be dropped '
             "when using apply")],
        ),
        (
            {**pod(), "metadata": {"name": "a.b"}},
            [
                ("metadata.name: this is used in the Pod's hostname, which can result in surprising "
                "behavior; a DNS label is recommended: [must not contain dots]")
            ],
        ),
    ],
)  # fmt: skip
def test_a_suspicious_pod_is_warned_of(obj: Object, expected: list[str]) -> None:
    pipeline = Pipeline()
    pipeline.create("pods", obj)
    assert pipeline.warnings == expected


# -- deletion ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "phase", "asked", "expected"),
    [
        ({"nodeName": "n"}, "Running", None, 30),
        ({"nodeName": "n"}, "Running", 5, 5),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 7}, "Running", None, 7),
        ({"nodeName": "n"}, "Succeeded", None, 0),
        ({}, "Pending", None, 0),
        ({"nodeName": "n"}, "Running", -1, 1),
    ],
)
def test_how_long_a_pod_may_take_to_die(
    spec: Object, phase: str, asked: int | None, expected: int
) -> None:
    pipeline = Pipeline()
    made = pipeline.create("pods", pod(spec))
    made = {**made, "status": {"phase": phase}}
    strategy = resource_of("pods").strategy
    assert strategy.check_graceful_delete(pipeline.context("delete"), made, asked) == expected


# -- tables ------------------------------------------------------------------------------------


def _status(**state: Any) -> Object:
    return {"name": "c", "ready": False, "restartCount": 0, "state": state}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Pending"}, ["0/1", "Pending", 0]),
        (
            {"phase": "Running", "containerStatuses": [{**_status(running={}), "ready": True}]},
            ["1/1", "Running", 0],
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {**_status(waiting={"reason": "CrashLoopBackOff"}), "restartCount": 3}
                ],
            },
            ["0/1", "CrashLoopBackOff", "3"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [_status(terminated={"exitCode": 2})]},
            ["0/1", "ExitCode:2", 0],
        ),
        ({"phase": "Failed", "reason": "Evicted"}, ["0/1", "Evicted", 0]),
    ],
)
def test_the_row_says_how_the_pod_is(status: Object, expected: list[Any]) -> None:
    made = {**Pipeline().create("pods", pod()), "status": status}
    cells = row("pods", made)
    assert [*cells[1:3], str(cells[3])] == [*expected[:2], str(expected[2])]
    assert cells[0] == "p"
    assert cells[4] == "0s"


def test_fields_that_pods_are_selected_by() -> None:
    made = Pipeline().create("pods", pod({"nodeName": "n", "serviceAccountName": "s"}))
    found = resource_of("pods").strategy.selectable_fields(made)
    assert found["spec.nodeName"] == "n"
    assert found["status.phase"] == "Pending"
    assert found["spec.serviceAccountName"] == "s"
    assert {*found} <= {*resource_of("pods").strategy.selectable}
