"""Extended resources that devices stand for: which class a resource means, and the claim for a pod.

The law: a resource means the class that names it, the newest if there are several, or the class
whose name follows `deviceclass.resource.kubernetes.io/`.  Each container that asks for some gets a
request of its own; an init container that ends before others start uses what those will have.

Follows `pkg/scheduler/framework/plugins/dynamicresources/extendeddynamicresources.go` and
`dynamic-resource-allocation/deviceclass/extendedresourcecache`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.registry.pod_template import resource_names

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.pod_info import PodInfo

CLASS_PREFIX = "deviceclass.resource.kubernetes.io/"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
IN_MEMORY = "<extended-resources>"
"""The name of a pod's claim until it is written: no object can be called so."""
DELEGATED = "extended resources of devices"
"""Where a scheduling cycle keeps the names of a pod's resources that devices may stand for."""


def is_extended(resource: str) -> bool:
    """Whether devices may stand for a resource (`IsDRAExtendedResourceName`)."""
    return resource.startswith(CLASS_PREFIX) or resource_names.is_extended(resource)


def classes_by_resource(classes: Iterable[Object]) -> dict[str, Object]:
    """The class that each resource means (`ExtendedResourceCache`)."""
    found: dict[str, Object] = {}
    # The newest is put last; among those of one second the name that comes first.
    ordered = sorted(classes, key=meta.name, reverse=True)
    ordered.sort(key=lambda each: each["metadata"].get("creationTimestamp") or "")
    for each in ordered:
        found[CLASS_PREFIX + meta.name(each)] = each
        if explicit := each["spec"].get("extendedResourceName"):
            found[explicit] = each
    return found


def delegated(pod: PodInfo, classes: Mapping[str, Object]) -> frozenset[str]:
    """The resources that a pod asks for and a class stands for."""
    return frozenset(
        name
        for name, amount in pod.requests.scalars.items()
        if amount and name in classes and is_extended(name)
    )


def template(pod: PodInfo, uid: str) -> Object:
    """The claim of a pod for all such resources, in memory and without requests."""
    owner: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod.name,
        "uid": pod.uid,
        "controller": True,
    }
    metadata: Object = {
        "name": IN_MEMORY,
        "generateName": f"{pod.name}-extended-resources-",
        "namespace": pod.namespace,
        "uid": uid,
        "annotations": {ANNOTATION: "true"},
        "ownerReferences": [owner],
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": metadata,
        "spec": {},
    }


def find(pod: PodInfo, claims: Iterable[Object]) -> Object | None:
    """The claim that an earlier attempt has written for a pod."""
    for claim in claims:
        if meta.annotations(claim).get(ANNOTATION) != "true":
            continue
        for owner in meta.owner_references(claim):
            if owner["name"] == pod.name and owner.get("controller") and owner["uid"] == pod.uid:
                return claim
    return None


@attrs.frozen(slots=True)
class Demand:
    """What is asked of a node's devices: requests of a claim, and who asked for each."""

    requests: list[Object]
    mappings: list[Object]


def demand(
    pod: PodInfo, resources: Iterable[str], class_of: Callable[[str], Object | None]
) -> Demand:
    """The requests for those resources of a pod (`createRequestsAndMappings`)."""
    init: list[Object] = pod.spec.get("initContainers") or []
    containers: list[Object] = [*init, *(pod.spec.get("containers") or ())]
    short = [at for at, each in enumerate(init) if each.get("restartPolicy") != "Always"]
    requests: list[Object] = []
    mappings: list[Object] = []
    for resource in sorted(resources):
        class_ = class_of(resource)
        if class_ is None:
            continue
        whole = _OneResource(resource, meta.name(class_), containers)
        for at in range(len(containers)):
            if at not in short:
                whole.ask(at)
        whole.ask_for_short(short)
        requests += whole.requests
        mappings += whole.mappings
    requests.sort(key=lambda request: request["name"])
    return Demand(requests, mappings)


class _OneResource:
    """The requests of all containers for one resource."""

    def __init__(self, resource: str, class_name: str, containers: list[Object]) -> None:
        self._resource = resource
        self._class_name = class_name
        self._containers = containers
        self._long: dict[int, Object] = {}
        self._widest: Object | None = None
        self.mappings: list[Object] = []

    @property
    def requests(self) -> list[Object]:
        """All requests: the one that short-lived containers share, and those of the others."""
        widest = [] if self._widest is None else [self._widest]
        return [*widest, *self._long.values()]

    def ask(self, at: int) -> None:
        """What a container that stays asks for."""
        request, mappings = self._request(at, [])
        if request is not None:
            self._long[at] = request
        self.mappings += mappings

    def ask_for_short(self, short: list[int]) -> None:
        """What containers ask for that end before the next starts: the most of any of them."""
        mappings: list[Object] = []
        names: set[str] = set()
        for at in short:
            later = [request for place, request in self._long.items() if place >= at]
            request, found = self._request(at, later)
            if request is not None:
                names.add(request["name"])
                if self._widest is None or _count(self._widest) < _count(request):
                    self._widest = request
            mappings += found
        if self._widest is not None:
            shared = self._widest["name"]
            mappings = [
                {**each, "requestName": shared} if each["requestName"] in names else each
                for each in mappings
            ]
        self.mappings += mappings

    def _request(self, at: int, usable: list[Object]) -> tuple[Object | None, list[Object]]:
        """What one container needs beside what others hold that it may use, and from where."""
        container = self._containers[at]
        resources: Object = container.get("resources") or {}
        asked: dict[str, str] = resources.get("requests") or {}
        wanted = quantity.value(asked.get(self._resource, "0"))
        mappings: list[Object] = []
        if not wanted:
            return None, mappings
        held = 0
        for other in usable:
            held += _count(other)
            mappings.append(self._mapping(container, other["name"]))
            if held >= wanted:
                return None, mappings
        name = f"container-{at}-request-{sorted(asked).index(self._resource)}"
        mappings.append(self._mapping(container, name))
        exactly: Object = {
            "deviceClassName": self._class_name,
            "allocationMode": "ExactCount",
            "count": wanted - held,
        }
        return {"name": name, "exactly": exactly}, mappings

    def _mapping(self, container: Object, request: str) -> Object:
        return {
            "containerName": container["name"],
            "resourceName": self._resource,
            "requestName": request,
        }


def _count(request: Object) -> int:
    return request["exactly"]["count"]
