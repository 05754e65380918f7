"""NamespaceExists: whatever is changed is in a namespace that is there.

Follows `plugin/pkg/admission/namespace/exists/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import CREATE, DELETE, UPDATE, Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_NAMESPACES = GroupResource("", "namespaces")


class NamespaceExists(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, DELETE)

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what is nowhere."""
        del obj
        name = attributes.namespace
        if not name or attributes.resource.group_resource == _NAMESPACES:
            return
        if attributes.server.reader.get(_NAMESPACES, "", name) is None:
            raise status.new_not_found(_NAMESPACES, name)


PLUGIN = NamespaceExists()
