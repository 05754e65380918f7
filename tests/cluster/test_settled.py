"""What every cluster begins with is what its controllers write."""

from __future__ import annotations

import zlib

from pytest_kubesim.cluster import settled
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.data import load


def test_what_is_kept_is_what_the_controllers_write() -> None:
    written = zlib.decompress(settled.recorded(load.LATEST, 1_600_000_000_000_000_000))
    assert load.read_bytes(load.LATEST, settled.FILE) == written


def test_a_cluster_that_nobody_touches_is_quiet_from_the_first_instant() -> None:
    cluster = Cluster()
    cluster.advance("1h")
    assert cluster.meaningful_writes == 0
    assert [o["metadata"]["name"] for o in cluster.list("serviceaccounts", namespace="default")] == ["default"]
    cluster.close()
