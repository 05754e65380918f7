"""Where a real scheduler put pods that were drawn at random, and why it could not.

`decisions.json` holds clusters of a few nodes and pods that came one after the other; a pod that
could not be placed was taken away again.  Where several nodes are best, Kubernetes draws one: the
recorded one has to be among ours, and the pod is put there.  `configured_decisions.json` is the
same of a scheduler with a configuration of six profiles.
"""

import json
from pathlib import Path

import pytest
from scheduler_world import World

from pytest_kubesim.scheduler import component_config
from pytest_kubesim.scheduler.framework import CycleState, Diagnosis
from pytest_kubesim.scheduler.pod_info import PodInfo
from pytest_kubesim.scheduler.profile import DEFAULT_SCHEDULER_NAME, Profile

CASES, CONFIGURED = (
    json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    for name in ("decisions.json", "configured_decisions.json")
)


def world_of(case, profiles):
    world = World(profiles=profiles)
    for node in case["nodes"]:
        world.api.put("nodes", node)
    world.start()
    for number, selector in enumerate(case["services"]):
        metadata = {"name": f"s{number}", "namespace": "default"}
        world.api.put("services", {"metadata": metadata, "spec": {"selector": selector}})
    return world.run()


def best_nodes(world, pod):
    name = pod["spec"].get("schedulerName", DEFAULT_SCHEDULER_NAME)
    runtime = world.scheduler.runtimes[name]
    info, state = PodInfo(pod), CycleState()
    names, rejected = runtime.run_pre_filters(state, info, Diagnosis())
    assert (names, rejected) == (None, None)
    feasible, mishap = runtime.search.find(state, info, world.scheduler.cache.nodes, 0, Diagnosis())
    assert mishap is None
    scores = runtime.search.score(state, info, feasible)
    return {node.name for node, score in zip(feasible, scores, strict=True) if score == max(scores)}


@pytest.mark.parametrize("case", CASES)
def test_pods_go_where_a_real_scheduler_puts_them(case):
    replay(case, [Profile()])


@pytest.mark.parametrize("case", CONFIGURED["cases"])
def test_so_they_do_with_a_configuration(case):
    replay(case, component_config.load(CONFIGURED["config"]).profiles)


def replay(case, profiles):
    world = world_of(case, profiles)
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
        for gone in recorded.get("gone", ()):
            world.api.remove("pods", f"default/{gone}")
        world.run(11)
