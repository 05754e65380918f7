"""Leader election through a Lease, with candidates that freeze, lose their way, and drift."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim.apimachinery.timestamps import parse_micro_time
from pytest_kubesim.client_go.leader_election import LeaderElector, identity_of
from pytest_kubesim.client_go.record import EventRecorder
from pytest_kubesim.client_go.resources import EVENTS, LEASES
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.network import Network
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import UserInfo
from tests.apiserver.api_world import World

ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"))


class Candidate:
    """A process that notes when it leads."""

    def __init__(self, world: Elections, name: str, *, release: bool = False) -> None:
        self.world = world
        self.release = release
        self.led: list[tuple[float, float]] = []
        self.process = Process(world.kernel, name, self._main)
        self.elector: LeaderElector | None = None
        self.process.start()

    async def _main(self, process: Process) -> None:
        client = self.world.client(process)
        recorder = EventRecorder(client, "candidate")
        elector = self.elector = LeaderElector(
            client, "default", "lock", identity_of(client), recorder,
            release_on_cancel=self.release,
        )
        await elector.acquire()
        since = self.world.now
        self.led.append((since, float("inf")))
        await elector.renew()
        self.led[-1] = (since, self.world.now)

    @property
    def leads(self) -> bool:
        """Whether it believes that it leads."""
        assert self.elector is not None
        return self.elector.is_leader


class Elections(World):
    """An API server, a network, candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(self.kernel)
        self.first = Candidate(self, "first")
        self.wait(1)
        self.second = Candidate(self, "second")
        self.wait(5)

    @property
    def now(self) -> float:
        return self.kernel.elapsed_ns / NS

    def client(self, process: Process) -> RESTClient:
        return RESTClient(
            process, self.server, self.network, user=ADMIN, user_agent="candidate/1"
        )

    def ask(self, verb: str, *arguments: Any) -> Any:
        client = self.client(Process(self.kernel, "asker"))
        return self.kernel.run_coroutine(getattr(client, verb)(*arguments))

    def lease(self) -> Any:
        return self.ask("get", LEASES, "default", "lock")["spec"]

    def cut(self, candidate: Candidate) -> None:
        self.network.cut(candidate.process.host, "control-plane")


@pytest.fixture
def world() -> Elections:
    return Elections()


def test_one_leads_and_renews_every_two_seconds(world: Elections) -> None:
    first = world.lease()
    assert first["holderIdentity"].startswith("first_")
    assert first["leaseDurationSeconds"] == 15
    assert first["leaseTransitions"] == 0
    world.wait(2)
    later = world.lease()

    assert first["acquireTime"] == later["acquireTime"]
    renewed = parse_micro_time(later["renewTime"]) - parse_micro_time(first["renewTime"])
    assert renewed == 2 * NS
    assert not world.second.led


def test_becoming_the_leader_is_an_event_of_the_lease(world: Elections) -> None:
    events = world.ask("list", EVENTS, "default")["items"]

    assert [(e["reason"], e["involvedObject"]["kind"]) for e in events] == [
        ("LeaderElection", "Lease")
    ]
    assert events[0]["message"] == f"{world.lease()['holderIdentity']} became leader"


def test_who_waits_takes_over_fifteen_seconds_after_the_last_change_it_saw(
    world: Elections,
) -> None:
    world.first.process.crash()
    crashed = world.now
    world.wait(60)

    since = world.second.led[0][0]
    assert 13 <= since - crashed <= 15 + 2 * 2.2 + 2
    assert world.lease()["leaseTransitions"] == 1


def test_who_cannot_renew_stops_before_another_one_begins(world: Elections) -> None:
    world.cut(world.first)
    cut = world.now
    world.wait(60)

    _, until = world.first.led[0]
    assert 10 <= until - cut <= 12
    assert world.second.led[0][0] > until


def test_who_was_frozen_believes_that_it_leads_until_it_looks_again(world: Elections) -> None:
    world.first.process.pause()
    world.wait(30)
    assert world.second.leads
    assert world.first.leads
    world.first.process.resume()
    world.wait(12)

    assert not world.first.leads
    assert world.first.led[0][1] < world.now


def test_clocks_that_are_set_wrong_make_no_two_leaders(world: Elections) -> None:
    world.first.process.own_clock().jump(-3600 * NS)
    world.second.process.own_clock().jump(3600 * NS)
    world.wait(600)

    assert world.first.leads
    assert not world.second.led


def test_a_clock_that_runs_fast_makes_two_leaders(world: Elections) -> None:
    world.second.process.own_clock().drift(500_000)
    world.cut(world.first)
    world.wait(60)
    first_until, second_since = world.first.led[0][1], world.second.led[0][0]
    assert second_since - first_until < 3

    world = Elections()
    world.first.process.own_clock().drift(-400_000)
    world.second.process.own_clock().drift(500_000)
    world.cut(world.first)
    world.wait(60)

    assert world.second.led[0][0] < world.first.led[0][1]


def test_a_lease_that_is_given_away_is_taken_at_the_next_try(world: Elections) -> None:
    elector = world.first.elector
    assert elector is not None
    world.first.process.crash()
    world.kernel.run_coroutine(elector.release())
    assert world.lease()["holderIdentity"] == ""
    world.wait(5)

    assert world.second.leads
