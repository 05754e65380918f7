"""What calls may cost, told from the sizes that their arguments may have.

The law: as in ``costs``, the numbers are upstream's.

Follows ``apiserver/pkg/cel/library/cost.go``, ``functionCost`` of ``cel-go/checker/cost.go`` and
the estimators of ``cel-go/ext``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from pytest_kubesim.apimachinery.cel.estimates import MOST, NOTHING, ONE, UNKNOWN, Estimate, fixed
from pytest_kubesim.apimachinery.cel.library.costs import (
    CHECK_COST,
    CONSTANT_COSTS,
    ELEMENT_TYPES,
    LIST_COST,
    REGEX_FACTOR,
    REQUIREMENTS_PER_CHARACTER,
    STRING_FACTOR,
    STRUCT_COST,
)
from pytest_kubesim.apimachinery.cel.syntax import Literal, Node
from pytest_kubesim.apimachinery.cel.types import Type

Path: TypeAlias = tuple[str, ...]
Call: TypeAlias = tuple[Estimate, Estimate | None]
"""The cost of a call, and the size of its result if it is known."""

_ADDRESS = Estimate(4, 16)
_MAX_FORMAT_SIZE = 64
_MAX_NAME_REGEX_SIZE = 128


@attrs.frozen
class Operand:
    """What a function is applied to."""

    node: Node
    path: Path
    type: Type
    known_size: Estimate | None
    size_of: Callable[[Path], Estimate | None]

    @property
    def size(self) -> Estimate:
        """How large it may be."""
        return self.known_size or UNKNOWN

    @property
    def element(self) -> tuple[Type, Estimate] | None:
        """The type and the size of its elements, if it is a list or a map."""
        if not self.type.params:
            return None
        found = self.size_of((*self.path, "@items")) if self.path else None
        return self.type.params[0], found or UNKNOWN


_Estimator: TypeAlias = Callable[[Operand | None, Sequence[Operand]], Call | None]


def of_call(function: str, overload: str, target: Operand | None, args: Sequence[Operand]) -> Call:
    """What one overload may cost; a method's ``target`` is what it is called on."""
    estimator = _BY_OVERLOAD.get(overload) or _BY_FUNCTION.get(function)
    if estimator is not None:
        found = estimator(target, args)
        if found is not None:
            return found
    plain = _STANDARD.get(overload)
    found = plain(target, args) if plain is not None else None
    return found or (ONE, None)


def _constant(cost: int) -> _Estimator:
    return lambda _target, _args: (fixed(cost), None)


# -- Kubernetes' functions -------------------------------------------------------------------------


