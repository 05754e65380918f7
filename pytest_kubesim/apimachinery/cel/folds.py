"""The loops of comprehensions.

The law: ``all`` and ``exists`` forgive errors if another element decides; the other macros do not.
A map is walked by its keys, in the order in which it has them.

Follows ``cel-go/interpreter/interpretable.go`` (``evalFold``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery.cel import values
from pytest_kubesim.apimachinery.cel.errors import CELError, no_such_overload

Frame: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Frame], Any]


@attrs.frozen
class Place:
    """Where in a frame a comprehension keeps its accumulator and its variables (-1: none)."""

    accu: int
    first: int
    second: int


_GO_TYPES = {
    "bool": "types.Bool",
    "bytes": "types.Bytes",
    "double": "types.Double",
    "int": "types.Int",
    "null_type": "types.Null",
    "string": "types.String",
    "uint": "types.Uint",
    "google.protobuf.Timestamp": "types.Timestamp",
    "google.protobuf.Duration": "types.Duration",
    "optional_type": "*types.Optional",
    "type": "*types.Type",
}


def elements(holder: Any) -> Iterable[Any]:
    """The items of a list or the keys of a map. Raises ``CELError``."""
    if isinstance(holder, (list, Mapping)):
        return cast("Iterable[Any]", holder)
    name = values.type_name(holder)
    raise CELError(f"got '{_GO_TYPES.get(name, name)}', expected iterable type")


def _pairs(holder: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(holder, Mapping):
        return cast("Mapping[Any, Any]", holder).items()
    return enumerate(elements(holder))


def quantifier(items: Step, predicate: Step, place: Place, decides: bool) -> Step:
    """``all`` (False decides) and ``exists`` (True decides)."""
    if place.second >= 0:
        return _quantifier_of_pairs(items, predicate, place, decides)
    slot = place.first
    otherwise = not decides

    def run(frame: Frame) -> bool:
        holder = items(frame)
        problem: CELError | None = None
        for item in holder if holder.__class__ is list else elements(holder):
            frame[slot] = item
            try:
                value = predicate(frame)
            except CELError as raised:
                problem = problem or raised
                continue
            if value is decides:
                return decides
            if value is not otherwise:
                problem = problem or no_such_overload()
        if problem is not None:
            raise problem
        return otherwise

    return run


def _quantifier_of_pairs(items: Step, predicate: Step, place: Place, decides: bool) -> Step:
    first, second = place.first, place.second
    otherwise = not decides

    def run(frame: Frame) -> bool:
        problem: CELError | None = None
        holder = items(frame)
        for frame[first], frame[second] in _pairs(holder):
            try:
                value = predicate(frame)
            except CELError as raised:
                problem = problem or raised
                continue
            if value is decides:
                return decides
            if value is not otherwise:
                problem = problem or no_such_overload()
        if problem is not None:
            raise problem
        return otherwise

    return run


def _bound(frame: Frame, holder: Any, place: Place) -> Iterable[None]:
    """Binds the variables to each element in turn."""
    first, second = place.first, place.second
    if second >= 0:
        for frame[first], frame[second] in _pairs(holder):
            yield
    else:
        for frame[first] in elements(holder):
            yield


def exists_one(items: Step, predicate: Step, place: Place) -> Step:
    """Whether the predicate holds for exactly one element."""

    def run(frame: Frame) -> bool:
        count = 0
        problem: CELError | None = None
        for _ in _bound(frame, items(frame), place):
            try:
                count += _truth(predicate(frame))
            except CELError as raised:
                problem = raised
        if problem is not None:
            raise problem
        return count == 1

    return run


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise no_such_overload()


def collect(items: Step, element: Step, predicate: Step | None, place: Place) -> Step:
    """``map``, ``filter`` and ``transformList``."""
    slot = place.first

    def simple(frame: Frame) -> list[Any]:
        found: list[Any] = []
        holder = items(frame)
        for frame[slot] in elements(holder):
            found.append(element(frame))
        return found

    def pairs(frame: Frame) -> list[Any]:
        return [element(frame) for _ in _bound(frame, items(frame), place)]

    if predicate is not None:
        return _chosen(items, element, predicate, place)
    return pairs if place.second >= 0 else simple


def _chosen(items: Step, element: Step, predicate: Step, place: Place) -> Step:
    """The last error of a predicate wins, as each replaces what was collected."""

    def run(frame: Frame) -> list[Any]:
        found: list[Any] = []
        problem: CELError | None = None
        for _ in _bound(frame, items(frame), place):
            try:
                if _truth(predicate(frame)) and problem is None:
                    found.append(element(frame))
            except CELError as raised:
                problem = raised
        if problem is not None:
            raise problem
        return found

    return run


def bind(items: Step, init: Step, result: Step, accu: int) -> Step:
    """A fold over nothing, that gives a value a name."""

    def run(frame: Frame) -> Any:
        items(frame)
        frame[accu] = init(frame)
        return result(frame)

    return run


def general(
    items: Step, init: Step, condition: Step, step: Step, result: Step, place: Place
) -> Step:
    """Any fold. An error is kept in the accumulator until something reads it (``accumulated``)."""
    accu = place.accu

    def run(frame: Frame) -> Any:
        holder = items(frame)
        frame[accu] = init(frame)
        for _ in _bound(frame, holder, place):
            if condition(frame) is False:
                break
            try:
                frame[accu] = step(frame)
            except CELError as raised:
                frame[accu] = raised
        return result(frame)

    return run


def accumulated(slot: int) -> Step:
    """Reads an accumulator that ``general`` keeps."""

    def read(frame: Frame) -> Any:
        value = frame[slot]
        if isinstance(value, CELError):
            raise value
        return value

    return read


def insert(entries: dict[Any, Any], key: Any, value: Any) -> None:
    """Adds an entry to a map that is being made. Raises ``CELError`` for keys that cannot be."""
    try:
        entries[key] = value
    except TypeError:
        raise CELError(f"unsupported key type: {values.type_name(key)}") from None
