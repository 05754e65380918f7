"""When pods, indexes and Jobs have failed."""

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.controller_manager import job_policies
from pytest_kubesim.controller_manager.job_policies import BackoffRecord
from pytest_kubesim.sim.clock import NS

NOW = timestamps.parse_time("2026-01-01T01:00:00Z")


def pod(name="p", code=1, finished="2026-01-01T00:00:00Z", phase="Failed", conditions=()):
    state = {"terminated": {"exitCode": code, "finishedAt": finished}}
    return {
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": finished},
        "spec": {},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "main", "state": state}],
            "conditions": list(conditions),
        },
    }


def job(*rules, **spec):
    return {"spec": {"podFailurePolicy": {"rules": list(rules)} if rules else None, **spec}}


def rule(action, values, operator="In"):
    return {"action": action, "onExitCodes": {"operator": operator, "values": values}}


def test_without_a_policy_every_failure_counts():
    verdict = job_policies.pod_failure(job(), pod())
    assert (verdict.message, verdict.counts, verdict.action) == (None, True, None)


def test_the_first_rule_that_matches_decides():
    policy = job(rule("Ignore", [3]), rule("FailJob", [1, 3]))
    assert not job_policies.pod_failure(policy, pod(code=3)).counts
    assert job_policies.pod_failure(policy, pod(code=1)).message == (
        "Container main for pod ns/p failed with exit code 1 matching FailJob rule at index 1"
    )


def test_conditions_match_too():
    pattern = {"type": "DisruptionTarget", "status": "True"}
    policy = job({"action": "Ignore", "onPodConditions": [pattern]})
    assert not job_policies.pod_failure(policy, pod(conditions=[pattern])).counts
    assert job_policies.pod_failure(policy, pod()).counts


def test_exit_code_zero_never_matches():
    assert job_policies.pod_failure(job(rule("Ignore", [5], "NotIn")), pod(code=0)).counts


def test_back_off_doubles_from_ten_seconds_to_ten_minutes():
    def wait(failures):
        return job_policies.remaining_ns(BackoffRecord(failures, NOW), NOW) // NS

    assert [wait(n) for n in range(9)] == [0, 10, 20, 40, 80, 160, 320, 600, 600]


def test_a_success_forgets_earlier_failures():
    early, middle, late = (f"2026-01-01T00:0{n}:00Z" for n in range(3))
    record = job_policies.next_record(
        BackoffRecord(4, 1), [pod(finished=middle)], [pod(finished=early), pod(finished=late)]
    )
    assert record == BackoffRecord(1, timestamps.parse_time(late))


def test_success_by_indexes_and_by_count():
    rules = [{"succeededIndexes": "0-2", "succeededCount": 2}, {"succeededCount": 4}]
    policy = {"spec": {"completions": 10, "successPolicy": {"rules": rules}}}
    assert job_policies.success_message(policy, ((0, 0),)) is None
    assert job_policies.success_message(policy, ((0, 0), (2, 2))) == "Matched rules at index 0"
    assert job_policies.success_message(policy, ((5, 8),)) == "Matched rules at index 1"