def _selector(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    length = args[0].size
    requirements = length.scaled(REQUIREMENTS_PER_CHARACTER).scaled(LIST_COST + STRUCT_COST)
    return fixed(LIST_COST).plus(length.scaled(STRING_FACTOR)).plus(requirements), None


def _walk_list(*, counts_dynamic: bool) -> _Estimator:
    def run(target: Operand | None, _args: Sequence[Operand]) -> Call | None:
        if target is None:
            return None
        element = target.element
        if element is None:
            if counts_dynamic:
                return target.size, None
            return target.size.scaled(STRING_FACTOR), None
        cost = ONE
        if element[0].kind in ("string", "bytes"):
            cost = cost.plus(element[1].scaled(STRING_FACTOR))
        return target.size.times(cost), None

    return run


def _walk_arg(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    del target
    return args[0].size.scaled(STRING_FACTOR), None


def _keep_arg(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    return args[0].size.scaled(STRING_FACTOR), args[0].size


def _keep_target(target: Operand | None, _args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    return target.size.scaled(STRING_FACTOR), target.size


def _replace(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    size, old, new = target.size, args[0].size, args[1].size
    most = least = kept_most = kept_least = 0
    if old.least == 0:
        most, kept_most = min(size.most + 1, MOST), size.most
    elif new.most <= old.least:
        kept_most = size.most
    else:
        most = math.ceil(size.most / old.least)
    if old.most == 0:
        least, kept_least = min(size.least + 1, MOST), size.least
    elif old.most <= new.least:
        kept_least = size.least
    else:
        least = math.ceil(size.least / old.most)
    made = Estimate(least, most).times(new).plus(Estimate(kept_least, kept_most))
    return size.scaled(2 * STRING_FACTOR), made


def _split(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    most = target.size.most
    if len(args) > 1 and isinstance(args[1].node, Literal):
        limit = args[1].node.value
        most = limit % (1 << 64) if isinstance(limit, int) else most
    return target.size.scaled(2 * STRING_FACTOR), Estimate(0, most)


def _join(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    count = target.size
    size = count.times(target.element[1]) if target.element is not None else NOTHING
    if args:
        between = Estimate(max(count.least - 1, 0), max(count.most - 1, 0))
        size = size.plus(args[0].size.times(between))
    return size.scaled(STRING_FACTOR), size


def _regex(text: Estimate, pattern: Estimate) -> Estimate:
    return text.plus(ONE).scaled(STRING_FACTOR).times(pattern.scaled(REGEX_FACTOR))


def _find(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    return _regex(target.size, args[0].size), Estimate(0, target.size.most)


def _is_canonical(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    return args[0].size.scaled(2 * STRING_FACTOR), None


def _contains_address(*, parses: bool, masks: bool) -> _Estimator:
    def run(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
        cost = _ADDRESS.plus(_ADDRESS).scaled(STRING_FACTOR)
        if masks:
            cost = cost.plus(_ADDRESS.scaled(STRING_FACTOR)).plus(ONE)
        if parses:
            cost = cost.plus(args[0].size.scaled(STRING_FACTOR))
        return cost, None

    return run


def _validate(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    walked = args[0].size.scaled(STRING_FACTOR)
    return walked.scaled(_MAX_NAME_REGEX_SIZE * REGEX_FACTOR), None


def _equality(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    """Of Kubernetes' own types; other values are compared at CEL's price."""
    left, right = args
    if left.type != right.type:
        return None
    name = left.type.name
    if name in _CHEAPLY_COMPARED:
        return ONE, None
    if name == "kubernetes.NamedFormat":
        return Estimate(1, _MAX_FORMAT_SIZE).scaled(STRING_FACTOR), None
    if name == "kubernetes.URL":
        size = right.known_size or ONE
        return Estimate(1, size.most).scaled(STRING_FACTOR), None
    return None


_CHEAPLY_COMPARED = frozenset(
    (
        *("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"),
        *(
            f"kubernetes.authorization.{name}"
            for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
        ),
    )
)

# -- cel-go's extensions ---------------------------------------------------------------------------


def _sets(factor: int) -> _Estimator:
    def run(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
        return args[0].size.times(args[1].size).scaled(factor).plus(ONE), None

    return run


def _allocating(factor: float, size: Estimate) -> Call:
    return size.scaled(factor).plus(ONE).plus(fixed(LIST_COST)), size


def _number(operand: Operand, otherwise: int) -> int:
    node = operand.node
    if isinstance(node, Literal) and type(node.value) is int:
        return max(node.value, 0)
    return otherwise


def _slice(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    start = _number(args[0], 0)
    end = _number(args[1], target.size.most)
    return _allocating(1, fixed((end - start) % (1 << 64)))


def _range(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    return _allocating(1, fixed(_number(args[0], MOST)))


def _flatten(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    return _allocating(_number(args[0], MOST) if args else 1, target.size)


def _reverse(target: Operand | None, _args: Sequence[Operand]) -> Call | None:
    return None if target is None else _allocating(1, target.size)


def _distinct(target: Operand | None, _args: Sequence[Operand]) -> Call | None:
    return None if target is None else _allocating(2.0, target.size.times(target.size))


def _sort(*, by_text: bool, by_keys: bool) -> _Estimator:
    factor = 2.0 + STRING_FACTOR if by_text else 2.0

    def run(target: Operand | None, args: Sequence[Operand]) -> Call | None:
        if target is None:
            return None
        size = args[0].size if by_keys else target.size
        return _allocating(factor, size.times(size))

    return run


# -- CEL's own functions ---------------------------------------------------------------------------


def _walk_target(target: Operand | None, _args: Sequence[Operand]) -> Call | None:
    return None if target is None else (target.size.scaled(STRING_FACTOR), None)


def _to_bytes(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    size = args[0].size
    return size.scaled(STRING_FACTOR), Estimate(size.least, (size.most * 4) % (1 << 64))


def _from_bytes(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    size = args[0].size
    return size.scaled(STRING_FACTOR), Estimate(size.least // 4, size.most)


def _quote(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    size = args[0].size
    made = Estimate(size.least + 2, (size.most * 2 + 2) % (1 << 64))
    return size.scaled(STRING_FACTOR), made


def _in_list(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    return args[1].size, None


def _matches(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    text, pattern = (target, args[0]) if target is not None else (args[0], args[1])
    return _regex(text.size, pattern.size), None


def _contains(target: Operand | None, args: Sequence[Operand]) -> Call | None:
    if target is None:
        return None
    return target.size.scaled(STRING_FACTOR).times(args[0].size.scaled(STRING_FACTOR)), None


def _add_texts(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    size = args[0].size.plus(args[1].size)
    return size.scaled(STRING_FACTOR), size


def _add_lists(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    return ONE, args[0].size.plus(args[1].size)


def _compare(_target: Operand | None, args: Sequence[Operand]) -> Call | None:
    most = min(args[0].size.most, args[1].size.most)
    return Estimate(1 if most else 0, most).scaled(STRING_FACTOR), None


_KEPT = ("lowerAscii", "upperAscii", "substring", "trim")
_WALKED = ("cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver")
_BY_FUNCTION: dict[str, _Estimator] = {
    **{name: _constant(1) for name in CONSTANT_COSTS},
    "check": _constant(CHECK_COST),
    "fieldSelector": _selector,
    "labelSelector": _selector,
    **dict.fromkeys(
        ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"),
        _walk_list(counts_dynamic=False),
    ),
    "includes": _walk_list(counts_dynamic=True),
    "url": _keep_arg,
    "jsonpatch.escapeKey": _keep_arg,
    **dict.fromkeys(_KEPT, _keep_target),
    "replace": _replace,
    "split": _split,
    "join": _join,
    "find": _find,
    "findAll": _find,
    **dict.fromkeys(_WALKED, _walk_arg),
    "ip.isCanonical": _is_canonical,
    "validate": _validate,
    "_==_": _equality,
}
_BY_OVERLOAD: dict[str, _Estimator] = {
    "cidr_ip": _constant(1),
    "cidr_contains_ip_ip": _contains_address(parses=False, masks=False),
    "cidr_contains_ip_string": _contains_address(parses=True, masks=False),
    "cidr_contains_cidr": _contains_address(parses=False, masks=True),
    "cidr_contains_cidr_string": _contains_address(parses=True, masks=True),
    "list_sets_contains_list": _sets(1),
    "list_sets_intersects_list": _sets(1),
    "list_sets_equivalent_list": _sets(2),
    "list_slice": _slice,
    "list_flatten": _flatten,
    "list_flatten_int": _flatten,
    "lists_range": _range,
    "list_reverse": _reverse,
    "list_distinct": _distinct,
    **{
        f"list_{name}_sort": _sort(by_text=name in ("string", "bytes"), by_keys=False)
        for name in ELEMENT_TYPES
    },
    **{
        f"list_{name}_sortByAssociatedKeys": _sort(
            by_text=name in ("string", "bytes"), by_keys=True
        )
        for name in ELEMENT_TYPES
    },
}
_STANDARD: dict[str, _Estimator] = {
    "string_format": _walk_target,
    "string_to_bytes": _to_bytes,
    "bytes_to_string": _from_bytes,
    "strings_quote": _quote,
    "starts_with_string": _walk_arg,
    "ends_with_string": _walk_arg,
    "in_list": _in_list,
    "matches": _matches,
    "matches_string": _matches,
    "contains_string": _contains,
    "add_string": _add_texts,
    "add_bytes": _add_texts,
    "add_list": _add_lists,
    **dict.fromkeys(
        (
            *("equals", "not_equals"),
            *(
                f"{relation}_{kind}"
                for relation in ("less", "less_equals", "greater", "greater_equals")
                for kind in ("string", "bytes")
            ),
        ),
        _compare,
    ),
}
