"""ServiceAccounts.

Follows `pkg/registry/core/serviceaccount/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain, annotations_of

_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_DEPRECATED = (
    f"metadata.annotations[{_MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to "
    "isolate access to mounted secrets"
)


def _with_bare_secrets(obj: Object) -> Object:
    secrets: list[Object] | None = obj.get("secrets")
    if not secrets:
        return obj
    bare = [{"name": s["name"]} if s.get("name") else {} for s in secrets]
    return {**obj, "secrets": bare}


class ServiceAccountStrategy(Plain):
    """`/serviceaccounts`."""

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """References to secrets are names."""
        del ctx
        return _with_bare_secrets(obj)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """References to secrets are names."""
        del ctx, old
        return _with_bare_secrets(obj)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """An annotation on its way out."""
        del ctx
        return [_DEPRECATED] if _MOUNTABLE in annotations_of(obj) else []

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """An annotation on its way out, if it is new."""
        return [] if _MOUNTABLE in annotations_of(old) else self.warnings_on_create(ctx, obj)


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now_ns)]


KIND = Kind(strategy=ServiceAccountStrategy(), printer=printer("ServiceAccount", _row))
