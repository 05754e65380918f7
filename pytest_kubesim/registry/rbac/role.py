"""Roles.

Follows `pkg/registry/rbac/role/{strategy.go,policybased/storage.go}` and
`pkg/apis/rbac/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry.rbac import escalation, role_validation
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain


class RoleStrategy(Plain):
    """`/roles`."""

    allow_create_on_update = True

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """Names need only fit into a path."""
        return formats.is_valid_path_segment_name(name, prefix=prefix)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Only who has the rights may put them into a role."""
        escalation.check_role(ctx, "roles", obj, None)
        return obj

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Only who has the rights may put them into a role."""
        escalation.check_role(ctx, "roles", obj, old)
        return obj

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateRole`."""
        del old
        return role_validation.validate_rules(obj, namespaced=True)


KIND = Kind(strategy=RoleStrategy())
