"""What an allocation says: the devices with what is configured for them, and from where they serve.

The law: a configuration of a class stands once, for all requests of the class; one that applies to
every request names none.

Follows the second half of `Allocate` of
`dynamic-resource-allocation/structured/internal/incubating/allocator_incubating.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.scheduler.device_allocator import is_named
from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.device_allocator import Choice


def allocation(
    claim: Object, choices: list[Choice], node: str, share_id: Callable[[], str]
) -> Object:
    """The `allocation` of a claim that got those devices on a node.

    `share_id()` makes the identity of a share.
    """
    devices: Object = {"results": [_result(choice, share_id) for choice in choices]}
    if config := _config(claim, choices):
        devices["config"] = config
    found: Object = {"devices": devices}
    if selector := _selector(choices, node):
        found["nodeSelector"] = selector
    return found


def _result(choice: Choice, share_id: Callable[[], str]) -> Object:
    request, device = choice.request, choice.device
    result: Object = {
        "request": request.name,
        "driver": device.driver,
        "pool": device.pool,
        "device": device.name,
    }
    if request.admin:
        result["adminAccess"] = True
    if request.spec.get("tolerations"):
        result["tolerations"] = request.spec["tolerations"]
    for key in ("bindingConditions", "bindingFailureConditions"):
        if device.obj.get(key):
            result[key] = device.obj[key]
    if choice.consumed is not None:
        result["shareID"] = share_id()
        if choice.consumed:
            result["consumedCapacity"] = dict(choice.consumed)
    return result


def _config(claim: Object, choices: list[Choice]) -> list[Object]:
    requests: list[Object] = claim["spec"]["devices"].get("requests") or []
    served = {choice.request.name.partition("/")[0]: choice.request for choice in choices}
    found: list[tuple[Object, list[str]]] = []
    of_class: dict[str, list[list[str]]] = {}
    for request in requests:
        made = served.get(request["name"])
        if made is None:
            continue
        name = meta.name(made.class_)
        if name in of_class:
            for names in of_class[name]:
                names.append(made.name)
            continue
        of_class[name] = []
        for entry in made.class_["spec"].get("config") or ():
            names = [made.name]
            of_class[name].append(names)
            found.append(({"source": "FromClass", **entry}, names))
    names_of_served = [made.name for made in served.values()]
    for entry in claim["spec"]["devices"].get("config") or ():
        wanted: list[str] = entry.get("requests") or []
        if not wanted or any(is_named(name, wanted) for name in names_of_served):
            found.append(({"source": "FromClaim", **entry}, wanted))
    return [_for(entry, names, names_of_served) for entry, names in found]


def _for(entry: Object, names: list[str], served: list[str]) -> Object:
    """A configuration with the requests that it is for; without them where it is for all."""
    plain = {key: value for key, value in entry.items() if key != "requests"}
    if not names or all(is_named(name, names) for name in served):
        return plain
    return {**plain, "requests": names}


def _selector(choices: list[Choice], node: str) -> Object | None:
    """Where the devices can be reached from; None: everywhere."""
    expressions: list[Object] = []
    fields: list[Object] = []
    for choice in choices:
        spec: Object = choice.device.slice["spec"]
        if spec.get("perDeviceNodeSelection"):
            spec = choice.device.obj
        if spec.get("nodeName") or choice.device.obj.get("bindsToNode"):
            only = [{"key": "metadata.name", "operator": "In", "values": [node]}]
            return {"nodeSelectorTerms": [{"matchFields": only}]}
        for term in (spec.get("nodeSelector") or NOTHING).get("nodeSelectorTerms") or ():
            _add_new(term.get("matchFields") or [], fields)
            _add_new(term.get("matchExpressions") or [], expressions)
    term: Object = {}
    if expressions:
        term["matchExpressions"] = expressions
    if fields:
        term["matchFields"] = fields
    return {"nodeSelectorTerms": [term]} if term else None


def _add_new(requirements: list[Object], known: list[Object]) -> None:
    for requirement in requirements:
        if not any(_is_same(requirement, other) for other in known):
            known.append(requirement)


def _is_same(left: Object, right: Object) -> bool:
    return (
        left["key"] == right["key"]
        and left["operator"] == right["operator"]
        and set(left.get("values") or ()) == set(right.get("values") or ())
    )
