"""Faults as records: they print as the Python that makes them, and read back from JSON."""

import json
from types import SimpleNamespace

import pytest

from pytest_kubesim import UsageError, fault
from pytest_kubesim.faults import nemesis
from pytest_kubesim.faults.fault import Fault
from pytest_kubesim.sim.rng import Rng

RECORDS = [
    fault.api(client="operator", verb="update", resource="statefulsets").fail(409, times=2),
    fault.api(service_account="default/op", verb=("get", "list")).fail(429, retry_after=7, after=3),
    fault.api(user="system:node:node-1", name="x").refuse(times=None),
    fault.api(user_agent="manager/", host="client:manager").reset(),
    fault.api(client="operator").delay("250ms", at="1m", until="2m"),
    fault.api(verb="write").apply_but_drop_answer(),
    fault.api(client="operator").hold_answer(until="90s"),
    fault.api(client="operator").cut_watch(at=5.5),
    fault.api(client="operator").expire_watch(),
    fault.api(client="operator").delay_events("3s").for_("1m"),
    fault.api(client="operator").hold_events(until=fault.holds("pod/a", {"status": {"phase": "Running"}})),
    fault.api(client="operator").coalesce_events("10s"),
    fault.view(client="operator", kind="Database").freeze(at="10s", until="13s"),
    fault.etcd().slow("2s", for_="1m"),
    fault.etcd("etcd-2").crash().for_("30s"),
    fault.etcd().compact(when=fault.after_write(2, client="operator", verb=("create", "update"))),
    fault.etcd().restore("before", at="5m"),
    fault.partition("node-1", "control-plane").for_("90s"),
    fault.partition("node-1", "*", one_way=True, at="5s"),
    fault.latency("operator", "control-plane", "100ms", jitter="20ms"),
    fault.loss("node-1", "control-plane", 0.25).for_("1m"),
    fault.node("node-1").crash(when=fault.changed("database/db", "status.phase", to="Ready")),
    fault.node("node-1").pressure("memory", available="50Mi"),
    fault.node("node-1").skew_clock("5m", behind=True),
    fault.container(pod="db-*", container="postgres").exit(3),
    fault.container(pod="db-0").fail_probe("liveness", message="no").for_("2m"),
    fault.image("my/app:*").pull_error("unreachable", for_="5m"),
    fault.operator("operator").crash(at_write=2, moment="after", restart_after="5s"),
    fault.process("kube-scheduler").drift_clock(200),
    fault.api_server("kube-apiserver-2").stop(for_="1m"),
    fault.webhook("default/policy").time_out(times=None),
    fault.webhook("default/policy").answer({"response": {"allowed": False}}),
    fault.webhook("default/policy").fail(503, times=3),
]


@pytest.mark.parametrize("record", RECORDS, ids=repr)
def test_a_fault_prints_as_the_python_that_makes_it(record: Fault):
    kubesim = SimpleNamespace(faults=fault)
    assert eval(repr(record), {"kubesim": kubesim}) == record  # noqa: S307 - that is the claim


@pytest.mark.parametrize("record", RECORDS, ids=repr)
def test_a_fault_reads_back_from_json(record: Fault):
    assert Fault.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_repr_reads_well():
    assert repr(RECORDS[0]) == (
        "kubesim.faults.api(client='operator', verb='update', resource='statefulsets')"
        ".fail(409, times=2)"
    )
    assert repr(RECORDS[17]) == "kubesim.faults.partition('node-1', 'control-plane').for_('90s')"
    assert repr(RECORDS[21]) == (
        "kubesim.faults.node('node-1').crash("
        "when=kubesim.faults.changed('database/db', 'status.phase', to='Ready'))"
    )


@pytest.mark.parametrize(("say", "words"), [
    (lambda: fault.api(verb="eat").reset(), "the verbs are get, list"),
    (lambda: fault.api().fail(418), "409, 410, 429, 500, 503, 504"),
    (lambda: fault.api().reset(times=0), "at least once"),
    (lambda: fault.api().reset(forr="3s"), "did you mean 'for_'? the options are times=, after=; as every fault at=, until=, when=, for_="),
    (lambda: fault.api(service_account="op"), "'namespace/name'"),
    (lambda: fault.node("n").pressure("coffee"), "'memory', 'disk', 'pid'"),
    (lambda: fault.node("n").crash(at="soon"), "not a duration"),
    (lambda: fault.node("n").crash(at="2m", until="1m"), "ends before it begins"),
    (lambda: fault.node("n").crash(at="2m", when=fault.after_write(1)), "leave one out"),
    (lambda: fault.node("n").crash(until="2m").for_("1m"), "leave one out"),
    (lambda: fault.container().fail_probe("alive"), "'startup', 'liveness', 'readiness'"),
    (lambda: fault.operator("o").crash(at_write=0), "counted from 1"),
    (lambda: fault.operator("o").crash(at_write=1, moment="during"), "'before', 'at', 'after'"),
    (lambda: fault.after_write(0), "counted from 1"),
    (lambda: fault.holds(3), "no trigger"),
])
def test_what_cannot_be_meant_is_refused_with_what_can(say, words):
    with pytest.raises(UsageError) as error:
        say()
    assert words in str(error.value)


class _Ground:
    def clients(self):
        return ["operator"]

    def victims(self):
        return {"node": ["node-1", "node-2"], "operator": ["operator"], "api_server": ["kube-apiserver-1"], "etcd": []}


def test_a_random_schedule_is_a_function_of_the_seed_and_every_fault_has_draws_of_its_own():
    def drawn(seed: int, count: int) -> list[str]:
        found = nemesis.schedule(
            Rng(seed), _Ground(), count, begin_ns=0, within_ns=60 * 10**9, kinds=tuple(nemesis.KINDS)
        )
        return [repr(each) for each in found]

    assert drawn(1, 6) == drawn(1, 6)
    assert drawn(1, 6) != drawn(2, 6)
    assert set(drawn(1, 3)) < set(drawn(1, 6))
