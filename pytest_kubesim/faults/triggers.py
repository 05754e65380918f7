"""Upon what a fault begins or ends: a write, a field that changes, a condition of the cluster.

The law: a trigger is a frozen record that prints as the Python that makes it, and goes off at most
once.  It goes off at the very write that fulfils it: a fault of requests is armed before the
next request, a crash comes before the next event.

::

    kubesim.faults.after_write(2, client='operator', resource='statefulsets')
    kubesim.faults.changed('database/db', 'status.phase', to='Ready')
    kubesim.faults.holds('pods', {'status': {'phase': 'Running'}}, count=3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import attrs

from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults import requests, wording
from pytest_kubesim.faults.requests import WRITES, RequestMatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.faultpoints import FaultPoints

ANSWERED = "apiserver.answer"
CONDITION_OPTIONS = ("count", "labels", "namespace")


class Condition(Protocol):
    """Something that may hold."""

    def holds(self) -> bool:
        """Whether it holds now."""
        ...


class Ground(requests.Ground, Protocol):
    """What a trigger needs of the cluster."""

    faultpoints: FaultPoints

    def condition(self, what: Any, match: Any = None, **options: Any) -> Condition:
        """What `eventually` would wait for."""
        ...

    def on_write(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener` after every write to what is stored; returns what ends that."""
        ...

    def check_reference(self, ref: str, *, now: bool) -> None:
        """Raises: `UsageError` for what is not served, and (`now`) may not yet come."""
        ...

    def serves(self, ref: str) -> bool:
        """Whether what a reference names is served."""
        ...

    def field(self, ref: str, path: str, namespace: str | None) -> Any:
        """A field of an object as it is stored now; None where either is not there."""
        ...


@attrs.frozen(slots=True, repr=False)
class AfterWrite:
    """The `count`-th write that is meant has been applied."""

    count: int
    match: RequestMatch

    def __attrs_post_init__(self) -> None:
        wording.whole(
            self.count, "after_write.count", least=1, why=": writes are counted from 1"
        )

    def __repr__(self) -> str:
        rest = self.match.code()
        return f"kubesim.faults.after_write({self.count}{', ' + rest if rest else ''})"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        match = {k: v for k, v in attrs.asdict(self.match).items() if v is not None}
        return {"trigger": "after_write", "count": self.count, "match": match}

    def check(self, ground: Ground, *, now: bool) -> None:
        """Raises: `UsageError` for what can never be written, with what can."""
        verbs = self.match.verbs
        if verbs is not None and WRITES.isdisjoint(verbs):
            raise UsageError(
                f"faults: {self!r}: {', '.join(verbs)} writes nothing; the verbs that do are "
                f"{', '.join(sorted(WRITES))}"
            )
        requests.check(ground, self.match, now=now)

    def watch(self, ground: Ground, fire: Callable[[], object]) -> Callable[[], None]:
        """Call `fire` when it goes off; returns what ends the wait."""
        seen = 0

        def answered(attributes: dict[str, Any]) -> None:
            nonlocal seen
            if (
                attributes["verb"] not in WRITES
                or attributes["code"] >= 400
                or not self.match.matches(attributes)
            ):
                return
            seen += 1
            if seen == self.count:
                end()
                fire()

        end = ground.faultpoints.arm(ANSWERED, answered)
        return end


@attrs.frozen(slots=True, repr=False)
class Changed:
    """The field at `path` (`status.phase`) of the object `ref` goes from one value to another.

    Where `before` or `to` is None, any value is meant.
    """

    ref: str
    path: str
    before: Any = None
    to: Any = None
    namespace: str | None = None

    def __attrs_post_init__(self) -> None:
        if "/" not in wording.text(self.ref, "changed.ref"):
            raise UsageError(
                f"faults: changed({self.ref!r}, {self.path!r}) names no object; write it as "
                "'deployment/web'"
            )
        wording.text(self.path, "changed.path")

    def __repr__(self) -> str:
        options = "".join(
            f", {name}={value!r}"
            for name, value in (
                ("before", self.before), ("to", self.to), ("namespace", self.namespace)
            )
            if value is not None
        )
        return f"kubesim.faults.changed({self.ref!r}, {self.path!r}{options})"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"trigger": "changed", **attrs.asdict(self)}

    def check(self, ground: Ground, *, now: bool) -> None:
        """Raises: `UsageError` for a kind that there is not."""
        ground.check_reference(self.ref, now=now)

    def watch(self, ground: Ground, fire: Callable[[], object]) -> Callable[[], None]:
        """Call `fire` when it goes off; returns what ends the wait."""
        def found() -> Any:
            served = ground.serves(self.ref)
            return ground.field(self.ref, self.path, self.namespace) if served else None

        known = found()

        def written() -> None:
            nonlocal known
            last, known = known, found()
            if (
                last != known
                and (self.before is None or last == self.before)
                and (self.to is None or known == self.to)
            ):
                end()
                fire()

        end = ground.on_write(written)
        return end


