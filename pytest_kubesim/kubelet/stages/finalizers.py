"""The JSON patch that changes finalizers as a stage says.

Follows `pkg/utils/lifecycle/finalizers.go` of `sigs.k8s.io/kwok@v0.8.0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

PATH = "/metadata/finalizers"


def operations(have: list[str], change: Object) -> list[Object]:
    """What to do to an object with the finalizers `have`: `add`, `remove`, `empty`."""
    adding = [item["value"] for item in change.get("add") or ()]
    removing = {item["value"] for item in change.get("remove") or ()}
    found: list[Object] = []
    emptied = bool(change.get("empty"))
    if not emptied and removing:
        removed: list[Object] = [
            {"op": "remove", "path": f"{PATH}/{at}"}
            for at in range(len(have) - 1, -1, -1)
            if have[at] in removing
        ]
        emptied = len(removed) == len(have)
        if not emptied:
            found += removed
    if emptied and have:
        found.append({"op": "remove", "path": PATH})
    if not adding:
        return found
    if emptied or not have:
        return [*found, {"op": "add", "path": PATH, "value": adding}]
    return found + [
        {"op": "add", "path": f"{PATH}/-", "value": name} for name in adding if name not in have
    ]
