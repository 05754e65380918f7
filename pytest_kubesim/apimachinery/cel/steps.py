"""The steps that plans are made of: reading fields, and operators that see errors.

The law: a step takes a frame and returns a value or raises ``CELError``.

Follows ``cel-go/interpreter/{interpretable,attributes}.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery.cel import dispatch, values
from pytest_kubesim.apimachinery.cel.errors import CELError, CostLimitExceeded, no_such_overload
from pytest_kubesim.apimachinery.cel.values import NONE, ErrorValue, Optional

Frame: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Frame], Any]

COST, LIMIT = 0, 1
"""Where a frame has what its evaluation has cost, and what it may cost."""
_MISSING: Any = object()


def pay(frame: Frame, cost: int) -> None:
    """Adds to the cost. Raises ``CostLimitExceeded``."""
    total = frame[COST] + cost
    frame[COST] = total
    if total > frame[LIMIT]:
        raise CostLimitExceeded


FALLIBLE = frozenset(("bytes", "timestamp", "duration", "dyn"))


def constant(value: Any) -> Step:
    """A value that is known."""
    return lambda _frame: value


# -- fields ----------------------------------------------------------------------------------------


def _no_key(field: Any) -> CELError:
    return CELError(f"no such key: {values.show(field)}")


def _read(value: Any) -> Any:
    if value.__class__ is ErrorValue:
        raise CELError(value.message)
    return value


def declared_field(operand: Step, field: str, key: str, *, fallible: bool) -> Step:
    """A field of a message; null means that it is missing."""

    def found(frame: Frame) -> Any:
        holder = operand(frame)
        try:
            value = holder.get(key)
        except AttributeError:
            return field_of(holder, key)
        if value is None:
            raise _no_key(field)
        return value

    if not fallible:
        return found
    return lambda frame: _read(found(frame))


def map_entry(operand: Step, field: str) -> Step:
    """An entry of a map by a name."""

    def found(frame: Frame) -> Any:
        holder = operand(frame)
        try:
            return holder[field]
        except KeyError:
            raise _no_key(field) from None
        except TypeError:
            return field_of(holder, field)

    return found


def any_field(operand: Step, field: str) -> Step:
    """A field of what may be anything."""
    return lambda frame: field_of(operand(frame), field)


def field_of(holder: Any, field: str) -> Any:
    """A field of what may be anything. Raises ``CELError``."""
    if isinstance(holder, Optional):
        return _field_if_present(holder, field, null_is_missing=False)
    if isinstance(holder, ErrorValue):
        raise CELError(holder.message)
    if isinstance(holder, Mapping):
        value = cast("Mapping[Any, Any]", holder).get(field, _MISSING)
        if value is not _MISSING:
            return _read(value)
    _refuse_list(holder)
    raise _no_key(field)


def _refuse_list(holder: Any) -> None:
    if isinstance(holder, list):
        raise CELError("unsupported index type 'string' in list")


def _field_if_present(holder: Any, field: str, *, null_is_missing: bool) -> Optional:
    if isinstance(holder, Optional):
        if not holder.has_value:
            return NONE
        holder = holder.value
    if not isinstance(holder, Mapping):
        _refuse_list(holder)
        return NONE
    value = cast("Mapping[Any, Any]", holder).get(field, _MISSING)
    if value is _MISSING or (null_is_missing and value is None):
        return NONE
    return Optional(_read(value))


def presence(operand: Step, field: str, *, null_is_missing: bool) -> Step:
    """Whether a field is there."""

    def declared(frame: Frame) -> bool:
        holder = operand(frame)
        try:
            return holder.get(field) is not None
        except AttributeError:
            return _field_if_present(holder, field, null_is_missing=True).has_value

    def known(frame: Frame) -> bool:
        holder = operand(frame)
        if isinstance(holder, Mapping):
            return field in holder
        return _field_if_present(holder, field, null_is_missing=False).has_value

    return declared if null_is_missing else known


def optional_field(operand: Step, field: str, *, null_is_missing: bool) -> Step:
    """``.?``: a field, if it is there."""
    return lambda frame: _field_if_present(operand(frame), field, null_is_missing=null_is_missing)


def optional_index(operand: Step, position: Step) -> Step:
    """``[?]``: an element or an entry, if it is there."""

    def found(frame: Frame) -> Optional:
        holder = operand(frame)
        if holder is NONE:
            return NONE
        return dispatch.index_if_present(holder, position(frame))

    return found


# -- operators -------------------------------------------------------------------------------------


def logical(left: Step, right: Step, *, decides: bool) -> Step:
    """``&&`` and ``||``: a side that decides makes errors of the other disappear."""

    def both(frame: Frame) -> bool:
        problem: CELError | None = None
        try:
            value = left(frame)
            if value is decides:
                return decides
            if value is not (not decides):
                problem = no_such_overload()
        except CELError as raised:
            problem = raised
        value = right(frame) if problem is None else _try(right, frame)
        if value is decides:
            return decides
        if problem is not None:
            raise problem
        if value is not (not decides):
            raise no_such_overload()
        return not decides

    return both


def _try(step: Step, frame: Frame) -> Any:
    try:
        return step(frame)
    except CELError:
        return None


def member(operand: Step, items: list[Any]) -> Step:
    """``in`` for plain constants."""
    texts = frozenset(item for item in items if isinstance(item, str))
    only_texts = len(texts) == len(set(items)) and all(isinstance(item, str) for item in items)

    def found(frame: Frame) -> bool:
        value = operand(frame)
        if only_texts:
            return isinstance(value, str) and value in texts
        return values.contains(items, value)

    return found


def conditional(condition: Step, first: Step, second: Step) -> Step:
    """``? :``."""

    def chosen(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return first(frame)
        if value is False:
            return second(frame)
        raise no_such_overload()

    return chosen


def not_strictly_false(operand: Step) -> Step:
    """What lets ``all`` and ``exists`` go on after an error."""

    def held(frame: Frame) -> bool:
        try:
            return operand(frame) is not False
        except CELError:
            return True

    return held


def either(left: Step, right: Step, *, unwrap: bool) -> Step:
    """``or`` and ``orValue`` of optionals: the second is evaluated only if needed."""

    def chosen(frame: Frame) -> Any:
        value = left(frame)
        if not isinstance(value, Optional):
            raise no_such_overload()
        if value.has_value:
            return value.value if unwrap else value
        return right(frame)

    return chosen


def as_optional(value: Any, place: str) -> Optional:
    """The optional that an element marked with ``?`` must be. Raises ``CELError``."""
    if not isinstance(value, Optional):
        shown = values.show(value)
        raise CELError(f"cannot initialize optional list {place} from non-optional value {shown}")
    return value


def apply(run: Callable[..., Any], args: list[Step]) -> Step:
    """A function applied to what its arguments evaluate to."""
    match args:
        case []:
            return lambda _frame: run()
        case [only]:
            return lambda frame: run(only(frame))
        case [first, second]:
            return lambda frame: run(first(frame), second(frame))
        case _:
            return lambda frame: run(*[arg(frame) for arg in args])
