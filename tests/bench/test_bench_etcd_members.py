"""What agreement costs: a write with 1, 3 and 5 members, and an hour in which nothing happens.

Orders of magnitude to hold: a write with 3 members under 200 us, a linearizable read of a calm group
under 10 us, an hour with a leader change each minute under a second.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.group import Group
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.faultpoints import FaultPoints
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network

pytest.importorskip("pytest_benchmark")

# pytest-benchmark's fixture, which has no types.
BenchmarkFixture: TypeAlias = Any


def begin(count: int) -> tuple[Kernel, Group | None, Client]:
    kernel = Kernel(seed=1)
    if count == 1:
        return kernel, None, Client(Member(clock=lambda: kernel.now_ns))
    group = Group(kernel, Network(kernel), FaultPoints(), count)
    group.start()
    return kernel, group, group.client("kube-apiserver", "control-plane")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_100_writes(benchmark: BenchmarkFixture, count: int) -> None:
    kernel, _, client = begin(count)

    async def write() -> None:
        for number in range(100):
            await client.put(f"k{number}", number)

    benchmark(lambda: kernel.run_coroutine(write()))


@pytest.mark.parametrize("count", [1, 3])
def test_100_linearizable_reads(benchmark: BenchmarkFixture, count: int) -> None:
    kernel, _, client = begin(count)

    async def read() -> None:
        for number in range(100):
            await client.get(f"k{number}")

    benchmark(lambda: kernel.run_coroutine(read()))


def changes(kernel: Kernel, group: Group) -> None:
    for _ in range(60):
        leader = group.leader
        assert leader is not None
        leader.crash()
        kernel.run(until_ns=kernel.now_ns + 5 * NS)
        leader.start()
        kernel.run(until_ns=kernel.now_ns + 55 * NS)


def test_an_hour_of_three_members_with_a_leader_change_each_minute(
    benchmark: BenchmarkFixture,
) -> None:
    kernel, group, _ = begin(3)
    assert group is not None
    benchmark.pedantic(changes, (kernel, group), rounds=3)


def test_an_hour_of_a_cluster_of_three_and_three_with_a_leader_change_each_minute(
    benchmark: BenchmarkFixture,
) -> None:
    cluster = Cluster(ClusterConfig(control_planes=3, etcd_members=3))
    group = cluster.control_plane.group
    assert group is not None
    benchmark.pedantic(changes, (cluster.kernel, group), rounds=1)
