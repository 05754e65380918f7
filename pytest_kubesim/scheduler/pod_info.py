"""A pod as the scheduler reads it: amounts as integers, affinity terms parsed, once per pod.

The law: everything here is a function of the pod object.  A pod whose scheduling-relevant parts did
not change keeps its PodInfo and gets the newer object (`renew`): status updates are free.

Follows `pkg/scheduler/framework/types.go` and `component-helpers/resource/helpers.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.scheduler.node_selection import NOTHING, RequiredNodeAffinity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container without requests counts for in scores (`schedutil.DefaultMilliCPURequest`)."""

NO_SCALARS: dict[str, int] = {}
NO_LABELS: dict[str, str] = {}


@attrs.frozen(slots=True)
class Requests:
    """Amounts: milli-cores, bytes, bytes, and every other resource by name."""

    milli_cpu: int = 0
    memory: int = 0
    ephemeral: int = 0
    scalars: Mapping[str, int] = NO_SCALARS


@attrs.frozen(slots=True)
class AffinityTerm:
    """A required or preferred inter-pod affinity term, parsed."""

    namespaces: frozenset[str]
    namespace_selector: Selector
    selector: Selector
    topology_key: str
    weight: int = 0

    def matches(self, pod: PodInfo, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether `pod` (in a namespace of these labels) is one that the term is about."""
        if pod.namespace in self.namespaces or (
            namespace_labels is not None and self.namespace_selector.matches(namespace_labels)
        ) or self.namespace_selector.empty:
            return self.selector.matches(pod.labels)
        return False


class PodInfo:
    """A pod, read."""

    __slots__ = (
        "_required_node_affinity",
        "affinity_terms",
        "anti_affinity_terms",
        "claims",
        "deleting",
        "has_affinity",
        "host_ports",
        "key",
        "labels",
        "name",
        "namespace",
        "node_name",
        "non_zero_cpu",
        "non_zero_memory",
        "pod",
        "preferred_affinity_terms",
        "preferred_anti_affinity_terms",
        "priority",
        "requests",
        "signatures",
        "spec",
        "tolerations",
        "uid",
    )

    def __init__(self, pod: Object) -> None:
        metadata: Object = pod["metadata"]
        spec: Object = pod["spec"]
        self.pod = pod
        self.spec = spec
        self.name: str = metadata["name"]
        self.namespace: str = metadata.get("namespace") or "default"
        self.key = f"{self.namespace}/{self.name}"
        self.uid: str = metadata.get("uid") or self.key
        self.labels: dict[str, str] = metadata.get("labels") or NO_LABELS
        self.deleting = bool(metadata.get("deletionTimestamp"))
        self.priority: int = spec.get("priority") or 0
        self.node_name: str = spec.get("nodeName") or ""
        self.tolerations: list[Object] = spec.get("tolerations") or []
        self._read_requests(pod)
        self.host_ports = host_ports(spec)
        self.claims = claim_keys(pod)
        self.signatures: dict[str, Any] = {}
        self._required_node_affinity: RequiredNodeAffinity | None = None
        self._read_affinity(spec.get("affinity"))

    @property
    def nominated_node_name(self) -> str:
        """The node it is promised."""
        return self.pod.get("status", {}).get("nominatedNodeName") or ""

    @property
    def required_node_affinity(self) -> RequiredNodeAffinity:
        """Its node selector and required node affinity, compiled when first asked for."""
        affinity = self._required_node_affinity
        if affinity is None:
            affinity = self._required_node_affinity = RequiredNodeAffinity(self.spec)
        return affinity

    def on_node(self, node_name: str) -> PodInfo:
        """The same pod, assumed to be on `node_name`."""
        copy = object.__new__(PodInfo)
        for slot in _SLOTS:
            setattr(copy, slot, getattr(self, slot))
        copy.node_name = node_name
        copy.spec = {**self.spec, "nodeName": node_name}
        copy.pod = {**self.pod, "spec": copy.spec}
        return copy

    def renew(self, pod: Object) -> bool:
        """Take `pod`, a newer object of the same pod; False if it does not read the same."""
        metadata, spec = pod["metadata"], pod["spec"]
        old = self.spec
        if spec is not old and spec != old:
            return False
        if (
            (metadata.get("labels") or NO_LABELS) != self.labels
            or bool(metadata.get("deletionTimestamp")) != self.deleting
            or resize_status(pod) != resize_status(self.pod)
        ):
            return False
        self.pod = pod
        self.spec = spec
        return True

    def _read_requests(self, pod: Object) -> None:
        requests = pod_requests(pod)
        self.requests = requests
        self.non_zero_cpu, self.non_zero_memory = _non_zero(pod, requests)

    def _read_affinity(self, affinity: Object | None) -> None:
        empty: tuple[AffinityTerm, ...] = ()
        self.affinity_terms = self.anti_affinity_terms = empty
        self.preferred_affinity_terms = self.preferred_anti_affinity_terms = empty
        self.has_affinity = False
        if not affinity:
            return
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        preferred = "preferredDuringSchedulingIgnoredDuringExecution"
        if with_pods := affinity.get("podAffinity"):
            self.affinity_terms = self._terms(with_pods.get(required))
            self.preferred_affinity_terms = self._weighted(with_pods.get(preferred))
        if without_pods := affinity.get("podAntiAffinity"):
            self.anti_affinity_terms = self._terms(without_pods.get(required))
            self.preferred_anti_affinity_terms = self._weighted(without_pods.get(preferred))
        self.has_affinity = bool(
            self.affinity_terms
            or self.anti_affinity_terms
            or self.preferred_affinity_terms
            or self.preferred_anti_affinity_terms
        )

    def _terms(self, terms: Sequence[Object] | None) -> tuple[AffinityTerm, ...]:
        return tuple(affinity_term(self.namespace, term) for term in terms or ())

    def _weighted(self, terms: Sequence[Object] | None) -> tuple[AffinityTerm, ...]:
        return tuple(
            affinity_term(self.namespace, term["podAffinityTerm"], term.get("weight", 0))
            for term in terms or ()
        )


_SLOTS = PodInfo.__slots__


def affinity_term(namespace: str, term: Object, weight: int = 0) -> AffinityTerm:
    """A term of a pod in `namespace`, parsed."""
    names: list[str] = term.get("namespaces") or []
    namespace_selector = term.get("namespaceSelector")
    if not names and namespace_selector is None:
        names = [namespace]
    return AffinityTerm(
        frozenset(names),
        label_selectors.from_label_selector(namespace_selector),
        label_selectors.from_label_selector(term.get("labelSelector")),
        term.get("topologyKey", ""),
        weight,
    )


# -- resources -------------------------------------------------------------------------------------


def is_native_scalar(name: str) -> bool:
    """Whether the scheduler counts that resource besides cpu, memory and ephemeral storage."""
    return "/" in name or name.startswith(("hugepages-", "attachable-volumes-"))


def resize_status(pod: Object) -> list[Any]:
    """What the kubelet says of the resources it gave the containers (in-place resize)."""
    status = pod.get("status")
    if not status:
        return []
    statuses: list[Object] = [
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    ]
    return [
        (s.get("allocatedResources"), s.get("resources"))
        for s in statuses
        if "allocatedResources" in s or "resources" in s
    ]


def _amount(name: str, value: Any) -> int:
    return quantity.milli_value(value) if name == "cpu" else quantity.value(value)


def _add(into: dict[str, int], requests: Mapping[str, Any]) -> None:
    for name, value in requests.items():
        into[name] = into.get(name, 0) + _amount(name, value)


def _raise_to(into: dict[str, int], other: Mapping[str, int]) -> None:
    for name, value in other.items():
        if value > into.get(name, 0):
            into[name] = value


def _container_requests(container: Object) -> Mapping[str, Any]:
    resources = container.get("resources")
    return (resources.get("requests") or NOTHING) if resources else {}


def _status_requests(pod: Object) -> dict[str, Mapping[str, int]]:
    """Per container the larger of what the kubelet allocated and what it actually gave."""
    status = pod.get("status") or NOTHING
    found: dict[str, Mapping[str, int]] = {}
    for entry in (
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    ):
        largest: dict[str, int] = {}
        for amounts in (
            entry.get("allocatedResources"),
            (entry.get("resources") or NOTHING).get("requests"),
        ):
            if amounts:
                _raise_to(largest, {k: _amount(k, v) for k, v in amounts.items()})
        if largest:
            found[entry["name"]] = largest
    return found


def _aggregate(pod: Object, missing: Mapping[str, int]) -> dict[str, int]:
    """`AggregateContainerRequests`: the widest moment of the pod in each resource."""
    spec: Object = pod["spec"]
    given = _status_requests(pod) if spec.get("nodeName") else {}

    def of(container: Object) -> dict[str, int]:
        amounts = {k: _amount(k, v) for k, v in _container_requests(container).items()}
        if given and (actual := given.get(container["name"])):
            _raise_to(amounts, actual)
        for name, value in missing.items():
            amounts.setdefault(name, value)
        return amounts

    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        for name, value in of(container).items():
            total[name] = total.get(name, 0) + value
    inits = spec.get("initContainers")
    if inits:
        restartable: dict[str, int] = {}
        widest: dict[str, int] = {}
        for container in inits:
            amounts = of(container)
            if container.get("restartPolicy") == "Always":
                for name, value in amounts.items():
                    total[name] = total.get(name, 0) + value
                    restartable[name] = restartable.get(name, 0) + value
                amounts = dict(restartable)
            else:
                for name, value in restartable.items():
                    amounts[name] = amounts.get(name, 0) + value
            _raise_to(widest, amounts)
        _raise_to(total, widest)
    return total


def _with_pod_level(pod: Object, total: dict[str, int]) -> dict[str, int]:
    spec: Object = pod["spec"]
    pod_level = (spec.get("resources") or NOTHING).get("requests")
    if pod_level:
        for name, value in pod_level.items():
            if name in {"cpu", "memory"} or name.startswith("hugepages-"):
                total[name] = _amount(name, value)
    if overhead := spec.get("overhead"):
        _add(total, overhead)
    return total


def pod_requests(pod: Object) -> Requests:
    """What the pod asks a node for (`resource.PodRequests`)."""
    total = _with_pod_level(pod, _aggregate(pod, {}))
    return to_requests(total)


def to_requests(total: Mapping[str, int]) -> Requests:
    """Amounts by resource name as `Requests`."""
    cpu = total.get("cpu", 0)
    memory = total.get("memory", 0)
    ephemeral = total.get("ephemeral-storage", 0)
    scalars = {k: v for k, v in total.items() if is_native_scalar(k)}
    return Requests(cpu, memory, ephemeral, scalars or NO_SCALARS)


def _non_zero(pod: Object, requests: Requests) -> tuple[int, int]:
    for container in pod["spec"].get("containers") or ():
        amounts = _container_requests(container)
        if "cpu" not in amounts or "memory" not in amounts:
            break
    else:
        if not pod["spec"].get("initContainers"):
            return requests.milli_cpu, requests.memory
    total = _with_pod_level(
        pod, _aggregate(pod, {"cpu": DEFAULT_MILLI_CPU, "memory": DEFAULT_MEMORY})
    )
    return total.get("cpu", 0), total.get("memory", 0)


# -- ports and claims ------------------------------------------------------------------------------

HostPort = tuple[str, str, int]
ANY_IP = "0.0.0.0"  # noqa: S104 - the API's word for "every address"


def host_ports(spec: Object) -> tuple[HostPort, ...]:
    """The (address, protocol, port) triples it takes on its node."""
    found: list[HostPort] = []
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            number = port.get("hostPort")
            if number:
                found.append((port.get("hostIP") or ANY_IP, port.get("protocol") or "TCP", number))
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            for port in container.get("ports") or ():
                number = port.get("hostPort")
                if number:
                    found.append(
                        (port.get("hostIP") or ANY_IP, port.get("protocol") or "TCP", number)
                    )
    return tuple(found)


def claim_keys(pod: Object) -> tuple[str, ...]:
    """`namespace/name` of the claims its volumes use."""
    volumes = cast("list[Object]", pod["spec"].get("volumes") or ())
    if not volumes:
        return ()
    namespace = pod["metadata"].get("namespace") or "default"
    names = (claim_name(pod, volume) for volume in volumes)
    return tuple(f"{namespace}/{name}" for name in names if name)


def claim_name(pod: Object, volume: Object) -> str:
    """The claim behind a volume: named, or made for the pod; "" for other volumes."""
    if claim := volume.get("persistentVolumeClaim"):
        return claim.get("claimName", "")
    if "ephemeral" in volume and volume["ephemeral"] is not None:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return ""


def freeze(value: Any) -> Any:
    """A hashable image of a JSON value."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return tuple((k, freeze(items[k])) for k in sorted(items))
    if isinstance(value, list):
        return tuple(freeze(item) for item in cast("list[Any]", value))
    return value
