"""What holds for the objects of any cluster at any time.

Each law looks at one write, with what it remembers of earlier ones: it costs the same however many
objects there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.checkers.violation import Violation

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.etcd.messages import Event, KeyValue, WatchResponse

Law = Callable[[str, "Event"], Iterator[str]]

_PODS = "/registry/pods/"
_SERVICES = "/registry/services/specs/"
_CLAIMS = "/registry/persistentvolumeclaims/"
_NODES = "/registry/minions/"
_FINISHED = frozenset({"Succeeded", "Failed"})


class Invariants:
    """The checker.  `broken` is called with every violation, at once."""

    def __init__(self, broken: Callable[[Violation], object]) -> None:
        self._broken = broken
        self._holders: dict[tuple[str, str], str] = {}
        self._held: dict[str, set[str]] = {}
        self._hosts: dict[str, str] = {}
        self.laws: tuple[tuple[str, Law], ...] = (
            ("resourceVersions grow", _grows),
            ("identity stays", _identity),
            ("a pod is bound once", _bound_once),
            ("a claim is bound once", _claim_bound_once),
            ("addresses of pods are unique", self._pod_addresses),
            ("addresses of services are unique", self._cluster_addresses),
        )

    def heard(self, response: WatchResponse) -> None:
        """The store has changed."""
        for event in response.events:
            key = event.kv.key
            for name, law in self.laws:
                for what in law(key, event):
                    self._broken(Violation(name, f"{key} at {event.kv.mod_revision}: {what}"))

    def begin(self, values: Iterator[tuple[str, Any]]) -> None:
        """What is there before the first write."""
        self._holders.clear()
        self._held.clear()
        self._hosts.clear()
        for key, value in values:
            if key.startswith(_PODS):
                self._place(key, value)
                self._claim("pod", key, _addresses_of_pod(value))
            elif key.startswith(_SERVICES):
                self._claim("service", key, _addresses_of_service(value))

    # -- who has which address ----------------------------------------------------------------

    def _pod_addresses(self, key: str, event: Event) -> Iterator[str]:
        if key.startswith(_NODES) and event.type == "DELETE":
            self._give_up(key.removeprefix(_NODES))
        elif key.startswith(_PODS):
            pod = event.kv.value if event.type == "PUT" else None
            self._place(key, pod)
            yield from self._claim("pod", key, _addresses_of_pod(pod))

    def _place(self, key: str, pod: Object | None) -> None:
        if pod is None:
            self._hosts.pop(key, None)
        elif host := pod["spec"].get("nodeName"):
            self._hosts[key] = host

    def _cluster_addresses(self, key: str, event: Event) -> Iterator[str]:
        if key.startswith(_SERVICES):
            service = event.kv.value if event.type == "PUT" else None
            yield from self._claim("service", key, _addresses_of_service(service))

    def _give_up(self, node: str) -> None:
        """A node is gone: its range goes to another, while its pods are still shown for a time."""
        for key, host in self._hosts.items():
            if host == node:
                for address in self._held.get(key, ()):
                    if self._holders.get(("pod", address)) == key:
                        del self._holders["pod", address]

    def _claim(self, kind: str, key: str, addresses: set[str]) -> list[str]:
        wrong: list[str] = []
        before: set[str] = self._held.get(key) or set()
        for address in before - addresses:
            if self._holders.get((kind, address)) == key:
                del self._holders[kind, address]
        for address in sorted(addresses - before):
            holder = self._holders.setdefault((kind, address), key)
            if holder != key:
                wrong.append(f"{address} belongs to {holder}")
        if addresses:
            self._held[key] = addresses
        else:
            self._held.pop(key, None)
        return wrong


def _grows(key: str, event: Event) -> Iterator[str]:
    del key
    if event.prev_kv is not None and event.kv.mod_revision <= event.prev_kv.mod_revision:
        yield f"it follows {event.prev_kv.mod_revision}"


def _identity(key: str, event: Event) -> Iterator[str]:
    """What no update changes: uid, birth, the mark of deletion; and generations only grow."""
    del key
    before, after = _metadata(event.prev_kv), _metadata(event.kv)
    if event.type != "PUT" or not before or not after:
        return
    for field in ("uid", "creationTimestamp"):
        if before.get(field) != after.get(field):
            yield f"metadata.{field} was {before.get(field)} and is {after.get(field)}"
    marked = before.get("deletionTimestamp")
    if marked is not None and after.get("deletionTimestamp") is None:
        yield "metadata.deletionTimestamp is gone"
    if (after.get("generation") or 0) < (before.get("generation") or 0):
        yield f"metadata.generation was {before['generation']}, is {after.get('generation')}"


def _bound_once(key: str, event: Event) -> Iterator[str]:
    if key.startswith(_PODS):
        yield from _set_once(event, "nodeName", "bound to")


def _claim_bound_once(key: str, event: Event) -> Iterator[str]:
    if key.startswith(_CLAIMS):
        yield from _set_once(event, "volumeName", "bound to")


def _set_once(event: Event, field: str, verb: str) -> Iterator[str]:
    if event.type != "PUT" or event.prev_kv is None:
        return
    before: str | None = event.prev_kv.value["spec"].get(field)
    after: str | None = event.kv.value["spec"].get(field)
    if before and after != before:
        yield f"it was {verb} {before} and is {verb} {after}"


def _metadata(kv: KeyValue | None) -> Object:
    """What is no object (the allocators' records) has none."""
    value: Any = None if kv is None else kv.value
    return cast("Object", value).get("metadata") or {} if isinstance(value, dict) else {}


def _addresses_of_pod(pod: Object | None) -> set[str]:
    if pod is None or pod["spec"].get("hostNetwork"):
        return set()
    status: Object = pod.get("status") or {}
    if status.get("phase") in _FINISHED:
        return set()
    addresses: list[dict[str, str]] = status.get("podIPs") or []
    return {each["ip"] for each in addresses if each.get("ip")}


def _addresses_of_service(service: Object | None) -> set[str]:
    found: list[str] = [] if service is None else service["spec"].get("clusterIPs") or []
    return {address for address in found if address and address != "None"}
