"""IPAddresses: which address belongs to which service.

Follows `pkg/registry/networking/ipaddress/strategy.go` and
`pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.networking.references import missing, segment
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, Plain

_PARENT = SPEC.child("parentRef")


class IPAddressStrategy(Plain):
    """`/ipaddresses`."""

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """The name is the address in canonical form."""
        del prefix
        return addresses.is_valid_ip(name)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateIPAddress`, and that the parent stays."""
        parent: Object | None = parts.spec(obj).get("parentRef")
        if parent is None:
            return [field.required(_PARENT)]
        errors: ErrorList = []
        if group := parts.text(parent, "group"):
            details = formats.is_dns1123_subdomain(group)
            errors += field.invalid_each(_PARENT.child("group"), group, details)
        for key in ("resource", "name", "namespace"):
            errors += segment(parent, key, _PARENT)
        errors += missing(parent, _PARENT, "resource", "name")
        if old is not None and parts.spec(old).get("parentRef") != parent:
            errors.append(field.invalid(_PARENT, None, field.FIELD_IMMUTABLE))
        return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    parent: Object | None = parts.spec(obj).get("parentRef")
    shown = NONE
    if parent is not None:
        resource = GroupResource(parts.text(parent, "group"), parts.text(parent, "resource"))
        namespace = parts.text(parent, "namespace")
        shown = "/".join([str(resource).lower(), *([namespace] if namespace else [])])
        shown = f"{shown}/{parts.text(parent, 'name')}"
    return [obj["metadata"]["name"], shown, age(obj, now_ns)]


KIND = Kind(strategy=IPAddressStrategy(), printer=printer("IPAddress", _row))
