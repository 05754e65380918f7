"""ClusterRoleBindings.

Follows `pkg/registry/rbac/clusterrolebinding/{strategy.go,policybased/storage.go}` and
`pkg/apis/rbac/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rbac import escalation, role_validation
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain

KINDS = ("ClusterRole",)


class ClusterRoleBindingStrategy(Plain):
    """`/clusterrolebindings`."""

    allow_create_on_update = True

    def default(self, obj: Object) -> Object:
        """The group of roles and of subjects."""
        return role_validation.default_binding(obj)

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """Names need only fit into a path."""
        return formats.is_valid_path_segment_name(name, prefix=prefix)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Only who has the rights of a role, or may bind it, may give it to others."""
        escalation.check_binding(ctx, "clusterrolebindings", obj, None)
        return obj

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Only who has the rights of a role, or may bind it, may give it to others."""
        escalation.check_binding(ctx, "clusterrolebindings", obj, old)
        return obj

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateClusterRoleBinding`."""
        return role_validation.validate_binding(obj, old, kinds=KINDS, namespaced=False)


KIND = Kind(
    strategy=ClusterRoleBindingStrategy(),
    printer=printer("ClusterRoleBinding", role_validation.binding_row),
)
