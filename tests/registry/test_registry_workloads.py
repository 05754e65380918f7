"""Deployments, replica sets, stateful sets, daemon sets, jobs and cron jobs."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_pipeline import NOW, Pipeline, causes, merged, resource_of, row

from pytest_kubesim.apimachinery.status import APIStatus

Object = dict[str, Any]
TEMPLATE: Object = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
SELECTOR = {"matchLabels": {"a": "b"}}


def workload(**spec: Any) -> Object:
    return {
        "metadata": {"name": "w"},
        "spec": {"selector": SELECTOR, "template": TEMPLATE, **spec},
    }


def job(**spec: Any) -> Object:
    template = merged(TEMPLATE, {"spec": {"restartPolicy": "Never"}})
    return {"metadata": {"name": "w"}, "spec": {"template": template, **spec}}


def refused(plural: str, obj: Object) -> list[str]:
    with pytest.raises(APIStatus) as caught:
        Pipeline().create(plural, obj)
    return causes(caught.value)


def refused_change(plural: str, old: Object, changes: Object, sub: str = "") -> list[str]:
    pipeline = Pipeline()
    with pytest.raises(APIStatus) as caught:
        pipeline.change(plural, pipeline.create(plural, old), changes, sub)
    return causes(caught.value)


# -- defaults ----------------------------------------------------------------------------------


def without_template(plural: str, obj: Object) -> Object:
    spec = dict(Pipeline().create(plural, obj)["spec"])
    assert spec["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    del spec["template"]
    spec.pop("selector", None)
    return spec


def test_what_each_kind_is_filled_in_with() -> None:
    quarter = {"maxUnavailable": "25%", "maxSurge": "25%"}
    assert without_template("deployments", workload()) == {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": quarter},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    assert without_template("replicasets", workload()) == {"replicas": 1}
    assert without_template("statefulsets", workload()) == {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "revisionHistoryLimit": 10,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    } | {
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"partition": 0, "maxUnavailable": 1},
        },
        "serviceName": "",
    }
    assert without_template("daemonsets", workload()) == {
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
        },
        "revisionHistoryLimit": 10,
    }
    assert without_template("jobs", job()) == {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "manualSelector": False,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }


def test_a_job_selects_its_pods_by_its_uid() -> None:
    made = Pipeline().create("jobs", job())
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert made["spec"]["template"]["metadata"]["labels"] == {
        "a": "b",
        "batch.kubernetes.io/controller-uid": "u",
        "batch.kubernetes.io/job-name": "w",
        "controller-uid": "u",
        "job-name": "w",
    }


def test_a_replication_controller_takes_labels_and_selector_from_its_template() -> None:
    bare = {"metadata": {"name": "w"}, "spec": {"template": TEMPLATE}}
    made = Pipeline().create("replicationcontrollers", bare)
    assert made["metadata"]["labels"] == made["spec"]["selector"] == {"a": "b"}


# -- rules -------------------------------------------------------------------------------------

MISMATCH = (
    'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template '
    "`labels`"
)


@pytest.mark.parametrize(
    ("plural", "obj", "expected"),
    [
        ("deployments", workload(selector={"matchLabels": {"a": "c"}}), [MISMATCH]),
        ("statefulsets", workload(selector={"matchLabels": {"a": "c"}}), [MISMATCH]),
        (
            "deployments",
            workload(selector={}),
            [
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ],
        ),
        (
            "deployments",
            workload(replicas=-1),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "deployments",
            workload(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
            [
                (
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when "
                    "`maxSurge` is 0"
                )
            ],
        ),
        (
            "deployments",
            workload(minReadySeconds=9, progressDeadlineSeconds=9),
            [
                (
                    "spec.progressDeadlineSeconds: Invalid value: 9: must be greater than "
                    "minReadySeconds"
                )
            ],
        ),
        (
            "jobs",
            merged(job(), {"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}),
            [
                (
                    'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", '
                    '"Never"'
                )
            ],
        ),
        (
            "jobs",
            job(completionMode="Indexed", parallelism=2),
            ["spec.completions: Required value: when completion mode is Indexed"],
        ),
    ],
)
def test_a_bad_workload_is_refused_in_these_words(
    plural: str, obj: Object, expected: list[str]
) -> None:
    assert refused(plural, obj) == expected


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("61 * * * *", "end of range (61) above maximum (59): 61"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
    ],
)
def test_a_schedule_that_cron_cannot_read(schedule: str, problem: str) -> None:
    obj = {
        "metadata": {"name": "w"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": job()["spec"]}},
    }
    assert refused("cronjobs", obj) == [f'spec.schedule: Invalid value: "{schedule}": {problem}']


# -- changes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets", "daemonsets"])
def test_the_generation_counts_changes_of_the_spec(plural: str) -> None:
    pipeline = Pipeline()
    old = pipeline.create(plural, workload())
    assert old["metadata"]["generation"] == 1
    labelled = pipeline.change(plural, old, {"metadata": {"labels": {"q": "r"}}})
    assert labelled["metadata"]["generation"] == 1
    ready = pipeline.change(plural, labelled, {"spec": {"minReadySeconds": 5}})
    assert ready["metadata"]["generation"] == 2
    assert ready["status"] == old["status"]


def test_annotations_of_a_deployment_count_too() -> None:
    pipeline = Pipeline()
    old = pipeline.create("deployments", workload())
    new = pipeline.change("deployments", old, {"metadata": {"annotations": {"q": "r"}}})
    assert new["metadata"]["generation"] == 2


SELECTOR_CHANGE = {
    "spec": {
        "selector": {"matchLabels": {"a": "c"}},
        "template": {"metadata": {"labels": {"a": "c"}}},
    }
}


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets", "daemonsets"])
def test_a_selector_stays(plural: str) -> None:
    (cause,) = refused_change(plural, workload(), SELECTOR_CHANGE)
    assert cause == ('spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable')


def test_little_of_a_stateful_set_changes() -> None:
    (cause,) = refused_change("statefulsets", workload(), {"spec": {"serviceName": "x"}})
    assert cause == 'spec.serviceName: Invalid value: "x": field is immutable'


def test_the_template_of_a_job_stays() -> None:
    (cause,) = refused_change(
        "jobs", job(), {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    )
    assert cause.startswith('spec.template: Invalid value: {"labels":{"a":"b",')
    assert cause.endswith(": field is immutable")


def test_a_suspended_job_that_never_ran_may_be_aimed_elsewhere() -> None:
    pipeline = Pipeline()
    old = pipeline.create("jobs", job(suspend=True))
    new = pipeline.change(
        "jobs", old, {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    )
    assert new["spec"]["template"]["spec"]["nodeSelector"] == {"a": "b"}


def test_the_status_of_a_job_tells_one_story() -> None:
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": NOW}
    problems = refused_change(
        "jobs", job(), {"status": {"startTime": NOW, "conditions": [complete]}}, "status"
    )
    assert problems == [
        "status.completionTime: Required value: completionTime is required for Complete jobs",
        (
            "status.conditions: Invalid value: cannot set Complete=True condition without the "
            "SuccessCriteriaMet=true condition"
        ),
    ]


def test_scale_is_where_it_says() -> None:
    scale = resource_of("deployments").scale
    assert scale is not None
    assert scale.spec_replicas == ("spec", "replicas")
    assert resource_of("daemonsets").scale is None


# -- warnings and tables -----------------------------------------------------------------------


def test_a_name_that_pods_could_not_bear_is_warned_of() -> None:
    pipeline = Pipeline()
    pipeline.create("jobs", {**job(), "metadata": {"name": "a.b"}})
    assert pipeline.warnings == [
        (
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
            "behavior; a DNS label is recommended: [must not contain dots]"
        )
    ]


def test_rows() -> None:
    pipeline = Pipeline()
    made = pipeline.create("deployments", workload(replicas=3))
    made = {**made, "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}}
    assert row("deployments", made) == ["w", "1/3", 2, 1, "0s", "c", "i", "a=b"]
    made = pipeline.create("jobs", job())
    assert row("jobs", made)[:3] == ["w", "Running", "0/1"]
