"""What virtual time costs where nothing happens.

- an hour of 100 idle nodes: 36,000 renewals of leases and 1,200 reports of status (budget: 1 s);
- ten days of a control plane without nodes (0.3 s).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
from measuring import say

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig

pytest.importorskip("pytest_benchmark")

BenchmarkFixture: TypeAlias = Any


def _idle(benchmark: BenchmarkFixture, nodes: int, span: str, budget: str) -> None:
    def cluster() -> tuple[tuple[Cluster], dict[str, Any]]:
        made = Cluster(ClusterConfig())
        if nodes:
            made.add_nodes(nodes)
        made.advance("1m")
        return (made,), {}

    def pass_time(made: Cluster) -> None:
        made.advance(span)

    benchmark.pedantic(pass_time, setup=cluster, rounds=3)
    took = benchmark.stats.stats.median
    say(f"{span} of {nodes} idle nodes", f"{took:.2f} s", budget)


def test_an_hour_of_100_idle_nodes(benchmark: BenchmarkFixture) -> None:
    _idle(benchmark, 100, "1h", "1 s")


def test_ten_days_without_nodes(benchmark: BenchmarkFixture) -> None:
    _idle(benchmark, 0, "240h", "0.3 s")
