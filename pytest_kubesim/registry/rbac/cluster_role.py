"""ClusterRoles.

Follows `pkg/registry/rbac/clusterrole/{strategy.go,policybased/storage.go}` and
`pkg/apis/rbac/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, labels, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.rbac import escalation, role_validation
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain

_SELECTORS = Path("aggregationRule", "clusterRoleSelectors")


class ClusterRoleStrategy(Plain):
    """`/clusterroles`."""

    allow_create_on_update = True

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """Names need only fit into a path."""
        return formats.is_valid_path_segment_name(name, prefix=prefix)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Only who has the rights may put them into a role."""
        escalation.check_role(ctx, "clusterroles", obj, None)
        return obj

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Only who has the rights may put them into a role."""
        escalation.check_role(ctx, "clusterroles", obj, old)
        return obj

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateClusterRole`."""
        errors = role_validation.validate_rules(obj, namespaced=False)
        return errors + _aggregation(obj.get("aggregationRule"), old)


def _aggregation(rule: Object | None, old: Object | None) -> ErrorList:
    if rule is None:
        return []
    selectors = parts.structs(rule, "clusterRoleSelectors")
    errors: ErrorList = []
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        errors.append(field.required(_SELECTORS, detail))
    before = parts.structs(parts.struct(old, "aggregationRule"), "clusterRoleSelectors")
    lenient = any(metav1.validate_label_selector(each, _SELECTORS) for each in before)
    for position, selector in enumerate(selectors):
        path = _SELECTORS.index(position)
        errors += metav1.validate_label_selector(selector, path, allow_invalid_values=lenient)
        try:
            labels.from_label_selector(selector)
        except ValueError:
            errors.append(field.invalid(path, None, "invalid label selector."))
    return errors


KIND = Kind(strategy=ClusterRoleStrategy())
