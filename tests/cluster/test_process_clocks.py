"""Clocks that are wrong, in user code and in the binaries of Kubernetes."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from datetime import UTC, datetime
from typing import Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.sim.clock import NS


def test_user_code_reads_the_clock_of_its_process(kubesim: Any) -> None:
    seen: dict[str, Any] = {}

    def operator() -> None:
        seen["before"] = (time.time(), time.monotonic())
        time.sleep(10)
        seen["after"] = (time.time(), time.monotonic())
        seen["now"] = datetime.now(UTC)

    started = kubesim.run(operator)
    kubesim.advance("5s")
    started.process.own_clock().jump(3600 * NS)
    kubesim.advance("6s")

    (wall, monotonic), (later, later_monotonic) = seen["before"], seen["after"]
    assert later - wall == 3610
    assert round(later_monotonic - monotonic, 6) == 10
    assert round((seen["now"] - kubesim.clock.now).total_seconds(), 3) == 3599


def waits(seconds: float) -> list[float]:
    """How long the waits of the standard library take, on the monotonic clock."""
    found: list[float] = []
    event, items = threading.Event(), queue.Queue[int]()

    def measured(wait: Any) -> None:
        begun = time.monotonic()
        wait()
        found.append(round(time.monotonic() - begun, 3))

    def empty() -> None:
        try:
            items.get(timeout=seconds)
        except queue.Empty:
            return

    measured(lambda: time.sleep(seconds))
    measured(lambda: event.wait(seconds))
    measured(empty)
    return found


def test_the_waits_of_a_fast_clock_are_short_in_truth_and_right_to_itself(kubesim: Any) -> None:
    found: list[float] = []
    ends: list[float] = []

    def operator() -> None:
        found.extend(waits(10))
        ends.append(kubesim.clock.time)

    started = kubesim.run(operator)
    started.process.own_clock().drift(250_000)
    kubesim.advance("60s")

    assert found == [10, 10, 10]
    assert round(ends[0], 3) == 24


def test_timers_of_asyncio_follow_the_drift_and_not_the_jumps(kubesim: Any) -> None:
    ends: dict[str, float] = {}

    async def drifting() -> None:
        await asyncio.sleep(10)
        ends["drifting"] = kubesim.clock.time

    async def jumping() -> None:
        await asyncio.sleep(10)
        ends["jumping"] = kubesim.clock.time

    kubesim.run(drifting).process.own_clock().drift(250_000)
    kubesim.run(jumping).process.own_clock().jump(-3600 * NS)
    kubesim.advance("60s")

    assert {name: round(end, 3) for name, end in ends.items()} == {"drifting": 8, "jumping": 10}


def test_the_api_server_stamps_objects_with_its_own_time(kubesim: Any) -> None:
    kubesim.server.process.own_clock().jump(-3600 * NS)
    made = kubesim.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    stamp = timestamps.parse_time(made["metadata"]["creationTimestamp"])

    assert stamp // NS == kubesim.clock.now.timestamp() - 3600


def test_a_token_ends_early_for_a_server_whose_clock_is_ahead(kubesim: Any) -> None:
    client = kubesim.control_plane.admin("asker", "test/1")
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    answer = kubesim.perform(client.create(
        GroupVersionResource("", "v1", "serviceaccounts"), "default", request,
        name="default", subresource="token",
    ))
    token = answer["status"]["token"]
    authenticators = kubesim.server.authenticators
    assert authenticators.user_of(token) is not None
    kubesim.server.process.own_clock().jump(661 * NS)

    assert authenticators.user_of(token) is None


def test_a_kubelet_whose_clock_is_behind_writes_old_times_and_stays_ready(kubesim: Any) -> None:
    kubesim.add_nodes(1)
    kubelet = kubesim.nodes["node-1"].machine.kubelet.process
    kubelet.own_clock().jump(-3600 * NS)
    kubesim.advance("10m")
    lease = kubesim.get("lease/node-1", namespace="kube-node-lease")
    renewed_ns = timestamps.parse_micro_time(lease["spec"]["renewTime"])
    node = kubesim.get("node/node-1")

    behind = kubesim.clock.now.timestamp() - renewed_ns / NS
    assert 3600 <= behind <= 3620
    ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"


def test_cron_jobs_run_by_the_controllers_clock(kubesim: Any) -> None:
    container = {"name": "c", "image": "busybox"}
    kubesim.apply({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "hourly"},
        "spec": {
            "schedule": "0 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "containers": [container], "restartPolicy": "Never",
            }}}},
        },
    })
    manager = kubesim.control_plane.controller_managers[0].process
    manager.own_clock().jump(1800 * NS)
    kubesim.apply({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "other"},
        "spec": {
            "schedule": "0 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "containers": [container], "restartPolicy": "Never",
            }}}},
        },
    })
    kubesim.advance("31m")

    assert len([j for j in kubesim.list("jobs") if j["metadata"]["name"].startswith("other")]) == 1


def test_an_api_server_dates_its_answers_by_its_own_clock(kubesim: Any) -> None:
    process = kubesim.server.process
    process.own_clock().jump(-3600 * NS)

    answer = kubesim.client("httpx").get("/version")

    shown = datetime.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs((kubesim.clock.now - shown).total_seconds() - 3600) <= 1
