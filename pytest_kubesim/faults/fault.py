"""What a fault is: a record of what strikes, whom, when, for how long.

The law: records are frozen, and their `repr` is the Python that makes them; what has happened with
one (how often it was met, how often it struck) is kept by the `Armed` fault beside it.

::

    kubesim.faults.api(client='operator', verb='update').fail(409, times=2)
    |------------------- target -----------------| |---- effect -----|

A fault is two calls, kept as data: whom it is about, and what happens to it.  So every fault is
printed, compared, written as JSON and read back alike.  Its timing is said in the second call
(`at=`, `until=`, `when=`), and its length behind it: `.for_("90s")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs

from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import triggers, wording
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.triggers import When

Instant = str | float | timedelta
"""Virtual time since the start of the cluster, written as a duration."""


@attrs.frozen(slots=True, repr=False)
class Call:
    """A call as data: `name(*args, **options)`, options without those that have their default."""

    name: str
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(
        cls, name: str, /, *args: Any, defaults: Mapping[str, Any] | None = None, **options: Any
    ) -> Call:
        """The call; an option that is None, or what `defaults` says, is left out."""
        usual = defaults or {}
        said = tuple((k, _plain(v)) for k, v in options.items() if v != usual.get(k))
        return cls(name, tuple(map(_plain, args)), said)

    def get(self, option: str, default: Any = None) -> Any:
        """What an option is."""
        for name, value in self.options:
            if name == option:
                return value
        return default

    def __repr__(self) -> str:
        parts = [repr(arg) for arg in self.args]
        parts += [f"{name}={value!r}" for name, value in self.options]
        return f"{self.name}({', '.join(parts)})"


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


@attrs.frozen(slots=True, repr=False)
class Fault(wording.Vocabulary):
    """A fault: `target`, `effect` (None where the target says it all), and its timing.

    `begins_at` and `ends_at`, instants since the start of the cluster; `trigger`, upon which it
    begins; `ends_when`, upon which it ends; `lasts`, how long it holds from its beginning on.
    """

    target: Call
    effect: Call | None = None
    begins_at: Any = None
    trigger: When | None = None
    ends_at: Any = None
    ends_when: When | None = None
    lasts: Any = None

    def __attrs_post_init__(self) -> None:
        for option, value in (
            ("at", self.begins_at), ("until", self.ends_at), ("for_", self.lasts)
        ):
            if value is not None:
                to_ns(value, f"faults: {option}")
        if self.lasts is not None and to_ns(self.lasts) == 0:
            raise UsageError(
                f"faults: for_={self.lasts!r}: a fault that lasts no time strikes nothing; give a "
                "longer duration, such as '30s'"
            )
        if self.begins_at is not None and self.trigger is not None:
            raise UsageError(
                f"faults: {self!r}: at= and when= are given; a fault begins at an instant or upon "
                "a trigger: leave one out"
            )
        if self.ends_at is not None and self.lasts is not None:
            raise UsageError(
                f"faults: {self!r}: until= and for_() are given; a fault ends at an instant or "
                "lasts so long: leave one out"
            )
        begin, end = self.begins_at, self.ends_at
        if begin is not None and end is not None and to_ns(end) <= to_ns(begin):
            raise UsageError(f"faults: {self!r}: it ends before it begins; give a later until=")

    # -- saying when --------------------------------------------------------------------------

    def for_(self, duration: Duration) -> Fault:
        """The same, lasting `duration` from its beginning."""
        return attrs.evolve(self, lasts=_plain(duration))

    def at(self, instant: Instant) -> Fault:
        """The same, beginning at that instant since the start of the cluster."""
        return attrs.evolve(self, begins_at=_plain(instant))

    def when(self, trigger: Any, match: Any = None, **options: Any) -> Fault:
        """The same, beginning upon a trigger; see `triggers.when`."""
        return attrs.evolve(self, trigger=triggers.when(trigger, match, **options))

    def until(self, end: Any) -> Fault:
        """The same, ending at an instant since the start of the cluster, or upon a trigger."""
        return attrs.evolve(self, **_ending(end))

    # -- what it is ---------------------------------------------------------------------------

    def __said__(self) -> str:
        return f"{self.what}(...)."

    def __words__(self) -> list[str]:
        return list(wording.TIMING)

    @property
    def where(self) -> str:
        """What kind of thing it strikes: `api`, `node`, `partition` ..."""
        return self.target.name

    @property
    def what(self) -> str:
        """What happens: `fail`, `crash` ...; where the target says it all, that."""
        return self.target.name if self.effect is None else self.effect.name

    def option(self, name: str, default: Any = None) -> Any:
        """An option of the effect."""
        return default if self.effect is None else self.effect.get(name, default)

    @property
    def args(self) -> tuple[Any, ...]:
        """What the effect was given without a name."""
        return () if self.effect is None else self.effect.args

    @property
    def immediate(self) -> bool:
        """Whether it begins as soon as it is armed."""
        return self.begins_at is None and self.trigger is None

    def __repr__(self) -> str:
        timing = [("at", self.begins_at), ("until", self.ends_at), ("until", self.ends_when)]
        timing.append(("when", self.trigger))
        said = tuple((name, value) for name, value in timing if value is not None)
        calls = [self.target] if self.effect is None else [self.target, self.effect]
        calls[-1] = attrs.evolve(calls[-1], options=calls[-1].options + said)
        tail = "" if self.lasts is None else f".for_({self.lasts!r})"
        return f"kubesim.faults.{'.'.join(map(repr, calls))}{tail}"

    # -- as JSON ------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The record as JSON; a callable in it is only named, and cannot be read back."""
        shown: dict[str, Any] = {}
        for field in ("target", "effect"):
            call: Call | None = getattr(self, field)
            if call is not None:
                options = {k: _to_json(v) for k, v in call.options}
                shown[field] = [call.name, [_to_json(a) for a in call.args], options]
        for field in _TIMING:
            if (value := getattr(self, field)) is not None:
                shown[field] = _to_json(value)
        return shown

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Fault:
        """The record that `to_json` has shown.

        Raises: `UsageError` for one with a callable in it.
        """
        fields: dict[str, Any] = {}
        for field in ("target", "effect"):
            if (call := shown.get(field)) is not None:
                name, args, options = call
                fields[field] = Call(
                    name,
                    tuple(map(_from_json, args)),
                    tuple((k, _from_json(v)) for k, v in options.items()),
                )
        for field in _TIMING:
            if field in shown:
                fields[field] = _from_json(shown[field])
        return cls(**fields)


