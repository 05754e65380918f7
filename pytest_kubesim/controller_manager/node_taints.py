"""Taints of nodes, and how a controller changes them without losing those of others.

The law: a taint is its key and effect.  A change reads the node (at first from the watch cache),
and patches the whole list with the resourceVersion that it read, so that whoever changed the list
meanwhile is not overwritten.

Follows `AddOrUpdateTaintOnNode`, `RemoveTaintOffNode` and `AddOrUpdateLabelsOnNode` of
`pkg/controller/controller_utils.go`, `pkg/util/taints/taints.go` and `SwapNodeControllerTaint` of
`pkg/controller/util/node/controller_utils.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import NODES
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE
from pytest_kubesim.controller_manager.retry import Backoff, on_conflict

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"

UPDATE_BACKOFF = Backoff(5, 100_000_000, 1)


def taints_of(node: Object) -> list[Object]:
    """`spec.taints`."""
    return fields.objects(fields.spec(node), "taints")


def same(left: Object, right: Object) -> bool:
    """Whether two taints have the same key and effect."""
    return left["key"] == right["key"] and left["effect"] == right["effect"]


def exists(taints: Sequence[Object], taint: Object) -> bool:
    """Whether a taint is among others."""
    return any(same(taint, other) for other in taints)


def difference(wanted: Sequence[Object], present: Sequence[Object]) -> tuple[
    list[Object], list[Object]
]:
    """Which taints are to be added and which to be removed."""
    added = [taint for taint in wanted if not exists(present, taint)]
    removed = [taint for taint in present if not exists(wanted, taint)]
    return added, removed


async def add(client: RESTClient, name: str, taints: Sequence[Object]) -> None:
    """Add taints to a node, or replace those that it has."""

    def change(present: list[Object]) -> list[Object]:
        for taint in taints:
            if exists(present, taint):
                present = [taint if same(taint, other) else other for other in present]
            else:
                present = [*present, taint]
        return present

    if taints:
        await _change(client, name, change)


async def remove(client: RESTClient, node: Object, taints: Sequence[Object]) -> None:
    """Take taints from a node, if `node` (as it is known) has any of them."""
    if not any(exists(taints_of(node), taint) for taint in taints):
        return

    def change(present: list[Object]) -> list[Object]:
        return [other for other in present if not exists(taints, other)]

    await _change(client, meta.name(node), change)


async def swap(
    client: RESTClient, node: Object, added: Sequence[Object], removed: Sequence[Object], now: str
) -> bool:
    """Add taints as of `now`, then take others away; whether that succeeded."""
    try:
        await add(client, meta.name(node), [{**taint, "timeAdded": now} for taint in added])
        await remove(client, node, removed)
    except RETRIABLE:
        return False
    return True


async def _change(
    client: RESTClient, name: str, change: Callable[[list[Object]], list[Object]]
) -> None:
    first = True

    async def attempt() -> None:
        nonlocal first
        version = "0" if first else None
        first = False
        node = await client.get(NODES, "", name, resource_version=version)
        before = taints_of(node)
        after = change(before)
        if after == before:
            return
        patch = {
            "metadata": {"resourceVersion": meta.resource_version(node)},
            "spec": {"taints": after or None},
        }
        await client.patch(NODES, "", name, patch)

    await on_conflict(client.process, UPDATE_BACKOFF, attempt)


async def add_labels(client: RESTClient, name: str, labels: dict[str, str]) -> None:
    """Set labels of a node."""

    async def attempt() -> None:
        await client.patch(NODES, "", name, {"metadata": {"labels": labels}})

    await on_conflict(client.process, UPDATE_BACKOFF, attempt)
