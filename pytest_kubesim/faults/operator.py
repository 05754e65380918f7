"""Crashes of operators at a write of theirs.

After the n-th write: the API server has applied it, and the operator dies before it hears of it.
Before: it dies when the request has not left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apiserver import effects
from pytest_kubesim.faults.apiserver import POINT
from pytest_kubesim.faults.fault import WRITES, Armed

if TYPE_CHECKING:
    from pytest_kubesim.faults.apiserver import Ground


@attrs.frozen(slots=True, repr=False)
class CrashAtWrite:
    """The operator `client` crashes at its `at_write`-th write from arming on."""

    client: str
    at_write: int
    before: bool = False

    def __repr__(self) -> str:
        before = ", before=True" if self.before else ""
        return f"operator.crash(at_write={self.at_write}{before})  # operator {self.client!r}"


def arm(ground: Ground, fault: CrashAtWrite, crash: Callable[[], None]) -> Armed:
    """Let it strike; `crash` ends the operator."""
    armed = Armed(fault)

    def consulted(attributes: dict[str, Any]) -> Any:
        if attributes.get("client") != fault.client or attributes.get("verb") not in WRITES:
            return None
        armed.seen += 1
        if armed.seen < fault.at_write:
            return None
        armed.struck += 1
        armed.disarm()
        ground.kernel.journal.record(
            "fault", fault.client, fault=repr(fault), verb=attributes.get("verb", ""),
            resource=attributes.get("resource", ""), name=attributes.get("name", ""),
        )
        if fault.before:
            ground.kernel.call_soon(crash)
            return effects.Reset()
        ground.kernel.call_soon(crash)
        return effects.Drop()

    armed.on_disarm = ground.faultpoints.arm(POINT, consulted)
    return armed
