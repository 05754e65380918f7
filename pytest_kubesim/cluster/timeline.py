"""The journal for people: one line an entry, times since the start, heartbeats left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.durations import text

if TYPE_CHECKING:
    from pytest_kubesim.sim.journal import Entry, Journal

_READS = frozenset({"get", "list", "watch"})
_BACKGROUND = frozenset({"leases", "events"})


def lines(journal: Journal, start_ns: int, limit: int = 15) -> list[str]:
    """The last `limit` things that a person wants to see, oldest first; repeats are one line."""
    groups: list[list[Entry]] = []
    for entry in reversed(journal.entries()):
        if not interesting(entry):
            continue
        if groups and _alike(groups[-1][-1], entry):
            groups[-1].append(entry)
        elif len(groups) == limit:
            break
        else:
            groups.append([entry])
    return [_told(group, start_ns) for group in reversed(groups)]


def _alike(one: Entry, other: Entry) -> bool:
    if (one.kind, one.actor) != (other.kind, other.actor):
        return False
    return {**one.fields, "version": ""} == {**other.fields, "version": ""}


def _told(group: list[Entry], start_ns: int) -> str:
    told = line(group[0], start_ns)
    if len(group) == 1:
        return told
    return f"{told} ({len(group)} times since {_since(group[-1], start_ns)})"


def interesting(entry: Entry) -> bool:
    """Whether a person wants to see it: changes and failures, no reads, no heartbeats."""
    fields = entry.fields
    if entry.kind == "request":
        failed = fields.get("code", 200) >= 400
        if fields.get("resource") in _BACKGROUND:
            return False
        if fields.get("verb") in _READS:
            return failed and fields.get("code") != 404
        if entry.actor.startswith("kubelet@") and fields.get("resource") == "nodes/status":
            return failed
        return True
    return entry.kind not in ("watch", "schedule")


def line(entry: Entry, start_ns: int) -> str:
    """One entry as a line: time since the start, actor, what happened."""
    return f"{_since(entry, start_ns):<10} {entry.actor:<26} {describe(entry)}"


def _since(entry: Entry, start_ns: int) -> str:
    return "+" + text((entry.time_ns - start_ns) // (NS // 1000) * (NS // 1000))


def describe(entry: Entry) -> str:
    """What happened, without when and to whom."""
    fields = entry.fields
    if entry.kind == "request":
        return _request(fields)
    if entry.kind == "process":
        error = f": {fields['error']}" if "error" in fields else ""
        return f"process {fields.get('what', '')}{error}"
    rest = ", ".join(f"{k}={_short(v)}" for k, v in fields.items() if v not in ("", None))
    return f"{entry.kind} {rest}".strip()


def _request(fields: dict[str, Any]) -> str:
    resource = fields.get("resource", "")
    name = "/".join(filter(None, (fields.get("namespace"), fields.get("name"))))
    code = fields.get("code", 0)
    answer = "" if code < 300 else f" -> {code} {_short(fields.get('message', ''))}".rstrip()
    return f"{fields.get('verb', '')} {resource} {name}{answer}"


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def busiest(entries: Iterable[Entry], limit: int = 8) -> list[str]:
    """Who wrote what how often, most first: what keeps a cluster busy."""
    counts: Counter[str] = Counter(_writes(entries))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count:>6} x {what}" for what, count in ranked[:limit]]


def _writes(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        if entry.kind == "request" and interesting(entry):
            yield f"{entry.actor}: {_request(entry.fields)}"
