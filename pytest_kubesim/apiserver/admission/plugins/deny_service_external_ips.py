"""DenyServiceExternalIPs: services may not claim addresses of others.

Follows `plugin/pkg/admission/network/denyserviceexternalips/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import Attributes, Plugin, forbidden
from pytest_kubesim.registry import parts

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class DenyServiceExternalIPs(Plugin):
    """The plugin."""

    resources = frozenset({GroupResource("", "services")})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses external addresses that were not there before."""
        if obj is None or attributes.subresource:
            return
        new = set(parts.spec(obj).get("externalIPs") or ())
        old = attributes.old
        if new and (old is None or not new <= set(parts.spec(old).get("externalIPs") or ())):
            raise forbidden(attributes, "Use of external IPs is denied by admission control")


PLUGIN = DenyServiceExternalIPs()
