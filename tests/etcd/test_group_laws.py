"""Members, disks, ways and clients under random faults: what clients saw could have happened in turn."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pytest_kubesim.checkers.linearizability import Operation, violations
from pytest_kubesim.etcd.group import Group
from pytest_kubesim.etcd.messages import Compare, EtcdError, PutRequest, prefix_end
from pytest_kubesim.sim.faultpoints import FaultPoints
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network

MS = 1_000_000
MEMBERS = st.integers(0, 4)
KEYS = st.sampled_from(["a", "b"])


class Groups(RuleBasedStateMachine):
    @initialize(count=st.sampled_from([3, 3, 5]), seed=st.integers(0, 999), latency=st.sampled_from([(0, 0), (MS // 5, 3 * MS)]))
    def begin(self, count: int, seed: int, latency: tuple[int, int]) -> None:
        self.kernel = Kernel(seed=seed)
        self.network = Network(self.kernel, latency)
        self.group = Group(self.kernel, self.network, FaultPoints(), count)
        self.group.start()
        self.members = list(self.group.members.values())
        self.clients = [self.group.client(f"client-{i}", f"host-{i}") for i in range(3)]
        self.heard: list[list[tuple[int, str]]] = [[] for _ in self.clients]
        for client, heard in zip(self.clients, self.heard, strict=True):
            def told(response: Any, heard: Any = heard) -> None:
                heard += [(e.kv.mod_revision, e.kv.key) for e in response.events]

            client.member.store.watch("\0", "\0", 0, told)
        self.events: list[tuple[int, str]] = []
        self.group.observed.watch("\0", "\0", 0, lambda r: self.events.extend((e.kv.mod_revision, e.kv.key) for e in r.events))
        self.history: list[Operation] = []
        self.values = 0
        self.leaders: dict[int, str] = {}
        self.cuts: list[tuple[str, str]] = []
        self.lossy: list[tuple[str, str]] = []

    def member(self, i: int):
        return self.members[i % len(self.members)]

    def ask(self, client: int, kind: str, key: str) -> None:
        asked = self.clients[client % 3]
        self.values += 1
        value = self.values

        async def go() -> None:
            called = self.kernel.now_ns
            at = len(self.history)
            argument = value
            if kind == "cas":
                kvs = asked.member.store.range(key).kvs
                known = kvs[0].value if kvs else None
                argument = (known, value)
            self.history.append(Operation(kind, key, argument, None, called))
            answer: Any = None
            try:
                if kind == "get":
                    kvs = (await asked.get(key)).kvs
                    answer = kvs[0].value if kvs else None
                elif kind == "put":
                    await asked.put(key, value)
                elif kind == "delete":
                    await asked.delete(key)
                elif known is None:
                    answer = (await asked.txn([Compare(key, "MOD", "EQUAL", 0)], [PutRequest(key, value)])).succeeded
                else:
                    answer = (await asked.txn([Compare(key, "VALUE", "EQUAL", known)], [PutRequest(key, value)])).succeeded
            except EtcdError:
                return
            self.history[at] = Operation(kind, key, argument, answer, called, self.kernel.now_ns)

        self.kernel.spawn(go(), name="asks")

    @rule(client=MEMBERS, kind=st.sampled_from(["get", "get", "put", "put", "delete", "cas"]), key=KEYS)
    def asks(self, client: int, kind: str, key: str) -> None:
        self.ask(client, kind, key)

    @rule(ms=st.sampled_from([0, 1, 1, 3, 50, 300, 1500, 5000]))
    def time_passes(self, ms: int) -> None:
        self.kernel.run(until_ns=self.kernel.now_ns + ms * MS)

    @rule(i=MEMBERS)
    def crashes(self, i: int) -> None:
        self.member(i).crash()

    @rule()
    def the_leader_crashes(self) -> None:
        if (leader := self.group.leader) is not None:
            leader.crash()

    @rule(i=MEMBERS)
    def starts(self, i: int) -> None:
        self.member(i).start()

    @rule(i=MEMBERS, ms=st.sampled_from([1, 2000]))
    def freezes_for_a_while(self, i: int, ms: int) -> None:
        process = self.member(i).process
        process.pause()
        self.kernel.call_later(ms * MS, process.resume)

    @rule(i=MEMBERS, j=st.integers(0, 7), both=st.booleans())
    def a_way_is_cut(self, i: int, j: int, both: bool) -> None:
        host = self.member(i).host
        other = f"host-{j - 5}" if j >= 5 else self.member(j).host
        if host != other:
            for way in [(host, other), (other, host)][: 1 + both]:
                self.network.cut(*way)
                self.cuts.append(way)

    @rule(i=MEMBERS)
    def a_member_is_cut_off(self, i: int) -> None:
        for way in ((self.member(i).host, "*"), ("*", self.member(i).host)):
            self.network.cut(*way)
            self.cuts.append(way)

    @rule(i=MEMBERS, j=st.integers(0, 7), probability=st.sampled_from([0.1, 0.5, 1.0]))
    def a_way_loses(self, i: int, j: int, probability: float) -> None:
        host = self.member(i).host
        other = f"host-{j - 5}" if j >= 5 else self.member(j).host
        for way in ((host, other), (other, host)) if host != other else ():
            self.network.lose(*way, probability)
            self.lossy.append(way)

    @rule()
    def ways_heal(self) -> None:
        for way in self.lossy:
            self.network.lose(*way, 0)
        self.lossy = []
        for way in self.cuts:
            self.network.heal(*way)
        self.cuts = []

    @rule(i=MEMBERS, slow=st.sampled_from([None, (50 * MS, 80 * MS), (700 * MS, 900 * MS)]))
    def a_disk_is_slow(self, i: int, slow) -> None:
        self.member(i).disk.slow(slow)

    @rule(i=MEMBERS)
    def leadership_moves(self, i: int) -> None:
        self.group.transfer_leadership(self.member(i).name)

    @rule(i=MEMBERS)
    def a_log_is_compacted(self, i: int) -> None:
        member = self.member(i)
        if member.running and not member.busy:
            member.raft.compact(min(member.applied_index, member.raft.log.stable))

    @invariant()
    def a_term_has_one_leader(self) -> None:
        for member in getattr(self, "members", ()):
            if member.is_leader:
                assert self.leaders.setdefault(member.term, member.name) == member.name

    def teardown(self) -> None:
        if not hasattr(self, "group"):
            return
        self.ways_heal()
        for member in self.members:
            member.disk.slow(None)
            member.process.resume()
            member.start()
        self.kernel.run(until_ns=self.kernel.now_ns + 150_000 * MS)
        leader = self.group.leader
        assert leader is not None
        assert self.group.calm
        self.kernel.run_coroutine(self.clients[0].put("end", "end"))
        self.kernel.run(until_ns=self.kernel.now_ns + 2000 * MS)
        assert len({member.applied_index for member in self.members}) == 1
        assert len({h.hash for h in self.group.hash_kv(encode=lambda v: repr(v).encode()).values()}) == 1
        assert violations(self.history) == []
        for heard in self.heard:
            assert heard == self.events
        assert self.group.observed.range("\0", prefix_end("")).kvs == leader.member.store.range("\0", prefix_end("")).kvs


Groups.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestGroups = Groups.TestCase
