"""What objects use of a ResourceQuota: the evaluators that admission and its controller share.

The law: an *evaluator* knows a resource: which names of quota it measures, how much of each an
object uses, and which of the quota's scopes an object is in.  Every resource is counted
(`count/deployments.apps`); pods, services and claims, of volumes and of devices, are measured too.

Functions of their input.  Follows `pkg/quota/v1/evaluator/core`, `apiserver/pkg/quota/v1` and
`component-helpers/resource/helpers.go`.  What extended resources are devices by their class is not
counted as claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import quantity, timestamps
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.registry.pod_template.resource_names import is_extended, is_native

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ResourceList = dict[str, str]
"""Quantities by name."""

PODS = GroupResource("", "pods")
SERVICES = GroupResource("", "services")
CLAIMS = GroupResource("", "persistentvolumeclaims")
DEVICE_CLAIMS = GroupResource("resource.k8s.io", "resourceclaims")

IGNORED = frozenset({
    GroupResource("", "bindings"),
    GroupResource("", "componentstatuses"),
    GroupResource("", "events"),
    GroupResource("events.k8s.io", "events"),
    GroupResource("authentication.k8s.io", "tokenreviews"),
    GroupResource("authentication.k8s.io", "selfsubjectreviews"),
    GroupResource("authorization.k8s.io", "subjectaccessreviews"),
    GroupResource("authorization.k8s.io", "selfsubjectaccessreviews"),
    GroupResource("authorization.k8s.io", "localsubjectaccessreviews"),
    GroupResource("authorization.k8s.io", "selfsubjectrulesreviews"),
})
"""What is never counted."""

_ALIASES = {
    GroupResource("", "configmaps"): "configmaps",
    GroupResource("", "resourcequotas"): "resourcequotas",
    GroupResource("", "replicationcontrollers"): "replicationcontrollers",
    GroupResource("", "secrets"): "secrets",
}
_POD_NAMES = frozenset({
    "count/pods", "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
    "pods",
})
_MUST_BE_GIVEN = frozenset({
    "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory",
})
_SERVICE_NAMES = frozenset({
    "count/services", "services", "services.nodeports", "services.loadbalancers",
})
_CLAIM_NAMES = frozenset({
    "count/persistentvolumeclaims", "persistentvolumeclaims", "requests.storage",
})
_BY_CLASS = ".storageclass.storage.k8s.io/"
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_MOST_DEVICES = 32
"""What a request for all devices may get (`AllocationResultsMaxSize`)."""
_HUGE_PAGES, _REQUESTS = "hugepages-", "requests."

_NOTHING: Object = {}


def _mapping(parent: Mapping[str, Any], *keys: str) -> Object:
    found: Any = parent
    for key in keys:
        found = found.get(key) or _NOTHING
    return cast("Object", found)


def _objects(parent: Mapping[str, Any], key: str) -> list[Object]:
    return cast("list[Object]", parent.get(key) or [])


# -- evaluators --------------------------------------------------------------------------------


def count_name(resource: GroupResource) -> str:
    """The name under which a resource is counted: `count/deployments.apps`."""
    return f"count/{resource}"


def measured(resource: GroupResource, names: Iterable[str]) -> list[str]:
    """Those of `names` that are measured by objects of a resource (`MatchingResources`)."""
    if resource == PODS:
        return [name for name in names if _is_measured_by_pods(name)]
    if resource == SERVICES:
        return [name for name in names if name in _SERVICE_NAMES]
    if resource == CLAIMS:
        return [
            name
            for name in names
            if name in _CLAIM_NAMES
            or name.endswith((_BY_CLASS + "persistentvolumeclaims", _BY_CLASS + "requests.storage"))
        ]
    if resource == DEVICE_CLAIMS:
        own = count_name(resource)
        return [name for name in names if name == own or name.endswith(_DEVICES)]
    known = {count_name(resource), _ALIASES.get(resource)}
    return [name for name in names if name in known]


def _is_measured_by_pods(name: str) -> bool:
    if name in _POD_NAMES or name.startswith((_HUGE_PAGES, _REQUESTS + _HUGE_PAGES)):
        return True
    if not name.startswith(_REQUESTS):
        return False
    resource = name.removeprefix(_REQUESTS)
    return not is_native(resource) or resource.startswith("deviceclass.resource.kubernetes.io/")


def usage(resource: GroupResource, obj: Object, now_ns: int) -> ResourceList:
    """How much of everything an object uses, at an instant."""
    if resource == PODS:
        return _pod_usage(obj, now_ns)
    if resource == SERVICES:
        return _service_usage(obj)
    if resource == CLAIMS:
        return _claim_usage(obj)
    if resource == DEVICE_CLAIMS:
        return _device_usage(obj)
    used = {count_name(resource): "1"}
    if resource in _ALIASES:
        used[_ALIASES[resource]] = "1"
    return used


def _service_usage(service: Object) -> ResourceList:
    spec = _mapping(service, "spec")
    ports = _objects(spec, "ports")
    kind = spec.get("type")
    node_ports = len(ports) if kind in {"NodePort", "LoadBalancer"} else 0
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        node_ports = sum(bool(port.get("nodePort")) for port in ports)
    return {
        "count/services": "1",
        "services": "1",
        "services.loadbalancers": "1" if kind == "LoadBalancer" else "0",
        "services.nodeports": str(node_ports),
    }


def _claim_usage(claim: Object) -> ResourceList:
    used = {"persistentvolumeclaims": "1", "count/persistentvolumeclaims": "1"}
    annotations = _mapping(claim, "metadata", "annotations")
    spec = _mapping(claim, "spec")
    storage_class = annotations.get("volume.beta.kubernetes.io/storage-class")
    if storage_class is None:
        storage_class = spec.get("storageClassName") or ""
    storage = _mapping(spec, "resources", "requests").get("storage")
    if storage is not None:
        allocated = _mapping(claim, "status", "allocatedResources").get("storage")
        if allocated is not None:
            storage = quantity.maximum(storage, allocated)
        used["requests.storage"] = storage
    if storage_class:
        used[f"{storage_class}{_BY_CLASS}persistentvolumeclaims"] = "1"
        if storage is not None:
            used[f"{storage_class}{_BY_CLASS}requests.storage"] = storage
    return used


def _device_usage(claim: Object) -> ResourceList:
    """The devices of each class; of alternatives, the most that any would take of a class."""
    used: dict[str, int] = {}
    for request in _objects(_mapping(claim, "spec", "devices"), "requests"):
        most: dict[str, int] = {}
        for each in _objects(request, "firstAvailable") or [_mapping(request, "exactly")]:
            name = f"{each.get('deviceClassName') or ''}{_DEVICES}"
            mode = each.get("allocationMode")
            count = {"ExactCount": each.get("count") or 0, "All": _MOST_DEVICES}.get(mode or "", 0)
            most[name] = max(most.get(name, 0), count)
        for name, count in most.items():
            used[name] = used.get(name, 0) + count
    return {count_name(DEVICE_CLAIMS): "1", **{name: str(count) for name, count in used.items()}}


def _pod_usage(pod: Object, now_ns: int) -> ResourceList:
    used = {"count/pods": "1"}
    if counts(pod, now_ns):
        used.update(_named(pod_resources(pod, "requests"), pod_resources(pod, "limits")))
    return used


def counts(pod: Object, now_ns: int) -> bool:
    """Whether a pod still uses what it has asked for: neither ended nor overdue to be gone."""
    metadata = pod["metadata"]
    if _mapping(pod, "status").get("phase") in {"Failed", "Succeeded"}:
        return False
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if deleted is None or grace is None:
        return True
    return now_ns <= timestamps.parse_time(deleted) + grace * 1_000_000_000


def _named(requests: Mapping[str, str], limits: Mapping[str, str]) -> ResourceList:
    """Requests and limits under the names of quota (`podComputeUsageHelper`)."""
    used = {"pods": "1"}
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in requests:
            used[name] = used[_REQUESTS + name] = requests[name]
        if name in limits:
            used[f"limits.{name}"] = limits[name]
    for name, value in requests.items():
        if name.startswith(_HUGE_PAGES):
            used[name] = used[_REQUESTS + name] = value
        elif is_extended(name):
            used[_REQUESTS + name] = value
    return used


# -- pods --------------------------------------------------------------------------------------


def missing(pod: Object, required: Iterable[str]) -> str:
    """What a pod has to say of its containers and does not; empty if it says all.

    Follows `Constraints` of the pod evaluator.
    """
    if _mapping(pod, "spec", "resources"):
        return ""
    wanted = _MUST_BE_GIVEN.intersection(required)
    lacking: dict[str, set[str]] = {}
    spec = _mapping(pod, "spec")
    for container in (*_objects(spec, "containers"), *_objects(spec, "initContainers")):
        resources = _mapping(container, "resources")
        given = _named(_mapping(resources, "requests"), _mapping(resources, "limits"))
        for name in wanted.difference(given):
            lacking.setdefault(name, set()).add(container["name"])
    if not lacking:
        return ""
    parts = [f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking)]
    return f"must specify {'; '.join(parts)}"


def pod_resources(pod: Object, kind: str) -> ResourceList:
    """What a pod needs at any time, of `requests` or `limits`: containers, init containers,
    sidecars, overhead, and what is said of the pod as a whole.
    """
    spec = _mapping(pod, "spec")
    statuses = {
        entry["name"]: entry for entry in _objects(_mapping(pod, "status"), "containerStatuses")
    }
    total: ResourceList = {}
    for container in _objects(spec, "containers"):
        _add(total, _container_resources(container, statuses.get(container["name"]), kind))
    sidecars: ResourceList = {}
    most: ResourceList = {}
    for container in _objects(spec, "initContainers"):
        mine = _mapping(container, "resources", kind)
        if container.get("restartPolicy") == "Always":
            _add(total, mine)
            _add(sidecars, mine)
            _raise(most, sidecars)
        else:
            needed = dict(mine)
            _add(needed, sidecars)
            _raise(most, needed)
    _raise(total, most)
    whole = _mapping(spec, "resources", kind)
    total.update({name: value for name, value in whole.items() if _is_pod_level(name)})
    overhead = _mapping(spec, "overhead")
    if kind == "requests":
        _add(total, overhead)
    else:
        _add(total, {name: value for name, value in overhead.items() if name in total})
    return total


def _is_pod_level(name: str) -> bool:
    return name in {"cpu", "memory"} or name.startswith(_HUGE_PAGES)


def _container_resources(container: Object, state: Object | None, kind: str) -> ResourceList:
    mine = dict(_mapping(container, "resources", kind))
    if state is not None:
        _raise(mine, _mapping(state, "resources", kind))
        if kind == "requests":
            _raise(mine, _mapping(state, "allocatedResources"))
    return mine


def _add(total: ResourceList, more: Mapping[str, str]) -> None:
    for name, value in more.items():
        total[name] = quantity.add(total[name], value) if name in total else value


def _raise(total: ResourceList, other: Mapping[str, str]) -> None:
    for name, value in other.items():
        total[name] = quantity.maximum(total[name], value) if name in total else value


# -- scopes ------------------------------------------------------------------------------------


def scopes(quota: Object) -> list[Object]:
    """A quota's scopes as requirements."""
    spec = _mapping(quota, "spec")
    found: list[Object] = [
        {"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()
    ]
    return found + _objects(_mapping(spec, "scopeSelector"), "matchExpressions")


def in_scope(resource: GroupResource, requirement: Object, obj: Object) -> bool:
    """Whether an object is in a scope."""
    scope = requirement["scopeName"]
    spec = _mapping(obj, "spec")
    if resource == CLAIMS:
        if scope != "VolumeAttributesClass":
            return False
        return _selects(requirement, _attributes_classes(obj))
    if resource != PODS:
        return False
    if scope in {"Terminating", "NotTerminating"}:
        return is_terminating(obj) == (scope == "Terminating")
    if scope in {"BestEffort", "NotBestEffort"}:
        return is_best_effort(obj) == (scope == "BestEffort")
    if scope == "PriorityClass":
        name = spec.get("priorityClassName")
        return _selects(requirement, {name} if name else set())
    return scope == "CrossNamespacePodAffinity" and _has_cross_namespace_affinity(spec)


def _selects(requirement: Object, names: set[str]) -> bool:
    values: list[str] = requirement.get("values") or []
    operator = requirement["operator"]
    if operator == "Exists":
        return bool(names)
    if operator == "DoesNotExist":
        return not names
    if operator == "In":
        return any(name in values for name in names)
    return not names or any(name not in values for name in names)


def is_terminating(pod: Object) -> bool:
    """Whether a pod may run for a limited time only."""
    seconds = _mapping(pod, "spec").get("activeDeadlineSeconds")
    return seconds is not None and seconds >= 0


def is_best_effort(pod: Object) -> bool:
    """Whether a pod asks for nothing (`qos.GetPodQOS`)."""
    known = _mapping(pod, "status").get("qosClass")
    if known:
        return known == "BestEffort"
    spec = _mapping(pod, "spec")
    for owner in (spec, *_objects(spec, "containers"), *_objects(spec, "initContainers")):
        for kind in ("requests", "limits"):
            for name, value in _mapping(owner, "resources", kind).items():
                if name in {"cpu", "memory"} and not quantity.is_zero(value):
                    return False
    return True


def _has_cross_namespace_affinity(spec: Object) -> bool:
    for side in ("podAffinity", "podAntiAffinity"):
        affinity = _mapping(spec, "affinity", side)
        terms = list(_objects(affinity, "requiredDuringSchedulingIgnoredDuringExecution"))
        for weighted in _objects(affinity, "preferredDuringSchedulingIgnoredDuringExecution"):
            terms.append(_mapping(weighted, "podAffinityTerm"))
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False


def _attributes_classes(claim: Object) -> set[str]:
    state = _mapping(claim, "status")
    names = {
        _mapping(claim, "spec").get("volumeAttributesClassName"),
        state.get("currentVolumeAttributesClassName"),
        _mapping(state, "modifyVolumeStatus").get("targetVolumeAttributesClassName"),
    }
    return {name for name in names if name}


def requires_replenish(claim: Object, old: Object) -> bool:
    """Whether a claim's status has changed what it uses (`RequiresQuotaReplenish`)."""

    def allocated(each: Object) -> Any:
        return _mapping(each, "status", "allocatedResources").get("storage")

    before, after = allocated(old), allocated(claim)
    if (before is None) != (after is None) or (before and quantity.cmp(before, after)):
        return True
    return _attributes_classes(claim) != _attributes_classes(old)


# -- sums --------------------------------------------------------------------------------------


def calculate(
    quota: Object, objects: Mapping[GroupResource, Iterable[Object]], now_ns: int
) -> ResourceList:
    """What is used of everything that a quota limits and that can be measured.

    Parameters: `objects` of the quota's namespace, of each resource that is counted.
    """
    hard = _mapping(quota, "spec", "hard")
    requirements = scopes(quota)
    used: ResourceList = {}
    for resource, found in objects.items():
        names = measured(resource, hard)
        if not names:
            continue
        for name in names:
            used.setdefault(name, "0")
        for obj in found:
            if all(in_scope(resource, requirement, obj) for requirement in requirements):
                mine = usage(resource, obj, now_ns)
                _add(used, {name: mine[name] for name in names if name in mine})
    return used
