"""What claims ask for: requests for devices, constraints among them, configuration for them.

The law: a stored expression is not looked at again.

Follows `pkg/apis/resource/validation/validation.go` and `dynamic-resource-allocation/cel`; what a
selector may cost is not estimated.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import attrs

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.cel import program, types
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CompileError
from pytest_kubesim.apimachinery.cel.library import kubernetes, quantities
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.resource import names

MAX_EXPRESSION = 10 * 1024
MAX_PARAMETERS = 10 * 1024
MAX_FIRST_AVAILABLE = 8
MODES = ("All", "ExactCount")
EXACT = "ExactCount"
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_ONE_ATTRIBUTE = (
    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are '
    "set"
)
_REFERENCE = (
    "must be the name of a request in the claim or the name of a request and a subrequest "
    "separated by '/'"
)
_DEVICE = types.struct("kubernetes.DRADevice")
Names = Mapping[str, frozenset[str]]


# -- defaults --------------------------------------------------------------------------------------


def _default_request(request: Object) -> Object:
    out: Object = dict(request)
    if not out.get("allocationMode"):
        out["allocationMode"] = EXACT
    if out["allocationMode"] == EXACT and not out.get("count"):
        out["count"] = 1
    return out


def default(spec: Object) -> Object:
    """`SetDefaults_ExactDeviceRequest` and `SetDefaults_DeviceSubRequest` in a claim's spec."""
    devices = parts.struct(spec, "devices")
    if not devices.get("requests"):
        return spec
    requests: list[Object] = []
    for request in parts.structs(devices, "requests"):
        out: Object = dict(request)
        if out.get("exactly") is not None:
            out["exactly"] = _default_request(out["exactly"])
        if out.get("firstAvailable"):
            out["firstAvailable"] = [_default_request(sub) for sub in out["firstAvailable"]]
        requests.append(out)
    return {**spec, "devices": {**devices, "requests": requests}}


# -- claims ----------------------------------------------------------------------------------------


def request_names(devices: Object) -> Names:
    """The requests of a claim and what each is made of."""
    return {
        names.named(request): frozenset(map(names.named, parts.structs(request, "firstAvailable")))
        for request in parts.structs(devices, "requests")
    }


def validate(spec: Object, path: Path) -> ErrorList:
    """`validateResourceClaimSpec`."""
    devices, path = parts.struct(spec, "devices"), path.child("devices")
    known = request_names(devices)
    errors = names.unique(
        parts.structs(devices, "requests"), 32, _request, path.child("requests"), names.named
    )
    errors += names.each(
        parts.structs(devices, "constraints"),
        32,
        lambda item, at: _constraint(item, at, known),
        path.child("constraints"),
    )
    return errors + names.each(
        parts.structs(devices, "config"),
        32,
        lambda item, at: configuration_of(item, at, known),
        path.child("config"),
    )


def _request(request: Object, path: Path) -> ErrorList:
    errors = names.short(names.named(request), path.child("name"))
    exactly: Object | None = request.get("exactly")
    first = parts.structs(request, "firstAvailable")
    if exactly is None and not first:
        errors.append(field.required(path, _ONE_OF))
    elif exactly is not None and first:
        errors.append(field.invalid(path, None, f"{_ONE_OF}, but multiple fields are set"))
    elif exactly is not None:
        errors += _wanted(exactly, path.child("exactly"))
    else:
        errors += names.unique(
            first, MAX_FIRST_AVAILABLE, _sub_request, path.child("firstAvailable"), names.named
        )
    return errors


def _sub_request(request: Object, path: Path) -> ErrorList:
    errors = names.short(names.named(request), path.child("name"))
    where = str(path.child("deviceClassName"))
    return errors + [
        attrs.evolve(error, declared=error.declared or error.field == where)
        for error in _wanted(request, path)
    ]


