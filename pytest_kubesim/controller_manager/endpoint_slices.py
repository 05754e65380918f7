"""EndpointSlices as their two controllers see them: sets of endpoints, ports, what was written.

Follows `endpointslice/util/{endpointset,endpointslice_tracker,controller_utils}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.endpoint_subsets import fnv128a

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_INDEX = "serviceName"

PortsKey = tuple[tuple[object, ...], ...]
EndpointKey = tuple[object, ...]


def _by_service(endpoint_slice: Object) -> Iterable[str]:
    return (service_key(endpoint_slice),)


def service_key(endpoint_slice: Object) -> str:
    """The key of the Service that a slice says it belongs to."""
    name = meta.labels(endpoint_slice).get(SERVICE_NAME, "")
    return f"{meta.namespace(endpoint_slice)}/{name}"


def add_index(store: Store) -> None:
    """Index slices by their Service."""
    store.add_indexer(SERVICE_INDEX, _by_service)


def of_service(store: Store, key: str, manager: str) -> list[Object]:
    """The slices of a Service that a controller manages."""
    return [
        endpoint_slice
        for endpoint_slice in store.by_index(SERVICE_INDEX, key)
        if managed_by(endpoint_slice) == manager
    ]


def managed_by(endpoint_slice: Object) -> str:
    """Who manages a slice."""
    return meta.labels(endpoint_slice).get(MANAGED_BY, "")


def prefix_of(service_name: str) -> str:
    """The `generateName` of a Service's slices."""
    prefix = f"{service_name}-"
    return prefix if len(prefix) <= 253 else service_name


def endpoints_of(endpoint_slice: Object) -> list[Object]:
    """`endpoints`."""
    return fields.objects(endpoint_slice, "endpoints")


def ports_key(ports: Sequence[Object] | None) -> PortsKey:
    """What slices with the same ports have in common."""
    return tuple(
        sorted(
            (
                fields.text(port, "name"),
                fields.text(port, "protocol"),
                fields.number(port, "port"),
                fields.text(port, "appProtocol"),
            )
            for port in ports or ()
        )
    )


def sorted_ports(ports: Sequence[Object]) -> list[Object]:
    """The ports in the order in which clients see them: by the hash of what Go prints."""
    if len(ports) < 2:
        return list(ports)

    def shown(port: Object, key: str) -> str:
        value = port.get(key)
        return "<nil>" if value is None else str(value)

    def order(port: Object) -> int:
        return fnv128a(
            f"(v1.EndpointPort){{Name:(*string){shown(port, 'name')} "
            f"Protocol:(*v1.Protocol){shown(port, 'protocol')} "
            f"Port:(*int32){shown(port, 'port')} "
            f"AppProtocol:(*string){shown(port, 'appProtocol')}}}"
        )

    return sorted(ports, key=order)


def endpoint_key(endpoint: Object) -> EndpointKey:
    """What makes an endpoint the same one: addresses, host name and pod."""
    target = fields.mapping(endpoint, "targetRef")
    return (
        tuple(sorted(fields.texts(endpoint, "addresses"))),
        fields.text(endpoint, "hostname"),
        fields.text(target, "namespace"),
        fields.text(target, "name"),
    )


def equal_beyond_key(left: Object, right: Object) -> bool:
    """Whether two endpoints of the same key are in the same state."""
    for key in ("nodeName", "zone"):
        if left.get(key) != right.get(key):
            return False
    mine, other = fields.mapping(left, "conditions"), fields.mapping(right, "conditions")
    for key in ("ready", "serving", "terminating"):
        if mine.get(key) != other.get(key):
            return False
    return _target(left) == _target(right)


def _target(endpoint: Object) -> Object:
    target = fields.mapping(endpoint, "targetRef")
    return {key: value for key, value in target.items() if key != "resourceVersion"}


def is_ready(endpoint: Object) -> bool:
    """Whether its condition `ready` is true."""
    return fields.mapping(endpoint, "conditions").get("ready") is True


def without_hints(endpoint: Object) -> Object:
    """The endpoint without hints; itself where it has none."""
    if "hints" not in endpoint:
        return endpoint
    return {key: value for key, value in endpoint.items() if key != "hints"}


_DELETION_EXPECTED = -1


class Tracker:
    """The generations of slices that a controller has written, by Service and UID."""

    __slots__ = ("_generations",)

    def __init__(self) -> None:
        self._generations: dict[str, dict[str, int]] = {}

    def has(self, endpoint_slice: Object) -> bool:
        """Whether this controller has written it."""
        return meta.uid(endpoint_slice) in self._generations.get(service_key(endpoint_slice), {})

    def should_sync(self, endpoint_slice: Object) -> bool:
        """Whether somebody else has changed it."""
        known = self._generations.get(service_key(endpoint_slice), {})
        generation = known.get(meta.uid(endpoint_slice))
        return generation is None or meta.generation(endpoint_slice) > generation

    def is_stale(self, key: str, slices: Iterable[Object]) -> bool:
        """Whether these slices are older than what was written."""
        known = self._generations.get(key)
        if known is None:
            return False
        provided: set[str] = set()
        for endpoint_slice in slices:
            uid = meta.uid(endpoint_slice)
            provided.add(uid)
            generation = known.get(uid)
            if generation is not None and (
                generation == _DELETION_EXPECTED or generation > meta.generation(endpoint_slice)
            ):
                return True
        return any(
            generation != _DELETION_EXPECTED and uid not in provided
            for uid, generation in known.items()
        )

    def update(self, endpoint_slice: Object) -> None:
        """It was written."""
        known = self._generations.setdefault(service_key(endpoint_slice), {})
        known[meta.uid(endpoint_slice)] = meta.generation(endpoint_slice)

    def expect_deletion(self, endpoint_slice: Object) -> None:
        """It was deleted."""
        known = self._generations.setdefault(service_key(endpoint_slice), {})
        known[meta.uid(endpoint_slice)] = _DELETION_EXPECTED

    def handle_deletion(self, endpoint_slice: Object) -> bool:
        """It is gone; False where that was not expected."""
        known = self._generations.get(service_key(endpoint_slice))
        if known is None:
            return True
        generation = known.pop(meta.uid(endpoint_slice), _DELETION_EXPECTED)
        return generation == _DELETION_EXPECTED

    def forget(self, key: str) -> None:
        """The Service is gone."""
        self._generations.pop(key, None)
