"""NamespaceAutoProvision: a namespace is made when something is created in it.

Follows `plugin/pkg/admission/namespace/autoprovision/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import loopback
from pytest_kubesim.apiserver.admission.chain import CREATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_NAMESPACES = GroupResource("", "namespaces")


class NamespaceAutoProvision(Plugin):
    """The plugin."""

    operations = (CREATE,)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Makes the namespace that is not there, but for dry runs."""
        name, server = attributes.namespace, attributes.server
        if attributes.dry_run or not name or attributes.resource.group_resource == _NAMESPACES:
            return obj
        if server.reader.get(_NAMESPACES, "", name) is not None:
            return obj
        namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await loopback.send(server, "POST", "/api/v1/namespaces", namespace)
        except APIStatus as error:
            if error.reason != "AlreadyExists":
                raise forbidden(attributes, error.message) from None
        return obj


PLUGIN = NamespaceAutoProvision()
