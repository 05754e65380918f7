"""The process that runs the controllers, and the shape of a controller."""

import pytest
from controller_world import CATALOG, World, deployment

from pytest_kubesim.apimachinery import status
from pytest_kubesim.client_go import resources
from pytest_kubesim.controller_manager import manager
from pytest_kubesim.controller_manager.controller import Controller, Result, SyncError
from pytest_kubesim.errors import UsageError

assert CATALOG


def test_every_file_is_a_controller_of_its_name():
    import importlib

    for name in manager.simulated():
        module = importlib.import_module(
            f"pytest_kubesim.controller_manager.controllers.{manager.module_of(name)}"
        )
        assert module.CONTROLLER.name == name
        assert module.CONTROLLER.service_account


def test_no_file_is_left_over():
    assert {manager.module_of(name) for name in manager.simulated()} == set(manager._FILES)


def test_controllers_are_chosen_as_on_the_command_line():
    assert manager.select(["job-controller"]) == ("job-controller",)
    assert "job-controller" not in manager.select(["*", "-job-controller"])
    with pytest.raises(UsageError, match="there is no controller 'jobs'"):
        manager.select(["jobs"])


class Probe(Controller):
    name = "probe-controller"
    service_account = "probe"
    max_retries = 3
    calls: list[int] = []
    outcomes: list[object] = []

    def setup(self):
        self.watch(resources.CONFIGMAPS, add=self.enqueue)

    async def reconcile(self, key):
        self.calls.append(self.now_ns())
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def probe():
    Probe.calls, Probe.outcomes = [], []
    w = World("job-controller")
    w.manager.extra = (Probe,)
    w.manager.process.restart()
    w.settle(1)
    return w


def trigger(world):
    world.create(resources.CONFIGMAPS, {"metadata": {"name": "cm"}})


def intervals_ms(calls):
    return [(b - a) // 1_000_000 for a, b in zip(calls, calls[1:], strict=False)]


def test_failures_back_off_and_are_dropped_in_the_end(probe):
    Probe.outcomes = [SyncError("no")] * 9
    trigger(probe)
    probe.settle(60)
    assert intervals_ms(Probe.calls) == [5, 10, 20]


def test_a_refusal_of_the_server_is_retried(probe):
    Probe.outcomes = [status.new_service_unavailable("busy"), None]
    trigger(probe)
    probe.settle(60)
    assert len(Probe.calls) == 2
    assert "busy" in probe.errors()


def test_a_result_asks_for_another_call(probe):
    Probe.outcomes = [Result(3_000_000_000), None]
    trigger(probe)
    probe.settle(60)
    assert intervals_ms(Probe.calls) == [3000]


def test_a_mistake_of_ours_ends_the_run(probe):
    Probe.outcomes = [KeyError("oops")]
    trigger(probe)
    with pytest.raises(KeyError, match="oops"):
        probe.settle(60)


def test_controllers_act_as_service_accounts_of_their_own():
    w = World()
    w.create(resources.DEPLOYMENTS, deployment())
    w.settle()
    users = {c.client.user.name for c in w.manager.running.values()}
    users.discard("system:kube-controller-manager")  # who makes the accounts' tokens has none
    assert "system:serviceaccount:kube-system:deployment-controller" in users
    assert all(user.startswith("system:serviceaccount:kube-system:") for user in users)
    managers = {e["manager"] for e in w.get(resources.DEPLOYMENTS, "web")["metadata"]["managedFields"]}
    assert "kube-controller-manager" in managers


def test_a_crashed_manager_takes_up_where_it_was():
    w = World()
    w.create(resources.DEPLOYMENTS, deployment(replicas=2))
    w.settle()
    w.manager.process.crash()
    for pod in w.pods():
        w.delete(resources.PODS, pod["metadata"]["name"], grace_period_seconds=0)
    w.settle(60)
    assert w.pods() == []
    w.manager.process.start()
    w.settle()
    assert len(w.pods()) == 2


def test_equal_runs_have_equal_journals():
    def run():
        w = World(latency_ns=(500_000, 3_000_000))
        w.create(resources.DEPLOYMENTS, deployment(replicas=5))
        w.settle()
        w.ready_all()
        w.settle()
        return w.kernel.journal.digest()

    assert run() == run()
