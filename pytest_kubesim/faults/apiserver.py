"""Faults of API requests, by client, verb and resource.

    kubesim.faults.api(client="operator", verb="update", resource="statefulsets").fail(409, times=2)

They strike at the fault point `apiserver.request`, before the request is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import effects
from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults.fault import Armed, RequestMatch
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel

POINT = "apiserver.request"
CODES = (409, 429, 500, 503, 504)


class Ground(Protocol):
    """What a fault needs of the cluster."""

    kernel: Kernel
    faultpoints: FaultPoints


@attrs.frozen(slots=True, repr=False)
class APIFault:
    """A fault of the requests that `match` means.

    `effect` is `fail`, `refuse`, `reset`, `drop` or `delay`; `code` the HTTP status of `fail`;
    `delay_ns` of `delay`; `times` it strikes (None: always) after `after` matching requests have
    passed.
    """

    match: RequestMatch
    effect: str
    code: int = 0
    message: str = ""
    retry_after: int | None = None
    delay_ns: int = 0
    times: int | None = 1
    after: int = 0

    def __repr__(self) -> str:
        options: list[str] = []
        if self.effect == "fail":
            options.append(str(self.code))
        if self.effect == "delay":
            options.append(repr(f"{self.delay_ns // 1_000_000}ms"))
        if self.message:
            options.append(f"message={self.message!r}")
        if self.retry_after is not None:
            options.append(f"retry_after={self.retry_after}")
        if self.times != 1:
            options.append(f"times={self.times}")
        if self.after:
            options.append(f"after={self.after}")
        method = "apply_but_drop_answer" if self.effect == "drop" else self.effect
        return f"kubesim.faults.api({self.match.code()}).{method}({', '.join(options)})"


class APIFaults:
    """The fluent way to say an `APIFault`; every method arms it and gives its handle."""

    __slots__ = ("_arm", "_match")

    def __init__(self, match: RequestMatch, arm_: Callable[[APIFault], Armed]) -> None:
        self._match = match
        self._arm = arm_

    def fail(
        self,
        code: int,
        *,
        times: int | None = 1,
        after: int = 0,
        message: str = "",
        retry_after: int | None = None,
    ) -> Armed:
        """Answer with an error and do not look at the request.

        Parameters: `code`, 409, 429, 500, 503 or 504; `times` it strikes (None: always); `after`
        how many matching requests; `message` instead of the usual one; `retry_after`, seconds.
        Raises: `UsageError` for a code that the API server does not answer with.
        """
        if code not in CODES:
            raise UsageError(
                f"faults: the API server does not fail with {code!r} on its own; give one of "
                f"{', '.join(map(str, CODES))}"
            )
        return self._arm(
            APIFault(self._match, "fail", code, message, retry_after, times=times, after=after)
        )

    def refuse(self, *, times: int | None = 1, after: int = 0) -> Armed:
        """Refuse the connection."""
        return self._arm(APIFault(self._match, "refuse", times=times, after=after))

    def reset(self, *, times: int | None = 1, after: int = 0) -> Armed:
        """Reset the connection before the request is looked at."""
        return self._arm(APIFault(self._match, "reset", times=times, after=after))

    def apply_but_drop_answer(self, *, times: int | None = 1, after: int = 0) -> Armed:
        """Serve the request and lose the answer: the client sees a reset connection."""
        return self._arm(APIFault(self._match, "drop", times=times, after=after))

    def delay(self, duration: Duration, *, times: int | None = 1, after: int = 0) -> Armed:
        """Look at the request later."""
        delay_ns = to_ns(duration)
        return self._arm(
            APIFault(self._match, "delay", delay_ns=delay_ns, times=times, after=after)
        )


def arm(ground: Ground, fault: APIFault) -> Armed:
    """Let `fault` strike from here on."""
    armed = Armed(fault)

    def consulted(attributes: dict[str, Any]) -> Any:
        if not fault.match.matches(attributes):
            return None
        armed.seen += 1
        if armed.seen <= fault.after:
            return None
        armed.struck += 1
        ground.kernel.journal.record(
            "fault", str(attributes.get("client", "")), fault=repr(fault), strike=armed.struck,
            verb=attributes.get("verb", ""), resource=attributes.get("resource", ""),
            name=attributes.get("name", ""),
        )
        if fault.times is not None and armed.struck >= fault.times:
            armed.disarm()
        return effect_of(fault, attributes)

    armed.on_disarm = ground.faultpoints.arm(POINT, consulted)
    return armed


def effect_of(fault: APIFault, attributes: dict[str, Any]) -> Any:
    """What the fault point is told."""
    if fault.effect == "fail":
        error = _error(fault, attributes)
        retry = fault.retry_after
        headers = (("retry-after", str(retry)),) if retry is not None else ()
        if retry is None and fault.code == 429:
            headers = (("retry-after", "1"),)
        return effects.Respond(error.to_object(), headers)
    if fault.effect == "delay":
        return effects.Delay(fault.delay_ns)
    return {"refuse": effects.Refuse, "reset": effects.Reset, "drop": effects.Drop}[fault.effect]()


def _error(fault: APIFault, attributes: dict[str, Any]) -> status.APIStatus:
    resource = GroupResource(attributes.get("group", ""), attributes.get("resource", ""))
    name = attributes.get("name", "")
    if fault.code == 409:
        return status.new_conflict(resource, name, fault.message or status.OPTIMISTIC_LOCK_ERROR)
    if fault.code == 429:
        message = fault.message or "Too many requests, please try again later."
        return status.new_too_many_requests(message, fault.retry_after or 1)
    if fault.code == 503:
        return status.new_service_unavailable(
            fault.message or "the server is currently unable to handle the request"
        )
    if fault.code == 504:
        return status.new_timeout_error(
            fault.message or "request did not complete within the allotted timeout",
            fault.retry_after or 0,
        )
    return status.new_internal_error(fault.message or "etcdserver: request timed out")