_TIMING = ("begins_at", "trigger", "ends_at", "ends_when", "lasts")


def _to_json(value: Any) -> Any:
    if isinstance(value, triggers.TRIGGERS):
        return value.to_json()
    if isinstance(value, tuple):
        return {"tuple": list(cast("tuple[Any, ...]", value))}
    if callable(value):
        return {"callable": getattr(value, "__qualname__", repr(value))}
    return value


def _from_json(shown: Any) -> Any:
    if not isinstance(shown, dict):
        return shown
    fields = cast("dict[str, Any]", shown)
    if "tuple" in fields:
        return tuple(fields["tuple"])
    if "callable" in fields:
        raise UsageError(
            f"faults: a schedule has the callable {fields['callable']!r} in it, which cannot be "
            "read back; write the trigger as a reference and a match"
        )
    return triggers.from_json(fields) if "trigger" in fields else fields


def _ending(end: Any) -> dict[str, Any]:
    if end is None:
        return {}
    if isinstance(end, triggers.TRIGGERS) or callable(end):
        return {"ends_when": triggers.when(end)}
    return {"ends_at": _plain(end)}


class Speech(wording.Vocabulary):
    """The beginning of a sentence about a fault: whom it is about.

    Parameters: `target`; `say`, which is given the whole `Fault` and answers with what the sentence
    is worth: the fault itself, or the armed fault.
    """

    __slots__ = ("_say", "_target", "finished")

    def __init__(self, target: Call, say: Callable[[Fault], Any]) -> None:
        self._target = target
        self._say = say
        self.finished = False
        """Whether it was said what happens."""

    def __heard__(self) -> None:
        self.finished = True

    def __init_subclass__(cls) -> None:
        wording.vocabulary(cls)

    def __repr__(self) -> str:
        return f"kubesim.faults.{self._target!r}"

    def __said__(self) -> str:
        return f"{self._target.name}(...)."

    def _fault(self, effect: Call | None, timing: Mapping[str, Any]) -> Any:
        when = timing.get("when")
        return self._say(Fault(
            self._target,
            effect,
            begins_at=_plain(timing.get("at")),
            trigger=None if when is None else triggers.when(when),
            lasts=_plain(timing.get("for_")),
            **_ending(timing.get("until")),
        ))


class Whole(Speech):
    """A sentence that says it all by whom it is about: a partition."""

    def finish(self, options: Mapping[str, Any]) -> Any:
        """What it is worth."""
        return self._fault(None, options)


def whole(target: Call, say: Callable[[Fault], Any], timing: Mapping[str, Any]) -> Any:
    """A sentence that is whole without an effect, a partition: what it is worth."""
    return Whole(target, say).finish(timing)
