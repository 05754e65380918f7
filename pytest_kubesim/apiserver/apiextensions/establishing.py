"""A definition whose names are accepted is established.

Follows `apiextensions-apiserver/pkg/controller/establish/establishing_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver.apiextensions.conditions import (
    ESTABLISHED,
    NAMES_ACCEPTED,
    TRUE,
    condition,
    is_true,
    with_condition,
)

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.apiextensions.controllers import Controllers

_ESTABLISHED = condition(
    ESTABLISHED, TRUE, "InitialNamesAccepted", "the initial names have been accepted"
)


async def sync(controllers: Controllers, name: str) -> None:
    """Establish a definition."""
    crd = controllers.crd(name)
    if crd is None or not is_true(crd, NAMES_ACCEPTED) or is_true(crd, ESTABLISHED):
        return
    await controllers.update_status(with_condition(crd, _ESTABLISHED, controllers.now))
