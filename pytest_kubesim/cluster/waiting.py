"""Temporal assertions: `eventually`, `always`, `never`, `stays`, `settle`.

The law: a condition is looked at whenever something changed, never by polling; time passes only in
between.  What is looked at is the state that the API server would answer to a quorum read.  A
failure says what was awaited, shows the nearest miss as a diff, what is still scheduled, and the
end of the timeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.cluster import matching
from pytest_kubesim.cluster.look import Look
from pytest_kubesim.cluster.matching import Difference, Match
from pytest_kubesim.cluster.references import Reference
from pytest_kubesim.errors import AssertionFailed, NeverSettled, UsageError
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.durations import Duration

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cluster.cluster import Cluster

ARRIVAL_NS = NS // 10
"""How long messages that are on their way at the end of `settle` may still take."""
QUIET_NS = 30 * NS
"""`settle`: how long nothing but heartbeats may have been written."""

HOT_LOOP_EVENTS = 200_000
"""How many events at one instant are a loop that never lets time pass."""


@attrs.frozen(slots=True)
class Condition:
    """What is awaited: objects of a reference that match, or a callable that answers true."""

    cluster: Cluster
    what: str | Callable[[], object]
    match: Match = None
    count: int | None = None
    labels: dict[str, str] | str | None = None
    namespace: str | None = None

    @property
    def reference(self) -> Reference | None:
        """The resource it looks at; None for a callable."""
        if callable(self.what):
            return None
        return self.cluster.names.parse(self.what)

    def candidates(self) -> list[Object]:
        """The objects that are meant, matching or not."""
        reference = self.reference
        assert reference is not None
        found = self.cluster.read(reference, namespace=self.namespace)
        return [obj for obj in found if self._labelled(obj)] if self.labels else found

    def means(self, obj: Object) -> bool:
        """Whether it is about this object of the resource, matching or not."""
        if self.namespace and obj["metadata"].get("namespace") != self.namespace:
            return False
        return self._labelled(obj)

    def _labelled(self, obj: Object) -> bool:
        if not self.labels:
            return True
        selector = (
            label_selectors.parse(self.labels)
            if isinstance(self.labels, str)
            else label_selectors.from_set(self.labels)
        )
        return selector.matches(obj["metadata"].get("labels"))

    def holds(self) -> bool:
        """Whether it holds now."""
        if callable(self.what):
            return bool(self.what())
        reference = self.reference
        assert reference is not None
        schema = reference.resource.schema
        hits = sum(1 for o in self.candidates() if matching.matches(self.match, o, schema))
        return hits >= 1 if self.count is None else hits == self.count

    def holds_for_all(self) -> bool:
        """Whether every object that is meant matches, and (a named one) is there."""
        if callable(self.what):
            return bool(self.what())
        reference = self.reference
        assert reference is not None
        found = self.candidates()
        if self.count is not None:
            return self.holds()
        if not found:
            return reference.name is None
        schema = reference.resource.schema
        return all(matching.matches(self.match, o, schema) for o in found)

    def __str__(self) -> str:
        if callable(self.what):
            return _name(self.what)
        parts = [self.what]
        if self.labels:
            parts.append(f"labels={self.labels!r}")
        if self.namespace:
            parts.append(f"namespace={self.namespace!r}")
        if callable(self.match):
            parts.append(f"matching {_name(self.match)}")
        elif self.match is not None:
            parts.append(f"matching {self.match!r}")
        else:
            parts.append("existing")
        if self.count is not None:
            parts.append(f"(count={self.count})")
        return " ".join(parts)

    def nearest_miss(self) -> str:
        """The objects that come nearest to matching, with what keeps them from it."""
        if callable(self.what):
            return f"  {_name(self.what)} answered {self.what()!r}"
        reference = self.reference
        assert reference is not None
        schema = reference.resource.schema
        ranked: list[tuple[int, str, list[Difference]]] = []
        hits = 0
        for obj in self.candidates():
            found = matching.differences(self.match, obj, schema)
            hits += not found
            meta = obj["metadata"]
            name = "/".join(filter(None, (meta.get("namespace"), meta["name"])))
            ranked.append((len(found), name, found))
        if not ranked:
            return f"  there is no {reference} there"
        lines: list[str] = []
        if self.count is not None:
            lines.append(f"  {hits} of {len(ranked)} match, {self.count} should")
        for _, name, found in sorted(ranked, key=lambda entry: entry[:2])[:3]:
            if found:
                lines.append(f"  {reference.resource.singular} {name}:")
                lines += [f"    - {d.path}: {_show(d.expected)}\n    + {d.path}: {_show(d.actual)}"
                          for d in found[:8]]
        return "\n".join(lines)


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", repr(function)).replace("<locals>.", "")


def _show(value: Any) -> str:
    text = "(absent)" if value is None else repr(value)
    return text if len(text) <= 160 else text[:157] + "..."


def eventually(condition: Condition, within: Duration) -> Any:
    """Run until `condition` holds; gives the first matching object, or the callable's answer.

    Raises: `AssertionFailed` when it does not hold after `within`, or nothing can happen any more.
    """
    cluster = condition.cluster
    limit_ns = durations.to_ns(within, "within")
    deadline_ns = cluster.kernel.now_ns + limit_ns
    look = Look(condition)

    def looked() -> bool:
        return look.changed() and look.holds()

    if cluster.run_kernel(looked, until_ns=deadline_ns) or condition.holds():
        return _found(condition)
    raise AssertionFailed(
        cluster.explain(
            f"not within {durations.text(limit_ns)}: {condition}",
            [("the nearest miss (- expected, + found)", condition.nearest_miss())],
        )
    )


def _found(condition: Condition) -> Any:
    if callable(condition.what):
        return condition.what()
    reference = condition.reference
    assert reference is not None
    schema = reference.resource.schema
    for obj in condition.candidates():
        if matching.matches(condition.match, obj, schema):
            return condition.cluster.copy(obj)
    return None


class Invariant:
    """A condition that is looked at at every change, from `always` or `never` on.

    Use it as a context manager to end it with a block, or call `stop()`; otherwise it holds until
    the end of the test.
    """

    def __init__(self, condition: Condition, *, wanted: bool, verb: str) -> None:
        self.condition = condition
        self._wanted = wanted
        self._verb = verb
        self._look = Look(condition)
        condition.cluster.invariants.append(self)
        self.check()

    def check(self) -> None:
        """Look now.  Raises: `AssertionFailed` when it is violated."""
        look, condition = self._look, self.condition
        if not look.changed():
            return
        if (look.holds_for_all() if self._wanted else look.holds()) == self._wanted:
            return
        self.stop()
        found = condition.nearest_miss() if self._wanted else "  " + str(_found(condition))[:600]
        raise AssertionFailed(
            condition.cluster.explain(
                f"{self._verb} violated: {condition}",
                [("what was found" + (" (- expected, + found)" if self._wanted else ""), found)],
            )
        )

    def stop(self) -> None:
        """Demand it no longer."""
        if self in self.condition.cluster.invariants:
            self.condition.cluster.invariants.remove(self)

    def __enter__(self) -> Invariant:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def stays(condition: Condition, during: Duration) -> None:
    """Let `during` pass, with `condition` holding from now to the end.

    Raises: `AssertionFailed` at the first change after which it does not hold.
    """
    cluster = condition.cluster
    durations.to_ns(during, "stays: during")
    with Invariant(condition, wanted=True, verb="stays"):
        cluster.advance(during)


def settle(cluster: Cluster, timeout: Duration) -> None:
    """Run until only periodic work is left and nothing changes any more.

    Raises: `NeverSettled` after `timeout`, naming what kept the cluster busy.
    """
    limit_ns = durations.to_ns(timeout, "timeout")
    kernel = cluster.kernel
    deadline_ns = kernel.now_ns + limit_ns
    hot = _HotLoop(cluster)
    while True:
        cluster.run_kernel(lambda: kernel.idle() or hot.found(), until_ns=deadline_ns)
        if hot.culprit:
            break
        before = cluster.meaningful_writes
        quiet_until_ns = min(kernel.now_ns + QUIET_NS, deadline_ns)
        busy = cluster.run_kernel(
            lambda before=before: cluster.meaningful_writes != before, until_ns=quiet_until_ns
        )
        if not busy and kernel.idle() and kernel.now_ns < deadline_ns:
            return
        if kernel.now_ns >= deadline_ns:
            # A short rest at the end proves nothing where there were writes before it; a timer that
            # is still to come after a long one (a deadline of progress) is no reason to fail.
            rested = deadline_ns - cluster.written_ns >= QUIET_NS
            # What is on its way just now (a heartbeat of etcd, of a leader) arrives in no time.
            cluster.run_kernel(kernel.idle, until_ns=kernel.now_ns + ARRIVAL_NS)
            if not busy and kernel.idle() and rested:
                return
            break
    problem = f"the cluster did not settle within {durations.text(limit_ns)}"
    if hot.culprit:
        problem = f"the cluster does not settle, {hot.culprit}"
    raise NeverSettled(
        cluster.explain(
            f"{problem}: write only what has changed, or let time pass with advance() where "
            "something never rests",
            [("what kept it busy", cluster.busy_report())],
        )
    )


class _HotLoop:
    """Tells whether somebody does nothing but write one object again and again.

    It looks whenever there were `WRITES` more: where half of them are one actor's to one object
    nobody needs to wait for the end of the time.
    """

    WRITES = 4_000

    def __init__(self, cluster: Cluster) -> None:
        self.culprit = ""
        """Who writes what how often, when that has been found."""
        self._cluster = cluster
        self._looked_at = cluster.meaningful_writes

    def found(self) -> bool:
        """Whether there is one."""
        written = self._cluster.meaningful_writes
        if written - self._looked_at < self.WRITES:
            return bool(self.culprit)
        self._looked_at = written
        counts: Counter[tuple[str, str, str, str]] = Counter()
        left = self.WRITES
        for entry in reversed(self._cluster.journal.entries("request")):
            fields = entry.fields
            if "version" in fields:
                counts[entry.actor, fields["resource"], fields["namespace"], fields["name"]] += 1
                left -= 1
                if not left:
                    break
        for (actor, resource, namespace, name), most in counts.most_common(1):
            if most <= self.WRITES // 2:
                break
            path = "/".join(filter(None, (resource, namespace, name)))
            self.culprit = f"{actor} wrote {path} {most} times in a row of {self.WRITES} writes"
        return bool(self.culprit)


def condition_of(
    cluster: Cluster,
    what: Any,
    match: Any = None,
    *,
    count: int | None = None,
    labels: Any = None,
    namespace: str | None = None,
) -> Condition:
    """A condition from the arguments of a temporal assertion, checked at once.

    Raises: `UsageError` for what cannot be meant.
    """
    if not callable(what) and not isinstance(what, str):
        raise UsageError(
            f"{what!r} is neither a reference like 'deployment/web' nor a callable"
        )
    if callable(what) and (match is not None or count is not None or labels or namespace):
        raise UsageError(
            "a callable takes no match, count, labels or namespace; look at these inside it"
        )
    if match is not None and not callable(match) and not isinstance(match, dict):
        raise UsageError(
            f"match: {match!r} is neither a partial object (a dict) nor a predicate of the object"
        )
    if count is not None and (not isinstance(count, int) or count < 0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"count: {count!r} is not a whole number of objects")
    condition = Condition(cluster, what, cast("Match", match), count, labels, namespace)
    if not callable(what):
        reference = condition.reference
        assert reference is not None
        if reference.name and count is not None and count > 1:
            raise UsageError(f"count={count}: {what!r} names one object; leave the name out")
    return condition


def lines(title: str, entries: Sequence[str]) -> str:
    """A titled block of lines."""
    return "\n".join((title, *(f"  {entry}" for entry in entries)))