def _wanted(request: Object, path: Path) -> ErrorList:
    name, where = parts.text(request, "deviceClassName"), path.child("deviceClassName")
    errors = names.long(name, where) if name else [field.required(where)]
    errors += selectors(parts.structs(request, "selectors"), path.child("selectors"))
    mode, count = parts.text(request, "allocationMode"), parts.number(request, "count")
    where = path.child("count")
    if mode == "All" and count:
        detail = "must not be specified when allocationMode is 'All'"
        errors.append(field.invalid(where, count, detail))
    elif mode == EXACT and count <= 0:
        errors.append(field.invalid(where, count, "must be greater than zero"))
    elif mode not in MODES:
        errors += field.declared([field.not_supported(path.child("allocationMode"), mode, MODES)])
    for position, toleration in enumerate(parts.structs(request, "tolerations")):
        errors += names.toleration(toleration, path.child("tolerations").index(position))
    return errors


def _constraint(constraint: Object, path: Path, known: Names) -> ErrorList:
    errors = references(parts.texts(constraint, "requests"), path.child("requests"), known)
    for key in ("matchAttribute", "distinctAttribute"):
        name: str | None = constraint.get(key)
        if name is not None:
            return errors + field.declared(names.fully_qualified(name, path.child(key)))
    return [*errors, field.required(path, _ONE_ATTRIBUTE)]


def reference(name: str, path: Path, known: Names) -> ErrorList:
    """A request, or a part of it, that there is."""
    request, slash, sub = name.partition("/")
    if "/" in sub:
        return [field.invalid(path, name, _REFERENCE)]
    errors = names.short(request, path) + (names.short(sub, path) if slash else [])
    if request not in known or (slash and sub not in known[request]):
        errors.append(field.invalid(path, name, _REFERENCE))
    return errors


def references(given: list[str], path: Path, known: Names) -> ErrorList:
    """A set of such names."""
    return names.unique(given, 32, lambda name, at: reference(name, at, known), path)


# -- configuration and selectors -------------------------------------------------------------------


def configuration_of(config: Object, path: Path, known: Names) -> ErrorList:
    """Configuration for some of the requests."""
    errors = references(parts.texts(config, "requests"), path.child("requests"), known)
    return errors + configuration(config, path)


def configuration(config: Object, path: Path, *, stored: bool = False) -> ErrorList:
    """`validateDeviceConfiguration`."""
    opaque: Object | None = config.get("opaque")
    path = path.child("opaque")
    if opaque is None:
        return [field.required(path)]
    errors = names.declared_driver(parts.text(opaque, "driver"), path.child("driver"))
    where = path.child("parameters")
    parameters = opaque.get("parameters")
    if parameters is None:
        errors.append(field.required(where))
    elif not stored and len(golang.json_text(parameters)) > MAX_PARAMETERS:
        errors.append(field.too_long(where, MAX_PARAMETERS))
    elif not isinstance(parameters, dict):
        errors.append(field.invalid(where, "<value omitted>", "must be a valid JSON object"))
    return errors


@functools.cache
def environment() -> Environment:
    """What a selector may name: the device."""
    attributes = types.map_of(types.STRING, types.map_of(types.STRING, types.DYN))
    capacity = types.map_of(types.STRING, types.map_of(types.STRING, quantities.QUANTITY))
    device = StructType(
        {
            "driver": types.STRING,
            "attributes": attributes,
            "capacity": capacity,
            "allowMultipleAllocations": types.BOOL,
        }
    )
    return kubernetes.NEW.extend(variables={"device": _DEVICE}, structs={_DEVICE.name: device})


def _selector(selector: Object, path: Path) -> ErrorList:
    cel: Object | None = selector.get("cel")
    if cel is None:
        return [field.required(path.child("cel"))]
    expression, path = parts.text(cel, "expression"), path.child("cel", "expression")
    if len(expression.encode()) > MAX_EXPRESSION:
        return [field.too_long(path, MAX_EXPRESSION)]
    try:
        found = program.compile(expression, environment())
    except CompileError as error:
        return [field.invalid(path, expression, f"compilation failed: {error}")]
    if found.type in (types.BOOL, types.DYN):
        return []
    detail = f"must evaluate to bool or the unknown type, not {found.type}"
    return [field.invalid(path, expression, detail)]


def selectors(given: list[Object], path: Path) -> ErrorList:
    """New selectors of devices."""
    return names.each(given, names.SELECTORS, _selector, path)
