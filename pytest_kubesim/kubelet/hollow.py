"""Pods of hollow kubelets: what runs in them, and what is told of them.

The law (kwok's stages of `kustomize/stage/pod/fast`): containers run, whatever is in their images
and whether or not what they refer to is there; init containers and those of Jobs complete; gates
are open.  Only what a test itself says of an image, a pod or a container comes before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.cri.programs import exits, runs_forever
from pytest_kubesim.kubelet import pod_conditions
from pytest_kubesim.kubelet.restart_policy import is_sidecar

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.programs import Program

_RUNS = runs_forever()
_ENDS = exits(0)
_ENDS_AT_ONCE, _ENDS_SOON = exits(0, after="50ms"), exits(0, after="2s")
_STARTED = frozenset(("Initialized", "Ready", "ContainersReady"))
_NOT_TOLD = frozenset(("allocatedResources", "resources", "observedGeneration"))
_TOLD = ("name", "image", "imageID", "ready", "restartCount", "state", "lastState")
_NO_STATUS: Object = {}


def program_of(pod: Object, container: Object, *, instant: bool) -> Program:
    """What such a container runs; `instant`, whether one that has started is seen at once."""
    if container in (pod["spec"].get("initContainers") or ()) and not is_sidecar(container):
        return _ENDS
    of_job = any(owner["kind"] == "Job" for owner in meta.owner_references(pod))
    if not of_job:
        return _RUNS
    return _ENDS_AT_ONCE if instant else _ENDS_SOON


def with_gates(pod: Object, conditions: list[Object]) -> list[Object]:
    """Conditions among which those of the pod's readiness gates are true."""
    gates = {gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()}
    if not gates:
        return conditions
    others = [c for c in conditions if c["type"] not in gates]
    return [*others, *({"type": gate, "status": "True"} for gate in sorted(gates))]


def told(pod: Object, shown: Object, status: Object, now: str) -> Object:
    """The part of a status that is told; `shown` is the pod's status in the API so far."""
    found: Object = {
        key: value for key, value in status.items() if key not in _NOT_TOLD or key in shown
    }
    if status.get("phase") == pod_conditions.SUCCEEDED and shown.get("conditions"):
        found["conditions"] = shown["conditions"]
    else:
        found["conditions"] = _conditions(pod, shown, status["conditions"], now)
    for key in ("containerStatuses", "initContainerStatuses"):
        if status.get(key):
            specs: list[Object] = pod["spec"][_SPECS[key]]
            images = {spec["name"]: spec.get("image") or "" for spec in specs}
            of_name = {each["name"]: each for each in status[key]}
            found[key] = [
                _container(of_name[name], image)
                for name, image in images.items()
                if name in of_name
            ]
            if key == "containerStatuses":
                found[key] = list(map(_with_started, found[key]))
    return found


_SPECS = {"containerStatuses": "containers", "initContainerStatuses": "initContainers"}


def _conditions(
    pod: Object, shown: Object, conditions: list[Object], now: str
) -> list[Object]:
    kept = [
        {k: v for k, v in c.items() if k != "observedGeneration"} if c["type"] in _STARTED else c
        for c in conditions
        if c["type"] != "PodReadyToStartContainers"
    ]
    there = {c["type"]: c for c in shown.get("conditions") or () if c["status"] == "True"}
    return [
        there.get(c["type"], {**c, "lastTransitionTime": now})
        if "lastTransitionTime" not in c
        else c
        for c in with_gates(pod, kept)
    ]


def _with_started(status: Object) -> Object:
    return {**status, "started": False} if "terminated" in status["state"] else status


def _container(status: Object, image: str) -> Object:
    state: Object = {
        kind: {k: v for k, v in what.items() if k != "containerID"}
        for kind, what in status["state"].items()
    }
    found: Object = {key: status[key] for key in _TOLD if key in status}
    return found | {"image": image, "imageID": "", "state": state}
