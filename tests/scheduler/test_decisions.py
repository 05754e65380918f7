"""Where a real scheduler put pods that were drawn at random, and why it could not.

`decisions.json` holds clusters of a few nodes and pods that came one after the other; a pod that
could not be placed was taken away again.  Where several nodes are best, Kubernetes draws one: the
recorded one has to be among ours, and the pod is put there.
"""

import json
from pathlib import Path

import pytest
from scheduler_world import World

from pytest_kubesim.scheduler.framework import CycleState, Diagnosis
from pytest_kubesim.scheduler.pod_info import PodInfo

CASES = json.loads((Path(__file__).parent / "decisions.json").read_text(encoding="utf-8"))


def world_of(case):
    world = World()
    for node in case["nodes"]:
        world.api.put("nodes", node)
    world.start()
    for number, selector in enumerate(case["services"]):
        metadata = {"name": f"s{number}", "namespace": "default"}
        world.api.put("services", {"metadata": metadata, "spec": {"selector": selector}})
    return world.run()


def best_nodes(world, pod):
    runtime = world.scheduler.runtimes["default-scheduler"]
    info, state = PodInfo(pod), CycleState()
    names, rejected = runtime.run_pre_filters(state, info, Diagnosis())
    assert (names, rejected) == (None, None)
    feasible, mishap = runtime.search.find(state, info, world.scheduler.cache.nodes, 0, Diagnosis())
    assert mishap is None
    scores = runtime.search.score(state, info, feasible)
    return {node.name for node, score in zip(feasible, scores, strict=True) if score == max(scores)}


@pytest.mark.parametrize("case", CASES)
def test_pods_go_where_a_real_scheduler_puts_them(case):
    world = world_of(case)
    for number, recorded in enumerate(case["pods"]):
        name, labels, spec = f"p{number}", recorded["labels"], recorded["spec"]
        if "why" in recorded:
            world.pod(name, labels=labels, **spec)
            world.run(1)
            assert world.why(name) == recorded["why"], spec
            world.api.remove("pods", f"default/{name}")
        else:
            pod = {"metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels}, "spec": spec}
            assert recorded["node"] in best_nodes(world, pod), spec
            world.pod(name, labels=labels, nodeName=recorded["node"], **spec)
        world.run(11)
