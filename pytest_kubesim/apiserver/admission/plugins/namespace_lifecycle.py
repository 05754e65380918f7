"""NamespaceLifecycle: nothing is made in a namespace that is missing or going.

It also keeps `default`, `kube-system` and `kube-public` from being deleted.  Follows
`apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import (
    CREATE,
    DELETE,
    Attributes,
    Plugin,
    forbidden,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NAMESPACES = GroupResource("", "namespaces")
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})

_ACCESS_REVIEWS = frozenset({"localsubjectaccessreviews"})


class NamespaceLifecycle(Plugin):
    """The plugin."""

    # Changes need no living namespace, or nothing could be cleaned up.
    operations = (CREATE, DELETE)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Refuses what has no living namespace to be in."""
        resource = attributes.resource
        if (
            attributes.operation == DELETE
            and resource.group_resource == NAMESPACES
            and attributes.name in IMMORTAL
        ):
            raise status.new_forbidden(
                NAMESPACES, attributes.name, "this namespace may not be deleted"
            )
        if not attributes.namespace or resource.group_resource == NAMESPACES:
            return obj
        if attributes.operation != CREATE:
            return obj
        if resource.group == "authorization.k8s.io" and resource.resource in _ACCESS_REVIEWS:
            return obj
        namespace = attributes.server.reader.get(NAMESPACES, "", attributes.namespace)
        if namespace is None:
            raise status.new_not_found(NAMESPACES, attributes.namespace)
        if get_path(namespace, "status", "phase") == "Terminating":
            name = attributes.namespace
            error = forbidden(
                attributes,
                f"unable to create new content in namespace {name} because it is being terminated",
            )
            raise error.with_details(
                causes=[
                    status.cause(
                        status.NAMESPACE_TERMINATING,
                        f"namespace {name} is being terminated",
                        "metadata.namespace",
                    )
                ]
            )
        return obj


PLUGIN = NamespaceLifecycle()
