"""Jobs."""

from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r

LABELS = {"job": "j"}


def job(name="j", **spec):
    return {
        "metadata": {"name": name},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "completionMode": "NonIndexed",
            "suspend": False,
            "podReplacementPolicy": "TerminatingOrFailed",
            "manualSelector": True,
            "selector": {"matchLabels": LABELS},
            "template": pod_template(labels=LABELS, restartPolicy="Never"),
            **spec,
        },
    }


def start(**spec):
    w = World()
    w.create(r.JOBS, job(**spec))
    w.settle()
    return w


def status(w, name="j"):
    return w.get(r.JOBS, name)["status"]


def conditions(w, name="j"):
    return [(c["type"], c["status"], c["reason"]) for c in status(w, name).get("conditions", [])]


def live(w):
    return [p for p in w.pods() if p["status"]["phase"] in ("Pending", "Running")
            and not p["metadata"].get("deletionTimestamp")]


def end_all(w, phase="Succeeded", code=0):
    for pod in live(w):
        w.end(pod["metadata"]["name"], phase, code)
    w.settle()


def test_a_job_is_complete_when_its_pod_has_succeeded():
    w = start()
    (pod,) = w.pods()
    assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    end_all(w)
    assert conditions(w) == [
        ("SuccessCriteriaMet", "True", "CompletionsReached"),
        ("Complete", "True", "CompletionsReached"),
    ]
    assert status(w)["succeeded"] == 1
    assert status(w)["completionTime"]
    assert status(w)["uncountedTerminatedPods"] == {}
    assert not w.pods()[0]["metadata"].get("finalizers")
    assert w.events("j")[-1] == ("Completed", "Job completed")


def test_no_more_pods_run_at_once_than_parallelism_allows():
    w = start(parallelism=2, completions=5)
    assert len(live(w)) == 2
    end_all(w)
    end_all(w)
    assert len(live(w)) == 1
    end_all(w)
    assert status(w)["succeeded"] == 5


def test_a_failed_pod_is_replaced_after_ten_seconds_then_twenty():
    w = start()
    end_all(w, "Failed", 1)
    assert live(w) == []
    w.settle(10)
    assert len(live(w)) == 1
    end_all(w, "Failed", 1)
    w.settle(10)
    assert live(w) == []
    w.settle(10)
    assert len(live(w)) == 1
    assert status(w)["failed"] == 2


def test_too_many_failures_end_the_job():
    w = start(backoffLimit=0)
    end_all(w, "Failed", 1)
    assert conditions(w) == [
        ("FailureTarget", "True", "BackoffLimitExceeded"),
        ("Failed", "True", "BackoffLimitExceeded"),
    ]
    assert w.events("j")[-1] == (
        "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    )


def test_a_deadline_ends_the_job_and_its_pods():
    w = start(activeDeadlineSeconds=30)
    w.settle(20)
    assert len(live(w)) == 1
    w.settle(20)
    assert live(w) == []
    assert ("FailureTarget", "True", "DeadlineExceeded") in conditions(w)


def test_suspending_deletes_pods_without_counting_them():
    w = start(parallelism=2, completions=2)
    w.patch(r.JOBS, "j", {"spec": {"suspend": True}})
    w.settle()
    assert w.pods() == []
    assert conditions(w) == [("Suspended", "True", "JobSuspended")]
    assert "failed" not in status(w)
    assert "startTime" not in status(w)
    w.patch(r.JOBS, "j", {"spec": {"suspend": False}})
    w.settle()
    assert len(live(w)) == 2
    assert conditions(w) == [("Suspended", "False", "JobResumed")]


def indexed(**spec):
    return start(**{"completionMode": "Indexed", "completions": 3, "parallelism": 3, **spec})


def end_index(w, index, phase="Succeeded", code=0):
    for pod in live(w):
        annotations = pod["metadata"]["annotations"]
        if annotations["batch.kubernetes.io/job-completion-index"] == str(index):
            w.end(pod["metadata"]["name"], phase, code)
    w.settle()


def test_indexed_pods_know_their_index():
    w = indexed()
    pod = sorted(w.pods(), key=lambda p: p["spec"]["hostname"])[1]
    assert pod["spec"]["hostname"] == "j-1"
    assert pod["metadata"]["generateName"] == "j-1-"
    env = pod["spec"]["containers"][0]["env"][0]
    assert env["name"] == "JOB_COMPLETION_INDEX"
    end_index(w, 0)
    end_index(w, 2)
    assert status(w)["completedIndexes"] == "0,2"
    end_index(w, 1)
    assert status(w)["completedIndexes"] == "0-2"


def test_an_index_that_fails_too_often_fails_the_job_in_the_end():
    w = indexed(backoffLimitPerIndex=1, backoffLimit=2**31 - 1)
    end_index(w, 1, "Failed", 1)
    w.settle(20)
    retry = [p for p in live(w) if p["spec"]["hostname"] == "j-1"][0]
    assert retry["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    end_index(w, 1, "Failed", 1)
    w.settle(20)
    assert status(w)["failedIndexes"] == "1"
    end_index(w, 0)
    end_index(w, 2)
    assert conditions(w)[-1] == ("Failed", "True", "FailedIndexes")


def test_a_success_policy_ends_the_job_early():
    w = indexed(successPolicy={"rules": [{"succeededIndexes": "1"}]})
    end_index(w, 1)
    assert conditions(w)[0] == ("SuccessCriteriaMet", "True", "SuccessPolicy")
    assert live(w) == []


def test_a_failure_policy_ignores_or_ends():
    ignore = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}
    fail = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}
    w = start(podFailurePolicy={"rules": [ignore, fail]}, podReplacementPolicy="Failed")
    end_all(w, "Failed", 42)
    w.settle(20)
    assert "failed" not in status(w)
    end_all(w, "Failed", 3)
    assert conditions(w)[-1] == ("Failed", "True", "PodFailurePolicy")


def test_a_job_managed_by_somebody_else_is_left_alone():
    w = start(managedBy="example.com/mine")
    assert w.pods() == []


def test_a_finished_job_expires():
    w = start(ttlSecondsAfterFinished=60)
    end_all(w)
    w.settle(50)
    assert len(w.list(r.JOBS)) == 1
    w.settle(20)
    assert w.list(r.JOBS) == []


def test_pods_of_a_job_that_is_gone_lose_their_finalizer():
    w = start()
    (pod,) = w.pods()
    w.delete(r.JOBS, "j", propagation_policy="Background")
    w.settle()
    found = [p for p in w.pods() if p["metadata"]["name"] == pod["metadata"]["name"]]
    assert not found or not found[0]["metadata"].get("finalizers")


def test_a_crash_between_noting_and_counting_loses_nothing():
    w = start(parallelism=3, completions=3)
    for pod in live(w):
        w.end(pod["metadata"]["name"])
    while "uncountedTerminatedPods" not in status(w) or not status(w)["uncountedTerminatedPods"]:
        if not w.kernel.step():
            break
        if any(e[4].get("resource") == "jobs/status" for e in list(w.kernel.journal)[-1:]):
            break
    w.manager.process.restart()
    w.settle(10)
    assert status(w)["succeeded"] == 3
    assert conditions(w)[-1][0] == "Complete"
