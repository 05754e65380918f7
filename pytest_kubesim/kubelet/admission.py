"""Whether a pod that was bound to the node may run on it.

Follows `pkg/kubelet/lifecycle/predicate.go`; the checks are the scheduler's own, made once more
against what the kubelet knows, and their words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.cri import cgroups
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.registry.pod_template.resource_names import is_extended

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.meta import Object

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - nobody listens here

AFFINITY_REASON = "node(s) didn't match Pod's node affinity/selector"
NAME_REASON = "node(s) didn't match the requested node name"
PORTS_REASON = "node(s) didn't have free ports for the requested pod ports"
TAINT_REASON = "node(s) had taints that the pod didn't tolerate"


class Rejection(NamedTuple):
    """Why a pod may not run here."""

    reason: str
    message: str


def admit(pod: Object, node: Object, others: Iterable[Object]) -> Rejection | None:
    """None if the pod may run on the node beside the `others`, else why not."""
    spec, meta = pod["spec"], node["metadata"]
    wanted_os = (pod["metadata"].get("labels") or NOTHING).get("kubernetes.io/os")
    node_os = (meta.get("labels") or NOTHING).get("kubernetes.io/os") or "linux"
    if wanted_os is not None and wanted_os != node_os:
        return Rejection(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        )
    if (spec.get("os") or NOTHING).get("name", "linux") != "linux":
        return Rejection(
            "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
        )
    others = list(others)
    if (missing := _resources(pod, node, others)) is not None:
        return missing
    if not matches_node(pod, node):
        return Rejection("NodeAffinity", f"Predicate NodeAffinity failed: {AFFINITY_REASON}")
    if spec.get("nodeName") and spec["nodeName"] != meta["name"]:
        return Rejection("NodeName", f"Predicate NodeName failed: {NAME_REASON}")
    ports = set(host_ports(pod))
    if ports and any(
        _clash(port, taken) for other in others for taken in host_ports(other) for port in ports
    ):
        return Rejection("NodePorts", f"Predicate NodePorts failed: {PORTS_REASON}")
    for taint in node["spec"].get("taints") or ():
        if taint.get("effect") == "NoExecute" and not tolerates(pod, taint):
            return Rejection(
                "TaintToleration", f"Predicate TaintToleration failed: {TAINT_REASON}"
            )
    return None


def _resources(pod: Object, node: Object, others: list[Object]) -> Rejection | None:
    status = node.get("status") or NOTHING
    allocatable: dict[str, str] = status.get("allocatable") or status.get("capacity") or NOTHING
    limit = cgroups.units("pods", allocatable.get("pods") or "0")
    if len(others) + 1 > limit:
        return _short("pods", 1, len(others), limit)
    claim: Object = (pod.get("status") or NOTHING).get("extendedResourceClaimStatus") or NOTHING
    of_devices = {each["resourceName"] for each in claim.get("requestMappings") or ()}
    for name, amount in cgroups.pod_requests(pod).items():
        wanted = cgroups.units(name, amount)
        if wanted == 0 or name in of_devices:
            continue
        if name not in allocatable and is_extended(name):
            continue
        used = sum(
            cgroups.units(name, requests[name])
            for other in others
            if name in (requests := cgroups.pod_requests(other))
        )
        capacity = cgroups.units(name, allocatable.get(name) or "0")
        if wanted > capacity - used:
            return _short(name, wanted, used, capacity)
    return None


def _short(name: str, requested: int, used: int, capacity: int) -> Rejection:
    return Rejection(
        f"OutOf{name}",
        f"Node didn't have enough resource: {name}, requested: {requested}, used: {used}, "
        f"capacity: {capacity}",
    )


def tolerates(pod: Object, taint: Object) -> bool:
    """Whether any toleration of the pod covers the taint."""
    for toleration in pod["spec"].get("tolerations") or ():
        effect, key = toleration.get("effect"), toleration.get("key")
        if effect and effect != taint.get("effect"):
            continue
        if key and key != taint["key"]:
            continue
        operator = toleration.get("operator") or "Equal"
        if operator == "Exists":
            return True
        if key and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def matches_node(pod: Object, node: Object) -> bool:
    """Whether the node satisfies the pod's node selector and required node affinity."""
    spec, meta = pod["spec"], node["metadata"]
    labels: dict[str, str] = meta.get("labels") or NOTHING
    for key, value in (spec.get("nodeSelector") or NOTHING).items():
        if labels.get(key) != value:
            return False
    affinity = ((spec.get("affinity") or NOTHING).get("nodeAffinity") or NOTHING).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is None:
        return True
    fields = {"metadata.name": meta["name"]}
    return any(
        (term.get("matchExpressions") or term.get("matchFields"))
        and all(_holds(e, labels) for e in term.get("matchExpressions") or ())
        and all(_holds(e, fields) for e in term.get("matchFields") or ())
        for term in affinity.get("nodeSelectorTerms") or ()
    )


def _holds(expression: Object, labels: dict[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values: list[str] = expression.get("values") or []
    present = labels.get(key)
    if operator == "In":
        return present in values
    if operator == "NotIn":
        return present not in values
    if operator == "Exists":
        return present is not None
    if operator == "DoesNotExist":
        return present is None
    try:
        number, limit = int(present or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > limit if operator == "Gt" else number < limit


def host_ports(pod: Object) -> list[tuple[str, str, int]]:
    """The ports of the node that a pod takes: `(ip, protocol, port)`."""
    taken: list[tuple[str, str, int]] = []
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                taken.append((
                    port.get("hostIP") or ANY_ADDRESS,
                    port.get("protocol") or "TCP",
                    port["hostPort"],
                ))
    return taken


def _clash(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or ANY_ADDRESS in (one[0], other[0]))
