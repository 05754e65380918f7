"""ResourceQuota: what the objects of a namespace may use together.

A quota binds once its `status.hard` is set, which a controller does.  What a new object uses is
added to `status.used` at once; that it is gone is for the controller to find out.

Follows `apiserver/pkg/admission/plugin/resourcequota/{admission,controller}.go`; the evaluators are
`registry.quota`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, get_path
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import loopback
from pytest_kubesim.apiserver.admission.chain import CREATE, UPDATE, Attributes, Plugin, forbidden
from pytest_kubesim.registry import quota
from pytest_kubesim.registry.quota import ResourceList

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_kubesim.apimachinery.meta import Object

QUOTAS = GroupResource("", "resourcequotas")
RETRIES = 3

_NAMESPACE = GroupKind("", "Namespace")
_CHANGING = (quota.SERVICES, quota.CLAIMS, quota.DEVICE_CLAIMS)
"""What may come to use more by an update."""


class ResourceQuota(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    configured_by = QUOTAS

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what a quota has no room for; counts what it has."""
        if obj is None or not attributes.namespace:
            return
        if attributes.operation == CREATE and attributes.kind.group_kind == _NAMESPACE:
            return
        resource = attributes.resource.group_resource
        if resource in quota.IGNORED or not _handles(attributes, obj):
            return
        quotas = attributes.server.reader.list(QUOTAS, attributes.namespace)
        if quotas:
            await _enforce(attributes, obj, quotas)


def _handles(attributes: Attributes, obj: Object) -> bool:
    """Whether the request can change what is used (`Evaluator.Handles`)."""
    resource, operation = attributes.resource.group_resource, attributes.operation
    subresource, old = attributes.subresource, attributes.old
    if resource == quota.PODS:
        if subresource == "resize":
            return operation == UPDATE
        if subresource:
            return False
        if operation == UPDATE and old is not None:
            return quota.is_terminating(obj) != quota.is_terminating(old)
        return operation == CREATE
    if resource == quota.CLAIMS and subresource == "status" and old is not None:
        return quota.requires_replenish(obj, old)
    if subresource:
        return False
    return operation == CREATE or resource in _CHANGING


async def _enforce(attributes: Attributes, obj: Object, quotas: Sequence[Object]) -> None:
    """Check against all quotas and count; those that changed meanwhile are looked at anew."""
    for attempt in range(RETRIES + 1):
        charged = _check(attributes, obj, quotas)
        if attributes.dry_run:
            return
        failed: list[str] = []
        refusal: APIStatus | None = None
        for old, new in charged:
            if _equal(_used(old), _used(new)):
                continue
            name: str = new["metadata"]["name"]
            path = f"/api/v1/namespaces/{attributes.namespace}/resourcequotas/{name}/status"
            try:
                await loopback.send(attributes.server, "PUT", path, new)
            except APIStatus as error:
                failed.append(name)
                refusal = error
        if refusal is None:
            return
        if attempt == RETRIES:
            raise refusal
        present = attributes.server.reader.list(QUOTAS, attributes.namespace)
        quotas = [each for each in present if each["metadata"]["name"] in failed]


@attrs.frozen
class _Bound:
    """A quota that the request has to fit into, and what it would add to it."""

    quota: Object
    delta: ResourceList


def _check(
    attributes: Attributes, obj: Object, quotas: Sequence[Object]
) -> list[tuple[Object, Object]]:
    """Each quota that is concerned, as it is and with the request counted.

    Raises `APIStatus` (403).
    """
    resource = attributes.resource.group_resource
    concerned = [each for each in quotas if _concerns(attributes, each, obj)]
    now_ns = attributes.server.process.now_ns()
    usage = quota.usage(resource, obj, now_ns)
    negative = sorted(name for name, amount in usage.items() if quantity.sign(amount) < 0)
    if negative:
        text = f"quota usage is negative for resource(s): {','.join(negative)}"
        raise forbidden(attributes, text)
    bounds: list[_Bound] = []
    for each in concerned:
        delta: ResourceList = usage
        old = attributes.old
        if old is not None and _matches(resource, each, old):
            delta = _grown(usage, quota.usage(resource, old, now_ns))
        delta = {name: amount for name, amount in delta.items() if not quantity.is_zero(amount)}
        if delta:
            bounds.append(_Bound(each, delta))
    return [(bound.quota, _charged(attributes, bound)) for bound in bounds]


def _concerns(attributes: Attributes, each: Object, obj: Object) -> bool:
    """Whether a quota is about the object.  Raises `APIStatus` (403) where it cannot be told."""
    resource = attributes.resource.group_resource
    if not _matches(resource, each, obj):
        return False
    name: str = each["metadata"]["name"]
    restricted = quota.measured(resource, _hard(each))
    if resource == quota.PODS:
        problem = quota.missing(obj, restricted)
        if problem:
            raise forbidden(attributes, f"failed quota: {name}: {problem}")
    used = _used(each)
    if any(every not in used for every in restricted):
        names = ",".join(sorted(restricted))
        raise forbidden(attributes, f"status unknown for quota: {name}, resources: {names}")
    return True


def _matches(resource: GroupResource, each: Object, obj: Object) -> bool:
    if not quota.measured(resource, _hard(each)):
        return False
    return all(quota.in_scope(resource, scope, obj) for scope in quota.scopes(each))


def _charged(attributes: Attributes, bound: _Bound) -> Object:
    """The quota with the request counted.  Raises `APIStatus` (403) where there is no room."""
    hard, used = _hard(bound.quota), _used(bound.quota)
    requested = {name: amount for name, amount in bound.delta.items() if name in hard}
    total = dict(used)
    for name, amount in requested.items():
        total[name] = quantity.add(total[name], amount) if name in total else amount
    if attributes.subresource != "status":
        exceeded = [name for name in requested if quantity.cmp(total[name], hard[name]) > 0]
        if exceeded:
            raise forbidden(
                attributes,
                f"exceeded quota: {bound.quota['metadata']['name']}, "
                f"requested: {_printed(requested, exceeded)}, used: {_printed(used, exceeded)}, "
                f"limited: {_printed(hard, exceeded)}",
            )
    return {**bound.quota, "status": {**bound.quota["status"], "used": total}}


def _hard(each: Object) -> ResourceList:
    return get_path(each, "status", "hard") or {}


def _used(each: Object) -> ResourceList:
    return get_path(each, "status", "used") or {}


def _equal(left: Mapping[str, str], right: Mapping[str, str]) -> bool:
    return left.keys() == right.keys() and all(
        not quantity.cmp(left[name], right[name]) for name in left
    )


def _grown(new: Mapping[str, str], old: Mapping[str, str]) -> ResourceList:
    """How much more is used, nothing where it is less (`SubtractWithNonNegativeResult`)."""
    found: ResourceList = {}
    for name, amount in new.items():
        difference = quantity.sub(amount, old[name]) if name in old else amount
        found[name] = difference if quantity.sign(difference) > 0 else "0"
    return found


def _printed(amounts: Mapping[str, str], names: Iterable[str]) -> str:
    chosen = sorted(name for name in names if name in amounts)
    return ",".join(f"{name}={quantity.canonical(amounts[name])}" for name in chosen)


PLUGIN = ResourceQuota()
