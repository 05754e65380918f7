"""Why a fault has not struck, as far as that can be said at the end of a test.

The law: what is told is what was looked at and did not fit: a client that never came, a name that
nobody has, or the one word but for which requests would have been meant.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.errors import suggestion
from pytest_kubesim.faults import apiserver
from pytest_kubesim.faults.requests import is_meant

if TYPE_CHECKING:
    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.kernel import Kernel

_LOOKED_AT = ("client", "verb", "resource", "subresource", "namespace", "name")
"""What the journal tells of a request."""


class Ground(apiserver.Ground, Protocol):
    """What is asked of a cluster at the end."""

    kernel: Kernel

    def seen_clients(self) -> list[str]:
        """Who has sent requests."""
        ...

    def webhook_names(self) -> list[str]:
        """The webhooks that are configured."""
        ...

    def operator_names(self) -> list[str]:
        """The operators that were run."""
        ...


def why(ground: Ground, armed: Armed) -> str:
    """Why a fault has not struck."""
    fault = armed.fault
    if armed.problem:
        return armed.problem
    if armed.state == "waiting":
        return "its time has not come" if fault.trigger is None else "its trigger has not gone off"
    client = fault.target.get("client")
    if client is not None:
        there = ground.seen_clients()
        if not any(is_meant(client, each) for each in there):
            return f"no client {client!r} has appeared; there were: {', '.join(there)}"
    resource = fault.target.get("resource")
    if resource is not None and not ground.known_resource(resource):
        return f"the cluster serves no resource {resource!r}"
    if armed.seen:
        after = fault.option("after", 0)
        return f"it met {armed.seen} requests, and after={after} let them pass"
    told = ""
    if fault.where == "api":
        told = _but_for_one(ground, armed)
    elif fault.where == "operator":
        told = _nobody("operator was run", fault, ground.operator_names())
    elif fault.where == "webhook":
        told = _nobody("webhook is configured", fault, ground.webhook_names())
    return told or "nothing that it is meant for has happened"


def _nobody(what: str, fault: Fault, there: list[str]) -> str:
    name: str = fault.target.args[0]
    if name in there or "/" in name:
        return ""
    known = ", ".join(there) or "none"
    return f"no {what} as {name!r}; {suggestion(name, there)}there are: {known}"


def _but_for_one(ground: Ground, armed: Armed) -> str:
    """The one option but for which requests would have been meant, and what they had instead."""
    match = apiserver.match_of(armed.fault)
    wanted: dict[str, Any] = {n: getattr(match, n) for n in _LOOKED_AT}
    wanted["verb"] = match.verbs
    found: Counter[tuple[str, str]] = Counter()
    for entry in ground.kernel.journal.entries("request"):
        if entry.time_ns < armed.began_ns or "verb" not in entry.fields:
            continue
        plural, _, below = str(entry.fields.get("resource") or "").partition("/")
        had = {**entry.fields, "client": entry.actor, "resource": plural, "subresource": below}
        missed = [n for n, value in wanted.items() if not _fits(value, str(had.get(n) or ""))]
        if len(missed) == 1:
            found[missed[0], str(had.get(missed[0]) or "")] += 1
    if not found:
        return ""
    option = found.most_common(1)[0][0][0]
    values = [repr(value) for (name, value), _ in found.most_common() if name == option]
    return (
        f"{sum(n for (name, _), n in found.items() if name == option)} requests would have been "
        f"meant but for {option}={getattr(match, option)!r}; they had {', '.join(values[:5])}"
    )


def _fits(wanted: Any, actual: str) -> bool:
    if wanted is None:
        return True
    return actual in wanted if isinstance(wanted, tuple) else is_meant(wanted, actual)
