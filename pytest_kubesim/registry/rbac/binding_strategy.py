"""What RoleBindings and ClusterRoleBindings have in common: all but what they may bind, and where.

Follows `pkg/registry/rbac/{rolebinding,clusterrolebinding}/{strategy.go,policybased/storage.go}`
and `pkg/apis/rbac/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry.rbac import escalation, role_validation
from pytest_kubesim.registry.rest import Context
from pytest_kubesim.registry.strategies import Plain


class BindingStrategy(Plain):
    """A kind of bindings.

    Parameters: `resource`, its plural; `kinds` of roles that it may bind; `namespaced`, whether it
    lies in a namespace.
    """

    allow_create_on_update = True

    def __init__(self, resource: str, kinds: tuple[str, ...], *, namespaced: bool) -> None:
        self._resource = resource
        self._kinds = kinds
        self._namespaced = namespaced

    def default(self, obj: Object) -> Object:
        """The group of roles and of subjects."""
        return role_validation.default_binding(obj)

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """Names need only fit into a path."""
        return formats.is_valid_path_segment_name(name, prefix=prefix)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Only who has the rights of a role, or may bind it, may give it to others."""
        escalation.check_binding(ctx, self._resource, obj, None)
        return obj

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Only who has the rights of a role, or may bind it, may give it to others."""
        escalation.check_binding(ctx, self._resource, obj, old)
        return obj

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateRoleBinding`, `ValidateClusterRoleBinding`."""
        return role_validation.validate_binding(
            obj, old, kinds=self._kinds, namespaced=self._namespaced
        )
