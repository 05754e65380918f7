"""Says in a condition whether the community has approved of a definition in a group of its own.

Follows `apiextensions-apiserver/pkg/controller/apiapproval/apiapproval_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver.apiextensions.conditions import (
    API_APPROVED,
    FALSE,
    TRUE,
    condition,
    equivalent,
    find,
    with_condition,
)
from pytest_kubesim.registry.apiextensions import approval

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.apiextensions.controllers import Controllers


async def sync(controllers: Controllers, name: str) -> None:
    """Set the condition of a definition."""
    crd = controllers.crd(name)
    if crd is None:
        return
    state = approval.state(crd)
    status = TRUE if state.reason == approval.APPROVED_ANNOTATION else FALSE
    new = condition(API_APPROVED, status, state.reason, state.message)
    if not equivalent(new, find(crd, API_APPROVED)):
        await controllers.update_status(with_condition(crd, new, controllers.now))
