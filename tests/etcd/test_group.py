"""Several members: what clients are told when members crash, ways are cut, disks are slow or full."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim.etcd.group import Group
from pytest_kubesim.etcd.messages import (
    Compare,
    ErrDeadlineExceeded,
    ErrNoLeader,
    ErrNoSpace,
    EtcdError,
    PutRequest,
    WatchResponse,
)
from pytest_kubesim.sim.faultpoints import FaultPoints
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network

MS, S = 1_000_000, 1_000_000_000


class Run:
    def __init__(self, count: int = 3, seed: int = 1, latency_ns: tuple[int, int] = (0, 0)) -> None:
        self.kernel = Kernel(seed=seed)
        self.network = Network(self.kernel, latency_ns)
        self.group = Group(self.kernel, self.network, FaultPoints(), count)
        self.group.start()
        self.client = self.group.client("kube-apiserver", "control-plane")

    def do(self, coro: Any) -> Any:
        return self.kernel.run_coroutine(coro)

    def wait(self, seconds: float) -> None:
        self.kernel.run(until_ns=self.kernel.now_ns + round(seconds * S))

    def fails(self, coro: Any) -> tuple[str, float]:
        began = self.kernel.now_ns
        with pytest.raises(EtcdError) as caught:
            self.do(coro)
        return str(caught.value), (self.kernel.now_ns - began) / S

    @property
    def leader(self):
        found = self.group.leader
        assert found is not None
        return found

    @property
    def followers(self):
        return [m for m in self.group.members.values() if m is not self.leader]

    def others_of(self, member):
        return [m for m in self.group.members.values() if m is not member]

    def cut(self, one: str, other: str) -> None:
        self.network.cut(one, other)
        self.network.cut(other, one)

    def heal(self, one: str, other: str) -> None:
        self.network.heal(one, other)
        self.network.heal(other, one)

    def isolate(self, member) -> None:
        for other in self.others_of(member):
            self.cut(member.host, other.host)

    def join(self, member) -> None:
        for other in self.others_of(member):
            self.heal(member.host, other.host)

    def hashes(self) -> set[int]:
        self.wait(0.1)
        return {h.hash for h in self.group.hash_kv(encode=lambda v: repr(v).encode()).values()}


def test_a_group_has_a_leader_from_the_beginning() -> None:
    run = Run()
    assert run.leader.term == 1
    assert run.kernel.elapsed_ns == 0


def test_which_member_leads_first_depends_on_the_seed() -> None:
    assert {Run(seed=seed).leader.name for seed in range(20)} == {"etcd-1", "etcd-2", "etcd-3"}


def test_an_idle_hour_costs_nothing() -> None:
    run = Run()
    run.wait(1)
    events = run.kernel.events
    run.wait(3600)
    assert run.kernel.events == events


@pytest.mark.parametrize("count", [3, 5])
def test_what_is_written_is_applied_by_all(count: int) -> None:
    run = Run(count)
    assert run.do(run.client.put("a", 1)).revision == 2
    run.wait(0.1)
    assert [m.member.store.latest("a").value for m in run.group.members.values()] == [1] * count
    assert len(run.hashes()) == 1


def test_a_write_takes_two_syncs_and_the_way_there_and_back() -> None:
    run = Run(latency_ns=(MS, MS))
    run.client._dial()
    began = run.kernel.now_ns
    run.do(run.client.put("a", 1))
    took = run.kernel.now_ns - began
    assert 4 * MS < took < 12 * MS


def test_the_leader_crashes_and_another_is_elected_within_seconds() -> None:
    run = Run()
    run.do(run.client.put("a", 1))
    old = run.leader
    old.crash()
    run.wait(4)
    assert run.leader is not old
    assert run.leader.term == 2
    assert run.do(run.client.get("a")).kvs[0].value == 1
    run.do(run.client.put("b", 2))
    old.start()
    run.wait(1)
    assert not old.is_leader
    assert old.member.store.latest("b").value == 2
    assert len(run.hashes()) == 1


def test_a_write_that_was_passed_on_to_a_dead_leader_is_lost() -> None:
    run = Run()
    run.leader.crash()
    said, took = run.fails(run.client.put("a", 1))
    assert said == "etcdserver: request timed out, possibly due to previous leader failure"
    assert took == 7


def test_a_write_waits_for_a_leader_where_none_is_known() -> None:
    run = Run(seed=4)
    run.leader.crash()
    assert run.kernel.run(lambda: run.client.endpoint.lead == 0, until_ns=run.kernel.now_ns + 3 * S)
    began = run.kernel.now_ns
    run.do(run.client.put("a", 1))
    assert 0 < run.kernel.now_ns - began < 3 * S


def test_without_a_quorum_writes_time_out_after_seven_seconds() -> None:
    run = Run()
    for member in run.followers:
        member.crash()
    run.wait(3)
    said, took = run.fails(run.client.put("a", 1))
    assert said == "etcdserver: request timed out"
    assert took == 7


def test_a_leader_that_reaches_nobody_says_so() -> None:
    run = Run()
    leader = run.leader
    client = run.group.client("c", leader.host)
    run.isolate(leader)
    assert client._dial() is None
    client._disconnect(ErrNoLeader())
    client._connect(leader)
    said, took = run.fails(client.put("a", 1))
    # It has stepped down before the time is over.
    assert said == "etcdserver: request timed out"
    assert took == 7


def test_without_a_quorum_reads_are_tried_for_a_minute_unless_they_are_serializable() -> None:
    run = Run()
    run.do(run.client.put("a", 1))
    for member in run.followers:
        member.crash()
    run.wait(3)
    said, took = run.fails(run.client.get("a"))
    assert said == str(ErrDeadlineExceeded())
    assert took == 60
    assert run.do(run.client.get("a", serializable=True)).kvs[0].value == 1


def test_quorum_comes_back_and_a_write_that_timed_out_may_be_done() -> None:
    run = Run()
    followers = run.followers
    for member in followers:
        member.crash()
    run.fails(run.client.put("a", 1))
    for member in followers:
        member.start()
    run.wait(5)
    run.do(run.client.put("b", 2))
    assert len(run.hashes()) == 1


def test_nobody_answers_where_nobody_is() -> None:
    run = Run()
    for member in list(run.group.members.values()):
        member.crash()
    said, took = run.fails(run.client.put("a", 1))
    assert said.endswith('dial tcp: connect: connection refused"')
    assert took == 0


def test_a_member_in_minority_serves_old_data_to_who_takes_it() -> None:
    run = Run()
    alone = run.followers[0]
    client = run.group.client("c", "host")
    client._disconnect(ErrNoLeader())
    client._connect(alone)
    run.do(run.client.put("a", 1))
    run.wait(1)
    run.isolate(alone)
    writer = run.group.client("w", "host")
    writer._disconnect(ErrNoLeader())
    writer._connect(run.leader)
    run.do(writer.put("a", 2))
    assert run.do(client.get("a", serializable=True)).kvs[0].value == 1
    assert client.member.store.latest("a").value == 1
    run.join(alone)
    run.wait(3)
    assert run.do(client.get("a")).kvs[0].value == 2
    assert client.member.store.latest("a").value == 2


def test_a_member_cut_off_and_back_disturbs_nobody() -> None:
    run = Run()
    leader, alone = run.leader, run.followers[0]
    run.isolate(alone)
    run.wait(60)
    run.join(alone)
    run.wait(5)
    assert run.leader is leader
    assert leader.term == 1


def test_an_old_leader_in_minority_steps_down_and_loses_what_it_alone_has() -> None:
    run = Run()
    old = run.leader
    client = run.group.client("c", "host")
    client._disconnect(ErrNoLeader())
    client._connect(old)
    run.isolate(old)
    run.fails(client.put("lost", 1))
    assert not old.is_leader
    assert run.leader.term == 2
    run.join(old)
    run.wait(3)
    assert run.do(run.client.get("lost")).kvs == ()
    assert len(run.hashes()) == 1


# Watches


def watch(run: Run, client, start: int = 0) -> list[Any]:
    heard: list[Any] = []

    def told(response: WatchResponse) -> None:
        heard.extend(e.kv.value for e in response.events)
        if response.error is not None:
            heard.append(str(response.error))

    run.do(client.watch("a", callback=told, start_revision=start))
    return heard


def test_a_watch_goes_on_at_another_member_when_its_own_crashes() -> None:
    run = Run()
    heard = watch(run, run.client)
    run.do(run.client.put("a", 1))
    run.client.endpoint.crash()
    run.wait(4)
    run.do(run.client.put("a", 2))
    run.wait(1)
    assert heard == [1, 2]


def test_a_watch_ends_when_its_member_has_had_no_leader_for_three_election_timeouts() -> None:
    run = Run()
    alone = run.followers[0]
    run.client._disconnect(ErrNoLeader())
    run.client._connect(alone)
    heard = watch(run, run.client)
    run.isolate(alone)
    run.wait(3)
    assert heard == []
    run.wait(5)
    assert heard == ["etcdserver: no leader"]
    assert run.fails(run.client.watch("a", callback=print))[0] == "etcdserver: no leader"


def test_a_watch_of_a_member_that_cannot_be_reached_lags_until_the_connection_is_given_up() -> None:
    run = Run()
    heard = watch(run, run.client)
    mine = run.client.endpoint
    run.cut(mine.host, run.client.host)
    writer = run.group.client("w", "host")
    run.do(writer.put("a", 1))
    run.wait(39)
    assert heard == []
    run.wait(2)
    assert heard == [1]
    assert run.client.endpoint is not mine


def test_what_was_missed_and_is_compacted_ends_the_watch() -> None:
    run = Run()
    for value in range(5):
        run.do(run.client.put("a", value))
    run.do(run.client.compact(5))
    told: list[WatchResponse] = []
    run.do(run.client.watch("a", callback=told.append, start_revision=2))
    assert [t.compact_revision for t in told] == [5]


# Leases


def test_only_the_leader_lets_leases_expire_and_a_new_one_begins_them_again() -> None:
    run = Run()
    lease = run.do(run.client.lease_grant(10)).id
    run.do(run.client.put("a", 1, lease=lease))
    run.wait(8)
    run.leader.crash()
    run.wait(8)
    assert run.do(run.client.get("a")).kvs, "TTL and an election timeout from the new leader's beginning"
    run.wait(6)
    assert run.do(run.client.get("a")).kvs == ()
    assert len(run.hashes()) == 1


def test_a_lease_that_is_kept_alive_at_a_follower_lives() -> None:
    run = Run()
    follower = run.followers[0]
    run.client._disconnect(ErrNoLeader())
    run.client._connect(follower)
    lease = run.do(run.client.lease_grant(5)).id
    run.do(run.client.put("a", 1, lease=lease))
    for _ in range(5):
        run.wait(4)
        assert run.do(run.client.lease_keep_alive(lease)) == 5
    assert run.do(run.client.lease_time_to_live(lease)).ttl in (4, 5)
    run.wait(6)
    assert run.do(run.client.get("a")).kvs == ()
    assert run.do(run.client.lease_keep_alive(lease)) == 0


def test_a_leader_that_was_frozen_does_not_revoke_what_another_has_renewed() -> None:
    run = Run()
    old = run.leader
    client = run.group.client("c", "host")
    client._disconnect(ErrNoLeader())
    client._connect(run.followers[0])
    lease = run.do(client.lease_grant(10)).id
    run.do(client.put("a", 1, lease=lease))
    old.process.pause()
    run.wait(9)
    assert run.do(client.lease_keep_alive(lease)) == 10
    run.wait(3)
    old.process.resume()
    run.wait(2)
    assert run.do(client.get("a")).kvs


# Disks, logs, snapshots


def test_a_member_starts_again_from_its_log() -> None:
    run = Run()
    for value in range(50):
        run.do(run.client.put(f"k{value % 7}", value))
    before = run.hashes()
    for member in list(run.group.members.values()):
        member.crash()
    for member in run.group.members.values():
        member.start()
    run.wait(5)
    assert run.do(run.client.get("k0")).kvs[0].value == 49
    assert run.hashes() == before


def test_what_was_not_synced_may_be_lost_and_comes_again() -> None:
    run = Run()
    slow = run.followers[0]
    slow.disk.slow((200 * MS, 200 * MS))
    for value in range(5):
        run.do(run.client.put("a", value))
    slow.crash()
    assert slow.wal.load()[2][-1].index < run.leader.applied_index
    slow.disk.slow(None)
    slow.start()
    run.wait(2)
    assert slow.member.store.latest("a").value == 4


def test_a_member_that_was_away_too_long_gets_a_snapshot() -> None:
    run = Run()
    away = run.followers[0]
    away.crash()
    for value in range(20):
        run.do(run.client.put("a", value))
    run.leader.raft.compact(run.leader.applied_index)
    away.start()
    run.wait(2)
    assert away.wal.snapshot_index > 1
    assert away.member.store.latest("a").value == 19
    assert len(run.hashes()) == 1


def test_the_log_is_cut_after_many_entries() -> None:
    run = Run()

    async def write() -> None:
        for value in range(10_100):
            await run.client.put("a", value)

    run.do(write())
    run.wait(1)
    for member in run.group.members.values():
        assert member.wal.snapshot_index >= 10_000
        assert len(member.raft.log.entries) <= 5101
        assert len(member.disk.read()) < 1000
    member = run.followers[0]
    member.crash()
    member.start()
    run.wait(1)
    assert member.member.store.latest("a").value == 10_099


def test_a_slow_disk_of_the_leader_costs_it_its_leadership() -> None:
    run = Run()
    old = run.leader
    old.disk.slow((5 * S, 5 * S))
    run.kernel.spawn(run.client.put("a", 1), name="put", daemon=True)
    run.wait(6)
    assert run.leader is not old


def test_a_full_disk_ends_the_member() -> None:
    run = Run()
    full = run.followers[0]
    full.disk.full = True
    run.do(run.client.put("a", 1))
    run.wait(1)
    assert full.process.state == "crashed"
    full.disk.full = False
    full.start()
    run.wait(1)
    assert full.member.store.latest("a").value == 1


def test_the_alarm_of_no_space_lets_only_reads_and_deletes_pass() -> None:
    run = Run()
    run.do(run.client.put("a", 1))
    run.do(run.group.alarm("NOSPACE"))
    said, _ = run.fails(run.client.txn([Compare("b", "MOD", "EQUAL", 0)], [PutRequest("b", 1)]))
    assert said == str(ErrNoSpace())
    assert run.do(run.client.get("a")).kvs
    assert run.do(run.client.delete("a")).deleted == 1
    run.do(run.group.alarm("NOSPACE", activate=False))
    run.do(run.client.put("b", 1))


def test_an_old_snapshot_is_restored_on_all_members() -> None:
    run = Run()
    run.do(run.client.put("a", 1))
    taken = run.group.snapshot()
    run.do(run.client.put("a", 2))
    run.do(run.client.put("b", 2))
    heard = watch(run, run.client)
    run.group.restore(taken)
    assert run.do(run.client.get("a")).kvs[0].value == 1
    assert run.do(run.client.get("b")).kvs == ()
    assert run.group.observed.revision == 2
    # Who was ahead hears nothing until the store has come to where it was.
    run.do(run.client.put("a", 3))
    run.do(run.client.put("a", 4))
    assert heard == []
    run.do(run.client.put("a", 5))
    assert heard == [5]
    assert len(run.hashes()) == 1


def test_leadership_is_handed_over_on_request() -> None:
    run = Run()
    to = run.followers[0]
    run.group.transfer_leadership(to.name)
    run.wait(1)
    assert run.leader is to
    assert run.group.calm


def test_equal_seeds_give_equal_runs() -> None:
    def go(seed: int) -> str:
        run = Run(seed=seed, latency_ns=(MS // 5, 2 * MS))
        for round_ in range(5):
            run.do(run.client.put("a", round_))
            run.leader.crash()
            run.wait(5)
            for member in run.group.members.values():
                member.start()
        return run.kernel.journal.digest()

    assert go(1) == go(1) != go(2)