@attrs.frozen(slots=True, repr=False)
class Holds:
    """A condition over the cluster, as `eventually` takes it, holds (first, or at once)."""

    what: Any
    match: Any = None
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        match = "" if self.match is None else f", {_shown(self.match)}"
        options = "".join(f", {name}={value!r}" for name, value in self.options)
        return f"kubesim.faults.holds({_shown(self.what)}{match}{options})"

    def to_json(self) -> dict[str, Any]:
        """As JSON; callables only by their names."""
        shown: dict[str, Any] = {"trigger": "holds", "options": dict(self.options)}
        for name, value in (("what", self.what), ("match", self.match)):
            shown[name] = {"callable": _shown(value)} if callable(value) else value
        return shown

    def check(self, ground: Ground, *, now: bool) -> None:
        """Raises: `UsageError` for a reference to what there is not."""
        if isinstance(self.what, str):
            ground.check_reference(self.what, now=now)

    def watch(self, ground: Ground, fire: Callable[[], object]) -> Callable[[], None]:
        """Call `fire` when it goes off; returns what ends the wait."""
        condition: Condition | None = None

        def holds() -> bool:
            nonlocal condition
            if condition is None:
                if not callable(self.what) and not ground.serves(self.what):
                    return False
                condition = ground.condition(self.what, self.match, **dict(self.options))
            return condition.holds()

        if holds():
            fire()
            return lambda: None

        def written() -> None:
            if holds():
                end()
                fire()

        end = ground.on_write(written)
        return end


When: TypeAlias = AfterWrite | Changed | Holds
TRIGGERS = (AfterWrite, Changed, Holds)


def _shown(value: Any) -> str:
    if callable(value):
        return str(getattr(value, "__qualname__", repr(value))).rpartition("<locals>.")[2]
    return repr(value)


def when(trigger: Any, match: Any = None, **options: Any) -> When:
    """A trigger from what a test writes: a trigger, or a condition as `eventually` takes it.

    Raises: `UsageError` for what is neither.
    """
    if isinstance(trigger, TRIGGERS):
        return trigger
    if isinstance(trigger, tuple):
        parts = cast("tuple[Any, ...]", trigger)
        return when(*parts, **options)
    if not isinstance(trigger, str) and not callable(trigger):
        raise UsageError(
            f"faults: when={trigger!r} is no trigger; give after_write(...), changed(...), "
            "holds(...), a callable without arguments, or a reference such as 'pod/db-0'"
        )
    for option in options:
        if option not in CONDITION_OPTIONS:
            raise UsageError(
                f"faults: unknown option {option!r} of a condition;",
                f"{suggestion(option, CONDITION_OPTIONS)}the options are "
                f"{', '.join(f'{each}=' for each in CONDITION_OPTIONS)}",
            )
    return Holds(trigger, match, tuple((k, v) for k, v in options.items() if v is not None))


def from_json(shown: dict[str, Any]) -> When:
    """The trigger that `to_json` has shown.  Raises: `UsageError` for a callable."""
    kind = shown["trigger"]
    if kind == "after_write":
        match: dict[str, Any] = dict(shown["match"])
        if isinstance(match.get("verb"), list):
            match["verb"] = tuple(match["verb"])
        return AfterWrite(shown["count"], RequestMatch(**match))
    if kind == "changed":
        return Changed(**{k: v for k, v in shown.items() if k != "trigger"})
    for part in (shown["what"], shown["match"]):
        if isinstance(part, dict) and "callable" in part:
            raise UsageError(
                f"faults: a schedule has the callable {part['callable']!r} in it, which cannot be "
                "read back; write the trigger as a reference and a match"
            )
    return Holds(shown["what"], shown["match"], tuple(shown["options"].items()))
