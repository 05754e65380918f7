"""AlwaysDeny: refuses every change and every connection; deprecated.

Follows `plugin/pkg/admission/deny/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver.admission.chain import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Plugin,
    forbidden,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

REFUSAL = "admission control is denying all modifications"


class AlwaysDeny(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, DELETE, CONNECT)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Refuses."""
        del obj
        raise forbidden(attributes, REFUSAL)

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses."""
        del obj
        raise forbidden(attributes, REFUSAL)


PLUGIN = AlwaysDeny()
