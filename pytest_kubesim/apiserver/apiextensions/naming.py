"""The names of definitions: whoever asks first has them.

Follows `apiextensions-apiserver/pkg/controller/status/naming_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import validation
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object, get_path
from pytest_kubesim.apiserver.apiextensions.conditions import (
    ESTABLISHED,
    FALSE,
    NAMES_ACCEPTED,
    TRUE,
    condition,
    equivalent,
    find,
    with_condition,
    with_status,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from pytest_kubesim.apiserver.apiextensions.controllers import Controllers

_NOT_ACCEPTED = condition(ESTABLISHED, FALSE, "NotAccepted", "not all names are accepted")
_INSTALLING = condition(ESTABLISHED, FALSE, "Installing", "the initial names have been accepted")
_NO_CONFLICTS = condition(NAMES_ACCEPTED, TRUE, "NoConflicts", "no conflicts found")
_ORDER = ("plural", "singular", "shortNames", "kind", "listKind", "categories")


async def sync(controllers: Controllers, name: str) -> None:
    """Accept the names of a definition, or say what is in the way."""
    crd = controllers.crd(name)
    if crd is None:
        _requeue_others(controllers, name)
        return
    requested: Object = _printed(crd["spec"]["names"])
    accepted: Object = _printed(get_path(crd, "status", "acceptedNames") or {})
    if requested == accepted:
        return
    names, named, established = _calculate(controllers, crd, requested, accepted)
    if names == accepted and equivalent(named, find(crd, NAMES_ACCEPTED)):
        return
    new = with_status(crd, acceptedNames=names)
    new = with_condition(new, named, controllers.now)
    new = with_condition(new, established, controllers.now)
    if await controllers.update_status(new) is not None:
        _requeue_others(controllers, name)


def _printed(names: Object) -> Object:
    """Names without those that are empty."""
    return {key: names[key] for key in _ORDER if names.get(key)}


def _calculate(
    controllers: Controllers, crd: Object, requested: Object, accepted: Object
) -> tuple[Object, Object, Object]:
    """The names accepted now, and the two conditions that follow."""
    resources, kinds = _taken(controllers, crd["spec"]["group"])
    names: Object = dict(accepted)
    problem: Object | None = None

    def claim(key: str, reason: str, taken: AbstractSet[str]) -> None:
        nonlocal problem
        wanted, had = requested.get(key) or "", accepted.get(key) or ""
        if wanted != had and wanted in taken:
            problem = condition(NAMES_ACCEPTED, FALSE, reason, _in_use(wanted))
        else:
            names[key] = wanted

    claim("plural", "PluralConflict", resources)
    claim("singular", "SingularConflict", resources)
    if requested.get("shortNames") != accepted.get("shortNames"):
        own: list[str] = accepted.get("shortNames") or []
        short: list[str] = requested.get("shortNames") or []
        conflicts = [_in_use(each) for each in short if each not in own and each in resources]
        if conflicts:
            text = validation.aggregate(conflicts)
            problem = condition(NAMES_ACCEPTED, FALSE, "ShortNamesConflict", text)
        else:
            names["shortNames"] = short
    claim("kind", "KindConflict", kinds)
    claim("listKind", "ListKindConflict", kinds)
    names["categories"] = requested.get("categories") or []
    named = problem or _NO_CONFLICTS
    established = find(crd, ESTABLISHED) or _NOT_ACCEPTED
    if established["status"] != TRUE and named["status"] == TRUE:
        established = _INSTALLING
    return _printed(names), named, established


def _in_use(name: str) -> str:
    return f"{quote(name)} is already in use"


def _taken(controllers: Controllers, group: str) -> tuple[set[str], set[str]]:
    """The names of resources and of kinds that definitions of a group have."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for crd in controllers.serving.crds.values():
        if crd["spec"]["group"] != group:
            continue
        names: Object = get_path(crd, "status", "acceptedNames") or {}
        resources |= {
            names.get("plural") or "",
            names.get("singular") or "",
            *(names.get("shortNames") or ()),
        }
        kinds |= {names.get("kind") or "", names.get("listKind") or ""}
    return resources, kinds


def _requeue_others(controllers: Controllers, name: str) -> None:
    """The others of the group may have a name now that they had to do without."""
    group = name.partition(".")[2]
    for other, crd in sorted(controllers.serving.crds.items()):
        if crd["spec"]["group"] == group and other != name:
            controllers.queue("naming", sync, other)
