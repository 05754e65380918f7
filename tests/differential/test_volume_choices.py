"""Which volumes claims got, and where pods went for them, in a real cluster.

`volume_choices.json` holds runs that were drawn at random: volumes, claims and pods come and go.
After each step is told what has changed: the node of each pod or why it has none; the volume, the
phase and the chosen node of each claim; the phase of each volume; null for what is gone.
"""

import json
from pathlib import Path
from typing import Any

import cluster_player
import pytest

CASES = json.loads((Path(__file__).parent / "volume_choices.json").read_text(encoding="utf-8"))
NAMESPACE = "choices"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
SELECTED = "volume.kubernetes.io/selected-node"


def seen(world: cluster_player.ClusterWorld) -> dict[str, dict[str, Any]]:
    def items(path: str) -> dict[str, Any]:
        found = world.call({"method": "GET", "path": path})["body"]["items"]
        return {obj["metadata"]["name"]: obj for obj in found}

    def claim(obj: Any) -> list[Any]:
        chosen = obj["metadata"].get("annotations", {}).get(SELECTED)
        return [obj["spec"].get("volumeName"), obj["status"]["phase"], chosen]

    def pod(obj: Any) -> str:
        conditions = {c["type"]: c for c in obj["status"].get("conditions", [])}
        return obj["spec"].get("nodeName") or conditions["PodScheduled"]["message"]

    return {
        "pods": {name: pod(obj) for name, obj in items(f"{CORE}/pods").items()},
        "claims": {n: claim(obj) for n, obj in items(f"{CORE}/persistentvolumeclaims").items()},
        "volumes": {
            name: obj["status"]["phase"] for name, obj in items("/api/v1/persistentvolumes").items()
        },
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, objects in now.items():
        old = before.get(part, {})
        changed = {name: value for name, value in objects.items() if old.get(name) != value}
        changed |= dict.fromkeys(set(old) - set(objects))
        if changed:
            found[part] = changed
    return found


@pytest.mark.parametrize("case", CASES)
def test_claims_get_the_volumes_that_a_real_cluster_gives_them(case: dict[str, Any]) -> None:
    world = cluster_player.ClusterWorld(kubelets=True)

    def post(path: str, body: Any) -> None:
        world.call({"method": "POST", "path": path, "body": body})

    post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for node in case["nodes"]:
        post("/api/v1/nodes", node)
    for storage_class in case["classes"]:
        post("/apis/storage.k8s.io/v1/storageclasses", storage_class)
    world.wait(5)
    before: dict[str, Any] = {}
    for step in case["steps"]:
        path = step["path"].replace("$ns", NAMESPACE)
        request = {"method": step["method"], "path": path}
        if "body" in step:
            request["body"] = step["body"]
        world.call(request)
        world.wait(2.2 if "/pods" in path else 1.3)
        now = seen(world)
        assert changes(before, now) == step["changed"], request
        before = now
    world.close()
