"""When a cluster is at rest, and what is no reason to wait."""

from __future__ import annotations

from typing import Any

CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "hourly"},
    "spec": {
        "schedule": "0 * * * *",
        "jobTemplate": {
            "spec": {
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "c", "image": "busybox", "command": ["true"]}],
                    }
                }
            }
        },
    },
}


def test_the_next_run_of_a_cron_job_is_not_waited_for(kubesim: Any) -> None:
    kubesim.apply(CRON_JOB)
    kubesim.settle()
    assert kubesim.clock.time < 600
    kubesim.delete("cronjob/hourly")
    kubesim.settle()
    assert kubesim.clock.time < 1200
