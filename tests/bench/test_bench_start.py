"""What it costs to get a cluster, and to have the plugin installed and not use it.

- the first cluster of a process whose modules are imported, and every next one: made with its
  doors, its controllers and scheduler started, closed again (budgets: 10 ms, 2 ms);
- the import of the plugin in a run that does not use it (budget: 10 ms, nothing of the simulator).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
from measuring import in_new_processes, medians, real_time, say

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.transports.driver import Driver

pytest.importorskip("pytest_benchmark")

BenchmarkFixture: TypeAlias = Any

FIRST = """
import gc, importlib, pkgutil, time
clock = [time.perf_counter]
import freezegun
import pytest_kubesim
for module in pkgutil.walk_packages(pytest_kubesim.__path__, "pytest_kubesim."):
    if not module.name.endswith("__main__") and ".data." not in module.name:
        importlib.import_module(module.name)
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.transports.driver import Driver
gc.collect()
start = clock[0]()
cluster = Cluster(ClusterConfig(), doors=Driver.shared())
made = clock[0]()
cluster.advance("0s")
started = clock[0]()
cluster.close()
print((made - start) * 1e3, (started - made) * 1e3)
"""

PLUGIN = """
import time
import pytest, argparse, shlex, warnings, typing, collections.abc
import sys
start = time.perf_counter()
import pytest_kubesim.plugin
end = time.perf_counter()
known = ("pytest_kubesim", "pytest_kubesim.plugin", "pytest_kubesim.hookspecs")
others = [name for name in sys.modules if name.startswith("pytest_kubesim") and name not in known]
print((end - start) * 1e3, len(others))
"""


def test_the_first_cluster() -> None:
    made, started = medians(in_new_processes(FIRST))
    say("the first cluster", f"{made:.1f} ms made, {started:.1f} ms started", "10 ms")


def _get_and_close(span: str) -> None:
    cluster = Cluster(ClusterConfig(), doors=Driver.shared())
    cluster.advance(span)
    cluster.close()


@real_time
@pytest.mark.parametrize("span", ["0s", "1s"])
def test_the_next_cluster(benchmark: BenchmarkFixture, span: str) -> None:
    _get_and_close(span)
    benchmark.pedantic(_get_and_close, args=(span,), rounds=50, warmup_rounds=3)
    took = benchmark.stats.stats.median * 1e3
    say(f"the next cluster and its first {span}", f"{took:.2f} ms", "2 ms")


def test_import_of_the_plugin() -> None:
    took, others = medians(in_new_processes(PLUGIN, rounds=9))
    say("import of the plugin", f"{took:.2f} ms, {others:.0f} modules more", "10 ms, none")
