"""Operators with replicas: the leader elections that user code brings along."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

LEASE = "lease/my-operator"


def by_the_official_client(journal: list[tuple[float, str]], kubesim: Any) -> Any:
    """An operator that works while it leads, by `kubernetes.leaderelection`."""
    leaderelection: Any = pytest.importorskip("kubernetes.leaderelection.leaderelection")
    from kubernetes import config
    from kubernetes.leaderelection import electionconfig
    from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

    def main() -> None:
        config.load_incluster_config()
        name = socket.gethostname()

        def work() -> None:
            while True:
                journal.append((kubesim.clock.time, name))
                time.sleep(1)

        lock: Any = LeaseLock("my-operator", "default", name)
        election: Any = electionconfig.Config(
            lock, lease_duration=15, renew_deadline=10, retry_period=2,
            onstarted_leading=work, onstopped_leading=None,
        )
        leaderelection.LeaderElection(election).run()

    return main


def workers(journal: list[tuple[float, str]], since: float, until: float) -> set[str]:
    return {name for at, name in journal if since <= at < until}


def test_of_two_replicas_one_works(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("60s")

    assert workers(journal, 0, 60) == {"op"}
    assert kubesim.get(LEASE)["spec"]["holderIdentity"] == "op"


def test_when_the_leader_crashes_the_other_takes_over(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    first = kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("30s")
    first.crash()
    kubesim.advance("60s")

    assert workers(journal, 31, 90) == {"op-2"}
    assert not workers(journal, 31, 42)


def test_a_leader_that_was_frozen_goes_on_beside_the_new_one(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    first = kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("30s")
    first.pause()
    kubesim.advance("60s")
    assert workers(journal, 31, 90) == {"op-2"}
    first.resume()
    kubesim.advance("10s")

    assert workers(journal, 90, 95) == {"op", "op-2"}
    assert kubesim.get(LEASE)["spec"]["holderIdentity"] == "op-2"


@pytest.mark.kubesim(control_planes=3)
def test_replicas_go_on_when_an_api_server_goes(kubesim: Any) -> None:
    journal: list[tuple[float, str]] = []
    kubesim.run(by_the_official_client(journal, kubesim), name="op", replicas=2)
    kubesim.advance("20s")
    for server in kubesim.control_plane.servers[:2]:
        server.process.crash()
    kubesim.advance("60s")

    assert workers(journal, 0, 80) == {"op"}
