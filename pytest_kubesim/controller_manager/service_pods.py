"""Which pods a Service leads to, at which ports, and when that changed.

What the endpoints and the endpointslice controllers have in common.  Follows
`endpointslice/{utils,util/controller_utils,util/trigger_time_tracker}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, pods

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"
NO_CLUSTER_IP = "None"
SELECTOR_INDEX = "selector"

T = TypeVar("T")


def should_be_in_endpoints(pod: Object, *, terminating: bool) -> bool:
    """Whether a pod has an address and will go on having it (`terminating`: or is ending)."""
    if pods.is_terminal(pod):
        return False
    status = fields.status(pod)
    if not status.get("podIP") and not status.get("podIPs"):
        return False
    return terminating or not meta.deletion_timestamp(pod)


def pod_ips(pod: Object) -> list[str]:
    """`status.podIPs`."""
    return [fields.text(entry, "ip") for entry in fields.objects(fields.status(pod), "podIPs")]


def is_ipv6(address: str) -> bool:
    """Whether an address is of version 6."""
    return ":" in address


@lru_cache(maxsize=16_384)
def canonical_ip(address: str) -> str:
    """An address as Go prints it; empty for what is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def has_cluster_ip(service: Object) -> bool:
    """Whether the Service has an address of its own."""
    return fields.text(service["spec"], "clusterIP") not in {"", NO_CLUSTER_IP}


def should_set_hostname(pod: Object, service: Object) -> bool:
    """Whether the pod has a name of its own in the Service's domain."""
    spec = fields.spec(pod)
    return (
        bool(spec.get("hostname"))
        and fields.text(spec, "subdomain") == meta.name(service)
        and meta.namespace(pod) == meta.namespace(service)
    )


def find_port(pod: Object, port: Object) -> int | None:
    """The pod's port that a Service's port leads to; None where a named one is missing."""
    target = port.get("targetPort")
    if not isinstance(target, str):
        return target or 0
    spec = fields.spec(pod)
    sidecars = [
        container
        for container in fields.objects(spec, "initContainers")
        if container.get("restartPolicy") == "Always"
    ]
    for container in (*fields.objects(spec, "containers"), *sidecars):
        for declared in fields.objects(container, "ports"):
            if declared.get("name") == target and (
                declared.get("protocol", "TCP") == port.get("protocol", "TCP")
            ):
                return declared["containerPort"]
    return None


# -- which Services a pod's change concerns ------------------------------------------------------


def _selector_index(service: Object) -> tuple[str, ...]:
    selector = service["spec"].get("selector")
    if selector is None:
        return ()
    namespace = meta.namespace(service)
    if not selector:
        return (namespace,)
    key = min(selector)
    return (f"{namespace}/{key}={selector[key]}",)


def add_selector_index(services: Store) -> None:
    """Index Services by one of the labels that they ask for."""
    services.add_indexer(SELECTOR_INDEX, _selector_index)


def services_of(services: Store, namespace: str, pod_labels: Mapping[str, str]) -> list[str]:
    """The keys of the Services that select these labels."""
    candidates = services.by_index(SELECTOR_INDEX, namespace)
    for key, value in pod_labels.items():
        candidates += services.by_index(SELECTOR_INDEX, f"{namespace}/{key}={value}")
    pairs = pod_labels.items()
    return [
        key_of(service)
        for service in candidates
        if service["spec"]["selector"].items() <= pairs
    ]


def services_to_update(services: Store, old: Object | None, new: Object | None) -> list[str]:
    """The keys of the Services whose endpoints a change of a pod may change."""
    pod = new if new is not None else old
    assert pod is not None
    namespace = meta.namespace(pod)
    if old is None or new is None:
        return services_of(services, namespace, meta.labels(pod))
    if meta.resource_version(old) == meta.resource_version(new):
        return []
    relabelled = meta.labels(old) != meta.labels(new) or (
        old["spec"] is not new["spec"] and _domain(old) != _domain(new)
    )
    changed = _changed(old, new)
    if not changed and not relabelled:
        return []
    now = services_of(services, namespace, meta.labels(new))
    if not relabelled:
        return now
    before = services_of(services, namespace, meta.labels(old))
    if changed:
        return list(dict.fromkeys([*now, *before]))
    return [key for key in now if key not in before] + [key for key in before if key not in now]


def _domain(pod: Object) -> tuple[str, str]:
    spec = fields.spec(pod)
    return fields.text(spec, "hostname"), fields.text(spec, "subdomain")


def _changed(old: Object, new: Object) -> bool:
    # Upstream compares pointers: a pod that is being deleted has changed at every update.
    if meta.deletion_timestamp(old) or meta.deletion_timestamp(new):
        return True
    return pods.is_ready(old) != pods.is_ready(new) or pod_ips(old) != pod_ips(new)


# -- what is worked out for each pod -------------------------------------------------------------


class Worked(Generic[T]):
    """What was worked out for the pods of Services, as long as neither has changed.

    Parameters: `work`, called with a Service, a pod and the Node that it is on (or None).
    """

    __slots__ = ("_kept", "_work")

    def __init__(self, work: Callable[[Object, Object, Object | None], T]) -> None:
        self._work = work
        self._kept: dict[str, tuple[Object, dict[str, tuple[Object, Object | None, T]]]] = {}

    def out(
        self, key: str, service: Object, selected: Iterable[tuple[Object, Object | None]]
    ) -> list[T]:
        """The results for pods and their Nodes, in order; `key` is the Service's (and a use's)."""
        before, known = self._kept.get(key, (service, {}))
        if before is not service:
            known = {}
        fresh: dict[str, tuple[Object, Object | None, T]] = {}
        for pod, node in selected:
            name = pod["metadata"]["name"]
            entry = known.get(name)
            if entry is None or entry[0] is not pod or entry[1] is not node:
                entry = pod, node, self._work(service, pod, node)
            fresh[name] = entry
        self._kept[key] = service, fresh
        return [entry[2] for entry in fresh.values()]

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._kept.pop(key, None)


# -- when something changed ----------------------------------------------------------------------


@attrs.define(slots=True)
class _State:
    service: str
    pods: dict[str, tuple[Object, str]]
    """By name the pod, and since when it has been ready or not."""


class TriggerTimeTracker:
    """Tells which change was the first that a Service's endpoints do not show yet."""

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def compute(self, service: Object, selected: Iterable[Object]) -> str:
        """The time of that change, as RFC 3339 text; empty if there was none."""
        key = key_of(service)
        old = self._states.get(key)
        earliest = ""
        before = old.pods if old is not None else {}
        now: dict[str, tuple[Object, str]] = {}
        for pod in selected:
            name = pod["metadata"]["name"]
            entry = before.get(name)
            if entry is None or entry[0] is not pod:
                condition = pods.ready_condition(pod)
                time = fields.text(condition, "lastTransitionTime") if condition else ""
                if time > (entry[1] if entry is not None else ""):
                    earliest = min(earliest, time) if earliest else time
                entry = pod, time
            now[name] = entry
        created = meta.creation_timestamp(service) or ""
        if old is not None and created > old.service:
            earliest = min(earliest, created) if earliest else created
        self._states[key] = _State(created, now)
        return created if old is None else earliest

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._states.pop(key, None)
