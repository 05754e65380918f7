"""Which pods a real scheduler tried again after what, and where they went then.

`requeueing.json` holds clusters that were drawn at random: pods came one after the other, then
something changed every few seconds: labels, taints, room, pods, nodes.  Told are the attempts to
schedule each pod since the step before (from the real scheduler's log) and where pods are, as far
as that has changed.  Pods that were placed at once are put where they were.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cluster_player
import pytest

from pytest_kubesim.scheduler.scheduling_queue import SchedulingQueue

CASES = json.loads((Path(__file__).parent / "requeueing.json").read_text(encoding="utf-8"))
NAMESPACE = "requeueing"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MERGE = "application/merge-patch+json"


class Watched(cluster_player.ClusterWorld):
    """A cluster that tells what has happened since it was asked last."""

    def __init__(self, attempts: Counter[str]) -> None:
        super().__init__(kubelets=True)
        self._attempts = attempts
        self._where: dict[str, str | None] = {}

    def since(self) -> tuple[dict[str, int], dict[str, Any]]:
        attempts = dict(self._attempts)
        self._attempts.clear()
        where = {
            pod["metadata"]["name"]: pod["spec"].get("nodeName")
            for pod in self.call({"method": "GET", "path": PODS})["body"]["items"]
        }
        before, self._where = self._where, where
        changed = {name: node for name, node in where.items() if before.get(name, 0) != node}
        return attempts, changed | dict.fromkeys(set(before) - set(where), "gone")


@pytest.mark.parametrize("case", CASES)
def test_pods_are_tried_again_when_a_real_scheduler_tries_them(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: Counter[str] = Counter()
    pop = SchedulingQueue.pop

    async def counted(queue: SchedulingQueue) -> Any:
        queued = await pop(queue)
        if queued.pod.namespace == NAMESPACE:
            attempts[queued.pod.name] += 1
        return queued

    monkeypatch.setattr(SchedulingQueue, "pop", counted)
    world = Watched(attempts)
    namespace = {"metadata": {"name": NAMESPACE}}
    world.call({"method": "POST", "path": "/api/v1/namespaces", "body": namespace})
    for node in case["nodes"]:
        world.call({"method": "POST", "path": "/api/v1/nodes", "body": node})
    world.wait(5)
    for step in case["pods"]:
        pod = step["pod"]
        if step["node"]:
            pod = {**pod, "spec": {**pod["spec"], "nodeName": step["node"]}}
        world.call({"method": "POST", "path": PODS, "body": pod})
        world.wait(0.7)
        assert world.since() == (step["attempts"], step["where"]), pod["metadata"]["name"]
    world.wait(3)
    assert world.since() == (case["first"]["attempts"], case["first"]["where"])
    for step in case["events"]:
        request = {"method": step["method"], "path": step["path"].replace("$ns", NAMESPACE)}
        if "body" in step:
            request["body"] = step["body"]
        request["type"] = step.get("type") or (MERGE if step["method"] == "PATCH" else "application/json")
        world.call(request)
        world.wait(2.6)
        assert world.since() == (step["attempts"], step["where"]), request
    world.close()
