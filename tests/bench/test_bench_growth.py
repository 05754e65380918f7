"""The cost of a request does not grow with the number of requests before it.

10,000 updates of one object through the API server: the first thousand, the last thousand, and what
memory is held on top while compaction runs every five virtual minutes.
"""

from __future__ import annotations

import gc
import statistics
import tracemalloc
from typing import Any

from measuring import now, say

from pytest_kubesim.client_go.resources import CONFIGMAPS
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig


def _update(cluster: Cluster, obj: dict[str, Any], count: int) -> tuple[dict[str, Any], float]:
    """`count` updates; the object and the median seconds of one."""
    client = cluster.control_plane.admin("bench", "bench/1")
    took: list[float] = []
    for number in range(count):
        body = {**obj, "data": {"key": str(number)}}
        start = now()
        obj = cluster.kernel.run_coroutine(client.update(CONFIGMAPS, "default", body))
        took.append(now() - start)
        if number % 10 == 9:
            cluster.advance("3s")
    return obj, statistics.median(took)


def test_ten_thousand_updates() -> None:
    cluster = Cluster(ClusterConfig())
    obj = cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    obj, _ = _update(cluster, obj, 200)
    obj, first = _update(cluster, obj, 1000)
    obj, _ = _update(cluster, obj, 8000)
    obj, last = _update(cluster, obj, 1000)
    ratio = last / first
    say("the last thousand against the first", f"{ratio:.2f} ({last * 1e6:.0f} us)", "about 1")


def test_memory_of_ten_thousand_updates() -> None:
    cluster = Cluster(ClusterConfig())
    obj = cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    obj, _ = _update(cluster, obj, 2000)
    gc.collect()
    tracemalloc.start()
    obj, _ = _update(cluster, obj, 4000)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    say("held after 4,000 updates more", f"{held / 4000:.0f} bytes an update", "the journal only")
