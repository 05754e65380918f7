"""Which pods go first: the order in which a controller deletes what it has too many of.

The law (`ActivePodsWithRanks` in `pkg/controller/controller_utils.go`): not bound before bound,
pending before unknown before running, not ready before ready, low deletion cost before high, where
more of its relatives share a node, shorter ready (on a logarithmic scale), more restarts, younger
(likewise); at last by UID.  `active_pods` is the same without costs, ranks and logarithms, as the
Job controller has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.apimachinery.golang import parse_int
from pytest_kubesim.controller_manager import fields, pods

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_cost(pod: Object) -> int:
    """What its annotation asks for its life; 0 without one, or with one that is no number."""
    text = meta.annotations(pod).get(POD_DELETION_COST)
    if text is None:
        return 0
    if text[:1] == "+" or (text[:1] == "0" and text != "0") or text[:2] == "-0":
        return 0
    try:
        return parse_int(text, 32)
    except ValueError:
        return 0


def restarts(pod: Object) -> tuple[int, int]:
    """The highest restart counts among its containers and among its sidecars."""
    status = fields.status(pod)
    regular = max(
        (fields.number(c, "restartCount") for c in fields.objects(status, "containerStatuses")),
        default=0,
    )
    sidecars = {
        c["name"]
        for c in fields.objects(pod["spec"], "initContainers")
        if c.get("restartPolicy") == "Always"
    }
    sidecar = max(
        (
            fields.number(c, "restartCount")
            for c in fields.objects(status, "initContainerStatuses")
            if c["name"] in sidecars
        ),
        default=0,
    )
    return regular, sidecar


def first_to_go(
    candidates: Sequence[Object], related: Sequence[Object], count: int, now_ns: int
) -> list[Object]:
    """`count` of the candidates, those that are to be deleted first.

    Parameters: `related`, all pods whose nodes count for the ranks (`getPodsToDelete`); `now_ns`.
    """
    if count >= len(candidates):
        return list(candidates)[:count]
    on_node: dict[str, int] = {}
    for pod in related:
        if pods.is_active(pod):
            node = fields.text(pod["spec"], "nodeName")
            on_node[node] = on_node.get(node, 0) + 1
    return _sorted(candidates, on_node, now_ns)[:count]


def active_pods(candidates: Sequence[Object]) -> list[Object]:
    """All of them, the first to go first, as `ActivePods` sorts them."""
    return _sorted(candidates, None, 0)


def _sorted(
    candidates: Sequence[Object], on_node: Mapping[str, int] | None, now_ns: int
) -> list[Object]:
    facts = [_Facts(pod, on_node, now_ns) for pod in candidates]
    facts.sort(key=cmp_to_key(_compare))
    return [fact.pod for fact in facts]


class _Facts:
    __slots__ = ("created", "head", "pod", "ranked", "ready", "restarts", "uid")

    def __init__(self, pod: Object, on_node: Mapping[str, int] | None, now_ns: int) -> None:
        self.pod = pod
        node = fields.text(pod["spec"], "nodeName")
        ready = pods.ready_time(pod) if pods.is_ready(pod) else None
        self.ranked = on_node is not None
        self.head = (
            bool(node),
            _PHASES.get(pods.phase(pod), 0),
            ready is not None,
            deletion_cost(pod) if on_node is not None else 0,
            -on_node.get(node, 0) if on_node is not None else 0,
        )
        self.ready = (ready, _age(ready, now_ns)) if ready is not None else None
        created = meta.creation_timestamp(pod) or ""
        self.created = (created, _age(created, now_ns))
        regular, sidecar = restarts(pod)
        self.restarts = (-regular, -sidecar)
        self.uid: str = meta.uid(pod)


def _age(since: str, now_ns: int) -> int:
    """The logarithm to base 2 of an age in nanoseconds; -1 for none."""
    if not since:
        return -1
    age_ns = now_ns - timestamps.parse_time(since)
    return int(math.log2(age_ns)) if age_ns > 0 else -1


def _compare(left: _Facts, right: _Facts) -> int:
    if left.head != right.head:
        return -1 if left.head < right.head else 1
    if left.ready is not None and right.ready is not None and left.ready[0] != right.ready[0]:
        return _by_time(left, right, left.ready, right.ready)
    if left.restarts != right.restarts:
        return -1 if left.restarts < right.restarts else 1
    if left.created[0] != right.created[0]:
        return _by_time(left, right, left.created, right.created)
    return 0


def _by_time(
    left: _Facts, right: _Facts, mine: tuple[str, int], other: tuple[str, int]
) -> int:
    if not left.ranked or not mine[0] or not other[0]:
        if not mine[0] or not other[0]:
            return -1 if not mine[0] else 1
        return -1 if mine[0] > other[0] else 1
    if mine[1] == other[1]:
        return -1 if left.uid < right.uid else 1
    return -1 if mine[1] < other[1] else 1
