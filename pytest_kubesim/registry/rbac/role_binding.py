"""RoleBindings."""

from __future__ import annotations

from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rbac import role_validation
from pytest_kubesim.registry.rbac.binding_strategy import BindingStrategy
from pytest_kubesim.registry.rest import Kind

KIND = Kind(
    strategy=BindingStrategy("rolebindings", ("Role", "ClusterRole"), namespaced=True),
    printer=printer("RoleBinding", role_validation.binding_row),
)
