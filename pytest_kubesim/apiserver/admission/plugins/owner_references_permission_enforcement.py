"""OwnerReferencesPermissionEnforcement: who makes others owners may delete, and finalize them.

Follows `plugin/pkg/admission/gc/gc_admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, GroupVersionKind, parse_api_version
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin, forbidden
from pytest_kubesim.apiserver.filters.authorization import Attributes as AccessAttributes

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_PODS = GroupResource("", "pods")
_EXEMPT = frozenset({(_PODS, "status")})
"""Those who write the status of pods need not be able to delete them."""


class OwnerReferencesPermissionEnforcement(Plugin):
    """The plugin."""

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses owners that the user has no rights to."""
        if obj is None or (attributes.resource.group_resource, attributes.subresource) in _EXEMPT:
            return
        new, old = _owners(obj), _owners(attributes.old)
        if new == old:
            return
        if attributes.operation != CREATE:
            allowed, reason = await _may(
                attributes, "delete", attributes.resource.group, attributes.resource.version,
                attributes.resource.resource, attributes.subresource, attributes.namespace,
                attributes.name,
            )  # fmt: skip
            if not allowed:
                raise forbidden(
                    attributes,
                    f"cannot set an ownerRef on a resource you can't delete: {reason}, <nil>",
                )
        blocking = _newly_blocking(new, None if attributes.old is None else old)
        if not blocking:
            return
        if (await _may(attributes, "update", "*", "*", "*", "finalizers", "", "*"))[0]:
            return
        for owner in blocking:
            await _check(attributes, owner)


async def _check(attributes: Attributes, owner: Object) -> None:
    version = parse_api_version(owner["apiVersion"])
    kind: str = owner["kind"]
    found = attributes.server.catalog.by_kind(GroupVersionKind(*version, kind))
    if found is None:
        raise forbidden(
            attributes,
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for "
            f"APIVersion {owner['apiVersion']} Kind {kind}: no matches for kind {quote(kind)} in "
            f"version {quote(owner['apiVersion'])}",
        )
    namespace = attributes.namespace if found.namespaced else ""
    allowed, reason = await _may(
        attributes, "update", found.group, found.version, found.plural, "finalizers", namespace,
        owner["name"],
    )  # fmt: skip
    if not allowed:
        raise forbidden(
            attributes,
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't "
            f"set finalizers on: {reason}, <nil>",
        )


async def _may(
    attributes: Attributes,
    verb: str,
    group: str,
    version: str,
    resource: str,
    subresource: str,
    namespace: str,
    name: str,
) -> tuple[bool, str]:
    wanted = AccessAttributes(
        attributes.user,
        verb,
        is_resource=True,
        group=group,
        version=version,
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )
    decision, reason = await attributes.server.authorize(wanted)
    return decision == "allow", reason


def _owners(obj: Object | None) -> list[Object]:
    metadata: Object = {} if obj is None else obj.get("metadata") or {}
    return metadata.get("ownerReferences") or []


def _newly_blocking(new: list[Object], old: list[Object] | None) -> list[Object]:
    blocking = [each for each in new if each.get("blockOwnerDeletion")]
    if old is None:
        return blocking
    before = {each["uid"]: bool(each.get("blockOwnerDeletion")) for each in old}
    return [each for each in blocking if not before.get(each["uid"], False)]


PLUGIN = OwnerReferencesPermissionEnforcement()
