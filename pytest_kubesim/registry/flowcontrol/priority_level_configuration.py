"""PriorityLevelConfigurations: how many requests of a level are served at once.

Follows `pkg/registry/flowcontrol/prioritylevelconfiguration/strategy.go`,
`pkg/apis/flowcontrol/v1/defaults.go` and `pkg/apis/flowcontrol/validation/validation.go`.
"""

from __future__ import annotations

import math
from typing import Any

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.flowcontrol.conditions import FlowStatusStrategy, validate_conditions
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, WithStatus, semantically_equal

EXEMPT = "exempt"
TYPES = ("Exempt", "Limited")
RESPONSES = ("Queue", "Reject")
MAX_QUEUES = 10_000_000
MAX_HASH_BITS = 60
_COUNT = "must be a non-negative integer"
_PERCENT = "must be between 0 and 100, inclusive"
_QUEUING: Object = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


MANDATORY: dict[str, Object] = {
    EXEMPT: {"type": "Exempt"},
    "catch-all": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 5,
            "limitResponse": {"type": "Reject"},
            "lendablePercent": 0,
        },
    },
}
"""Their specs are fixed (`internalbootstrap.MandatoryPriorityLevelConfigurations`)."""


class PriorityLevelConfigurationStrategy(WithStatus):
    """`/prioritylevelconfigurations`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetDefaults_LimitedPriorityLevelConfiguration` and its kin."""
        spec: Object = dict(parts.spec(obj))
        for key, shares in (("exempt", 0), ("limited", 30)):
            given: Object | None = spec.get(key)
            if given is not None:
                known = {k: v for k, v in given.items() if v is not None}
                spec[key] = {"nominalConcurrencyShares": shares, "lendablePercent": 0, **known}
        limited: Object | None = spec.get("limited")
        queuing: Object | None = parts.struct(limited, "limitResponse").get("queuing")
        if limited is not None and queuing is not None:
            full = {**_QUEUING, **{key: value for key, value in queuing.items() if value}}
            response = {**parts.struct(limited, "limitResponse"), "queuing": full}
            spec["limited"] = {**limited, "limitResponse": response}
        return {**obj, "spec": spec}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePriorityLevelConfiguration`."""
        del old
        name, spec = parts.text(obj["metadata"], "name"), parts.spec(obj)
        errors, declared = _spec(name, spec)
        errors += _fixed(name, spec)
        return errors + validate_conditions(obj) + declared


def _fixed(name: str, spec: Object) -> ErrorList:
    """`ValidateIfMandatoryPriorityLevelConfigurationObject`."""
    wanted = MANDATORY.get(name)
    if wanted is None:
        return []
    compared = {k: v for k, v in spec.items() if name != EXEMPT or k != "exempt"}
    if semantically_equal(compared, wanted):
        return []
    but = " except the 'spec.exempt' field" if name == EXEMPT else ""
    detail = f"spec of '{name}'{but} must equal the fixed value"
    return [field.invalid(SPEC, field.Printed(_text(spec)), detail)]


def _text(spec: Object) -> str:
    """The JSON of a spec's internal struct."""
    limited: Object | None = spec.get("limited")
    exempt: Object | None = spec.get("exempt")
    shown: Object = {"Type": parts.text(spec, "type"), "Limited": None, "Exempt": None}
    if limited is not None:
        response = parts.struct(limited, "limitResponse")
        queuing: Object | None = response.get("queuing")
        keys = {"queues": "Queues", "handSize": "HandSize", "queueLengthLimit": "QueueLengthLimit"}
        shown["Limited"] = {
            "NominalConcurrencyShares": parts.number(limited, "nominalConcurrencyShares"),
            "LimitResponse": {
                "Type": parts.text(response, "type"),
                "Queuing": None
                if queuing is None
                else {name: parts.number(queuing, key) for key, name in keys.items()},
            },
            "LendablePercent": limited.get("lendablePercent"),
            "BorrowingLimitPercent": limited.get("borrowingLimitPercent"),
        }
    if exempt is not None:
        shown["Exempt"] = {
            "NominalConcurrencyShares": exempt.get("nominalConcurrencyShares"),
            "LendablePercent": exempt.get("lendablePercent"),
        }
    return golang.json_text(shown, sort_keys=False)


def _spec(name: str, spec: Object) -> tuple[ErrorList, ErrorList]:
    kind = parts.text(spec, "type")
    limited: Object | None = spec.get("limited")
    exempt: Object | None = spec.get("exempt")
    errors: ErrorList = []
    declared: ErrorList = []
    where = SPEC.child("type")
    if (name == EXEMPT) != (kind == "Exempt"):
        detail = "must be 'Exempt' if and only if `name` is 'exempt'"
        errors.append(field.invalid(where, kind, detail))
    if kind == "Exempt":
        if exempt is not None:
            errors += _shares(exempt, SPEC.child("exempt"))
            errors += _lendable(exempt, SPEC.child("exempt"))
    elif kind == "Limited":
        if limited is None:
            declared.append(field.required(SPEC.child("limited")))
        else:
            errors += _limited(limited, SPEC.child("limited"), declared)
    elif kind:
        errors.append(field.not_supported(where, kind, TYPES))
    else:
        declared.append(field.required(where))
    if exempt is not None and kind != "Exempt":
        declared.insert(0, field.forbidden(SPEC.child("exempt"), ""))
    if limited is not None and kind != "Limited":
        declared.append(field.forbidden(SPEC.child("limited"), ""))
        _limited(limited, SPEC.child("limited"), declared)
    return errors, declared


def _shares(level: Object, path: Path) -> ErrorList:
    shares = parts.number(level, "nominalConcurrencyShares")
    if shares >= 0:
        return []
    return [field.invalid(path.child("nominalConcurrencyShares"), shares, _COUNT)]


def _lendable(level: Object, path: Path) -> ErrorList:
    percent = level.get("lendablePercent")
    if percent is None or 0 <= percent <= 100:
        return []
    return [field.invalid(path.child("lendablePercent"), percent, _PERCENT)]


def _limited(level: Object, path: Path, declared: ErrorList) -> ErrorList:
    errors = _shares(level, path)
    response, where = parts.struct(level, "limitResponse"), path.child("limitResponse")
    kind = parts.text(response, "type")
    queuing: Object | None = response.get("queuing")
    if queuing is not None and kind != "Queue":
        declared.append(field.forbidden(where.child("queuing"), ""))
    if kind == "Queue":
        if queuing is None:
            declared.append(field.required(where.child("queuing")))
        else:
            errors += _queuing(queuing, where.child("queuing"))
    elif kind and kind not in RESPONSES:
        errors.append(field.not_supported(where.child("type"), kind, RESPONSES))
    elif not kind:
        declared.append(field.required(where.child("type")))
    errors += _lendable(level, path)
    limit = level.get("borrowingLimitPercent")
    if limit is not None and limit < 0:
        detail = "if specified, must be a non-negative integer"
        errors.append(field.invalid(path.child("borrowingLimitPercent"), limit, detail))
    return errors


def _queuing(queuing: Object, path: Path) -> ErrorList:
    limit, queues, hand = (
        parts.number(queuing, key) for key in ("queueLengthLimit", "queues", "handSize")
    )
    errors: ErrorList = []
    if limit <= 0:
        errors.append(field.invalid(path.child("queueLengthLimit"), limit, "must be positive"))
    where = path.child("queues")
    if queues <= 0:
        errors.append(field.invalid(where, queues, "must be positive"))
    elif queues > MAX_QUEUES:
        errors.append(field.invalid(where, queues, f"must not be greater than {MAX_QUEUES}"))
    where = path.child("handSize")
    if hand <= 0:
        errors.append(field.invalid(where, hand, "must be positive"))
    elif hand > queues:
        detail = f"should not be greater than queues ({queues})"
        errors.append(field.invalid(where, hand, detail))
    elif math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be "
            f"greater than {MAX_HASH_BITS}"
        )
        errors.append(field.invalid(where, hand, detail))
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    limited: Object | None = spec.get("limited")
    queuing: Object | None = parts.struct(limited, "limitResponse").get("queuing")
    cells = (
        [NONE] * 3
        if queuing is None
        else [parts.number(queuing, key) for key in ("queues", "handSize", "queueLengthLimit")]
    )
    return [
        obj["metadata"]["name"],
        parts.text(spec, "type"),
        NONE if limited is None else parts.number(limited, "nominalConcurrencyShares"),
        *cells,
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=PriorityLevelConfigurationStrategy(),
    status=FlowStatusStrategy(),
    printer=printer("PriorityLevelConfiguration", _row),
)
