"""Create and get through the official client, in process and against a real control plane.

Budget: at least three times the rate of a real kube-apiserver with etcd on the same machine
(`KUBESIM_ORACLE`, see `measuring`).
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import pytest
from measuring import ORACLE, needs_oracle, now, real_time, say

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.transports.driver import Driver

pytest.importorskip("pytest_benchmark")
client = pytest.importorskip("kubernetes.client")

BenchmarkFixture: TypeAlias = Any

_NUMBERS = itertools.count()
_rates: dict[str, float] = {}


def create_and_get(core: Any, run: str) -> None:
    name = f"bench-{run}-{next(_NUMBERS)}"
    body = client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, labels={"bench": "1"}), data={"key": "value"}
    )
    core.create_namespaced_config_map("default", body)
    core.read_namespaced_config_map(name, "default")


@real_time
def test_in_process(benchmark: BenchmarkFixture) -> None:
    cluster = Cluster(ClusterConfig(), doors=Driver.shared())
    try:
        core = client.CoreV1Api(cluster.client("kubernetes"))
        benchmark.pedantic(create_and_get, args=(core, "sim"), rounds=500, warmup_rounds=20)
    finally:
        cluster.close()
    _rates["in process"] = 1 / benchmark.stats.stats.median
    say("create and get in process", f"{_rates['in process']:.0f}/s", "3 times the real rate")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
@needs_oracle
def test_against_a_real_control_plane(benchmark: BenchmarkFixture) -> None:
    config = pytest.importorskip("kubernetes.config")
    core = client.CoreV1Api(config.new_client_from_config(ORACLE))
    run = str(int(now() * 1000))
    try:
        benchmark.pedantic(create_and_get, args=(core, run), rounds=500, warmup_rounds=20)
    finally:
        core.delete_collection_namespaced_config_map("default", label_selector="bench")
    rate = 1 / benchmark.stats.stats.median
    say("create and get, real", f"{rate:.0f}/s", "what is compared with")
    if "in process" in _rates:
        say("ratio", f"{_rates['in process'] / rate:.1f}", ">= 3")
