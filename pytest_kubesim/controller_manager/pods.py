"""What a pod's status says to a controller: ready, available, active, terminating.

Functions of a pod and an instant, called for every pod at every sync: short on purpose.
Follows `pkg/api/v1/pod/util.go` and the predicates of `pkg/controller/controller_utils.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store

CONTROLLER_INDEX = "podController"
STANDING_TALLY = "standing"
NODE_INDEX = "spec.nodeName"
LABEL_INDEX = "labels"

_TERMINAL = ("Succeeded", "Failed")

ACTIVE, TERMINATING, TERMINAL = "active", "terminating", "terminal"

Standing = tuple[str, bool, str, tuple[tuple[str, str], ...]]
"""What a controller that counts pods must know of one: whether it is active, terminating or
terminal; whether it is ready; the UID of its owner, if that is the only one and controls it; its
labels.  A plain tuple: one is made for every version of every pod."""


def phase(pod: Object) -> str:
    """`status.phase`."""
    status = pod.get("status")
    return (status.get("phase") or "") if status else ""


def is_terminal(pod: Object) -> bool:
    """Whether its containers have ended for good."""
    return phase(pod) in _TERMINAL


def is_active(pod: Object) -> bool:
    """Whether it is neither ended nor being deleted."""
    return phase(pod) not in _TERMINAL and not pod["metadata"].get("deletionTimestamp")


def is_terminating(pod: Object) -> bool:
    """Whether it is being deleted and its containers have not ended."""
    return phase(pod) not in _TERMINAL and bool(pod["metadata"].get("deletionTimestamp"))


def standing(pod: Object) -> Standing:
    """What counts of a pod, where pods are counted."""
    metadata = pod["metadata"]
    status = fields.status(pod)
    if status.get("phase") in _TERMINAL:
        state = TERMINAL
    else:
        state = TERMINATING if metadata.get("deletionTimestamp") else ACTIVE
    ready = False
    for condition in fields.objects(status, "conditions"):
        if condition["type"] == "Ready":
            ready = condition["status"] == "True"
            break
    owner = ""
    references = fields.objects(metadata, "ownerReferences")
    if len(references) == 1 and references[0].get("controller"):
        owner = references[0]["uid"]
    return state, ready, owner, tuple(fields.strings(metadata, "labels").items())


def ready_condition(pod: Object) -> Object | None:
    """The condition `Ready`."""
    status = pod.get("status")
    if status:
        for condition in status.get("conditions") or ():
            if condition["type"] == "Ready":
                return condition
    return None


def is_ready(pod: Object) -> bool:
    """Whether its condition `Ready` is true."""
    condition = ready_condition(pod)
    return condition is not None and condition["status"] == "True"


def is_available(pod: Object, min_ready_seconds: int, now_ns: int) -> bool:
    """Whether it has been ready for `min_ready_seconds` at `now_ns`."""
    condition = ready_condition(pod)
    if condition is None or condition["status"] != "True":
        return False
    if min_ready_seconds == 0:
        return True
    since = condition.get("lastTransitionTime")
    if not since:
        return False
    return timestamps.parse_time(since) + min_ready_seconds * NS <= now_ns


def next_availability_check_ns(
    pods: Iterable[Object], min_ready_seconds: int, now_ns: int
) -> int | None:
    """Nanoseconds until the first of the ready pods becomes available; None if none will."""
    if min_ready_seconds <= 0:
        return None
    least: int | None = None
    for pod in pods:
        condition = ready_condition(pod)
        if condition is None or condition["status"] != "True":
            continue
        since = condition.get("lastTransitionTime")
        if not since:
            continue
        wait_ns = timestamps.parse_time(since) + min_ready_seconds * NS - now_ns
        if wait_ns > 0 and (least is None or wait_ns < least):
            least = wait_ns
    return least


def ready_time(pod: Object) -> str:
    """Since when it is ready, as RFC 3339 text; empty if it is not."""
    condition = ready_condition(pod)
    if condition is None or condition["status"] != "True":
        return ""
    return fields.text(condition, "lastTransitionTime")


# -- indexes of the pod informer -----------------------------------------------------------------


def controller_key(namespace: str, kind: str, name: str, uid: str) -> str:
    """Where the pods that this object controls are found in `CONTROLLER_INDEX`."""
    return f"{namespace}/{kind}/{name}/{uid}"


def _controller_index(pod: Object) -> tuple[str]:
    metadata = pod["metadata"]
    reference = meta.controller_of(pod)
    if reference is None:
        return (metadata["namespace"],)
    return (
        f"{metadata['namespace']}/{reference['kind']}/{reference['name']}/{reference['uid']}",
    )


def _node_index(pod: Object) -> tuple[str, ...]:
    node = fields.text(fields.spec(pod), "nodeName")
    return (node,) if node else ()


def add_controller_index(store: Store) -> None:
    """Index pods (or ReplicaSets) by what controls them; what nothing controls by namespace."""
    store.add_indexer(CONTROLLER_INDEX, _controller_index)


def add_standing_tally(store: Store) -> None:
    """Count pods by their standing, for each that controls them, and those nothing controls."""
    add_controller_index(store)
    store.add_tally(STANDING_TALLY, CONTROLLER_INDEX, standing)


def standings(store: Store, owner: Object, kind: str) -> Mapping[Standing, int]:
    """How many of the pods that `owner` controls have each standing."""
    metadata = owner["metadata"]
    key = controller_key(metadata["namespace"], kind, metadata["name"], metadata["uid"])
    return store.tally(STANDING_TALLY, CONTROLLER_INDEX, key)


def orphan_standings(store: Store, namespace: str) -> Mapping[Standing, int]:
    """How many of the pods of a namespace that nothing controls have each standing."""
    return store.tally(STANDING_TALLY, CONTROLLER_INDEX, namespace)


def add_node_index(store: Store) -> None:
    """Index pods by the node they are bound to."""
    store.add_indexer(NODE_INDEX, _node_index)


def _label_index(pod: Object) -> list[str]:
    metadata = pod["metadata"]
    namespace = metadata["namespace"]
    return [
        f"{namespace}/{key}={value}" for key, value in fields.strings(metadata, "labels").items()
    ]


def add_label_index(store: Store) -> None:
    """Index pods by each of their labels."""
    store.add_indexer(LABEL_INDEX, _label_index)


def labelled(store: Store, namespace: str, wanted: Mapping[str, str]) -> list[Object]:
    """The pods of a namespace that have all of these labels."""
    if not wanted:
        return store.list(namespace)
    values = [f"{namespace}/{key}={value}" for key, value in wanted.items()]
    fewest = min(values, key=lambda value: store.count(LABEL_INDEX, value))
    found = store.by_index(LABEL_INDEX, fewest)
    if len(values) == 1:
        return found
    pairs = wanted.items()
    return [pod for pod in found if pairs <= pod["metadata"]["labels"].items()]


def of_owner(store: Store, owner: Object, kind: str, *, orphans: bool) -> list[Object]:
    """What `owner` controls, and (`orphans`) what nothing controls in its namespace."""
    metadata = owner["metadata"]
    namespace = metadata["namespace"]
    found = store.by_index(
        CONTROLLER_INDEX, controller_key(namespace, kind, metadata["name"], metadata["uid"])
    )
    if orphans:
        found = found + store.by_index(CONTROLLER_INDEX, namespace)
    return found
