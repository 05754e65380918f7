"""CronJobs."""

from controller_world import World, pod_template

from pytest_kubesim.client_go import resources as r


def cron_job(schedule="*/5 * * * *", **spec):
    template = pod_template(restartPolicy="Never")
    job_spec = {
        "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
        "suspend": False, "podReplacementPolicy": "TerminatingOrFailed",
        "template": template,
    }
    return {
        "metadata": {"name": "cj"},
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"from": "cj"}}, "spec": job_spec},
            **spec,
        },
    }


def start(**spec):
    w = World("cronjob-controller")
    w.create(r.CRONJOBS, cron_job(**spec))
    w.settle(1)
    return w


def jobs(w):
    return sorted(w.list(r.JOBS), key=lambda j: j["metadata"]["name"])


def finish(w, name, type_="Complete"):
    condition = {"type": type_, "status": "True", "reason": "r", "message": "",
                 "lastProbeTime": w.now, "lastTransitionTime": w.now}
    criterion = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[type_]
    status = {"startTime": w.now, "conditions": [{**condition, "type": criterion}, condition]}
    if type_ == "Complete":
        status["completionTime"] = w.now
        status["succeeded"] = 1
    w.patch(r.JOBS, name, {"status": status}, subresource="status")
    w.settle(1)


def test_a_job_is_made_when_it_is_due():
    w = start()
    assert jobs(w) == []
    w.settle(300)
    (job,) = jobs(w)
    minute = 1767225600 // 60 + 5
    assert job["metadata"]["name"] == f"cj-{minute}"
    assert job["metadata"]["labels"]["from"] == "cj"
    assert job["metadata"]["annotations"] == {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T00:05:00Z"
    }
    status = w.get(r.CRONJOBS, "cj")["status"]
    assert status["lastScheduleTime"] == "2026-01-01T00:05:00Z"
    assert status["active"][0]["name"] == job["metadata"]["name"]
    assert w.events("cj") == [("SuccessfulCreate", f"Created job {job['metadata']['name']}")]


def test_a_time_zone_shifts_the_schedule():
    w = start(schedule="0 6 * * *", timeZone="Asia/Kolkata")
    w.settle(1800)
    (job,) = jobs(w)
    assert job["metadata"]["annotations"] == {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T06:00:00+05:30"
    }


def test_a_finished_job_leaves_the_list():
    w = start()
    w.settle(300)
    name = jobs(w)[0]["metadata"]["name"]
    finish(w, name)
    status = w.get(r.CRONJOBS, "cj")["status"]
    assert not status.get("active")
    assert status["lastSuccessfulTime"]
    assert w.events("cj")[-1] == (
        "SawCompletedJob", f"Saw completed job: {name}, condition: Complete"
    )


def test_history_is_limited():
    w = start(successfulJobsHistoryLimit=1)
    for _ in range(3):
        w.settle(300)
        finish(w, jobs(w)[-1]["metadata"]["name"])
    assert len(jobs(w)) == 1


def test_forbid_waits_for_the_one_that_runs():
    w = start(concurrencyPolicy="Forbid")
    w.settle(600)
    assert len(jobs(w)) == 1
    assert "JobAlreadyActive" in [reason for reason, _ in w.events("cj")]


def test_replace_deletes_the_one_that_runs():
    w = start(concurrencyPolicy="Replace")
    w.settle(300)
    first = jobs(w)[0]["metadata"]["name"]
    w.settle(300)
    (job,) = [j for j in jobs(w) if not j["metadata"].get("deletionTimestamp")]
    assert job["metadata"]["name"] != first
    assert ("SuccessfulDelete", f"Deleted job {first}") in w.events("cj")


def test_suspended_makes_nothing_and_makes_up_for_the_last_when_resumed():
    w = start(suspend=True)
    w.settle(900)
    assert jobs(w) == []
    w.patch(r.CRONJOBS, "cj", {"spec": {"suspend": False}}, patch_type="merge")
    w.settle(1)
    assert [j["metadata"]["name"] for j in jobs(w)] == [f"cj-{1767225600 // 60 + 15}"]


def test_too_many_missed_times_are_told():
    w = start(schedule="* * * * *", suspend=True)
    w.settle(3 * 3600)
    w.patch(r.CRONJOBS, "cj", {"spec": {"suspend": False}}, patch_type="merge")
    w.settle(1)
    message = (
        "too many missed start times. Set or decrease .spec.startingDeadlineSeconds "
        "or check clock skew"
    )
    assert w.events("cj")[0] == ("TooManyMissedTimes", message)
    assert len(jobs(w)) == 1


def test_what_is_too_late_is_not_started():
    w = start(startingDeadlineSeconds=30)
    w.manager.process.crash()
    w.settle(400)
    w.manager.process.start()
    w.settle(1)
    assert jobs(w) == []
