"""Faults of API requests, by client, verb and resource.

    kubesim.faults.api(client="operator", verb="update", resource="statefulsets").fail(409, times=2)

They strike at the fault point `apiserver.request`, before the request is looked at, or at the
watches that are open (`watches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import effects
from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import requests, watches, wording
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.faults.requests import RequestMatch
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel

POINT = "apiserver.request"
CODES = (409, 410, 429, 500, 503, 504)
PASSIVE = True

_USUAL = {"times": 1, "after": 0, "message": ""}
_OF_WATCHES = frozenset({
    "cut_watch", "expire_watch", "delay_events", "hold_events", "coalesce_events",
})


class Ground(requests.Ground, Protocol):
    """What a fault of requests needs of the cluster."""

    kernel: Kernel
    faultpoints: FaultPoints
    watches: watches.Watches


class APIFaults(Speech):
    """What can happen to the requests that are meant.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; see `fault.Fault`.  `times` is how
    often it strikes (None: always), `after` how many matching requests pass before.
    """

    def fail(
        self,
        code: int,
        *,
        times: int | None = 1,
        after: int = 0,
        message: str = "",
        retry_after: int | None = None,
        **timing: Any,
    ) -> Any:
        """Answer with an error and do not look at the request.

        Parameters: `code`, 409, 410, 429, 500, 503 or 504; `times` it strikes (None: always);
        `after` how many matching requests; `message` instead of the usual one; `retry_after`,
        seconds.
        Raises: `UsageError` for a code that the API server does not answer with.
        """
        if code not in CODES:
            raise UsageError(
                f"faults: the API server does not fail with {code!r} on its own; give one of "
                f"{', '.join(map(str, CODES))}, a number"
            )
        wording.text(message, "fail.message")
        if retry_after is not None:
            wording.whole(retry_after, "fail.retry_after", least=1, why=", in seconds")
        return self._request(
            "fail", code, times=times, after=after, timing=timing, message=message,
            retry_after=retry_after,
        )

    def refuse(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Refuse the connection."""
        return self._request("refuse", times=times, after=after, timing=timing)

    def reset(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Reset the connection before the request is looked at."""
        return self._request("reset", times=times, after=after, timing=timing)

    def delay(
        self, duration: Duration, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Look at the request later."""
        wording.duration(duration, "delay")
        return self._request("delay", duration, times=times, after=after, timing=timing)

    def apply_but_drop_answer(
        self, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Serve the request and lose the answer: the client sees a reset connection."""
        return self._request("apply_but_drop_answer", times=times, after=after, timing=timing)

    def hold_answer(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Serve the request and keep the answer back until `until`, or `for_` a while.

        Without either the answer comes when the fault is disarmed, if the client still waits.
        """
        return self._request("hold_answer", times=times, after=after, timing=timing)

    def cut_watch(self, **timing: Any) -> Any:
        """Reset the connections of the watches that are open now."""
        return self._watch("cut_watch", timing)

    def expire_watch(self, **timing: Any) -> Any:
        """Tell the watches that are open now that their history is gone (410), and end them."""
        return self._watch("expire_watch", timing)

    def delay_events(self, duration: Duration, **timing: Any) -> Any:
        """Let watch events come that much later, in their order."""
        wording.duration(duration, "delay_events")
        return self._watch("delay_events", timing, duration)

    def hold_events(self, **timing: Any) -> Any:
        """Keep watch events back until the fault ends; then they come, in their order."""
        return self._watch("hold_events", timing)

    def coalesce_events(self, duration: Duration, **timing: Any) -> Any:
        """Let watchers see only where changes have led: who falls behind is told 410.

        Events are kept back for `duration` from the first one on; a watch that missed more than
        one by then ends with 410, and its client, listing anew, sees only the last state.
        """
        wording.duration(duration, "coalesce_events")
        return self._watch("coalesce_events", timing, duration)

    def _request(
        self, effect: str, *args: Any, times: int | None, after: int, timing: dict[str, Any],
        **options: Any,
    ) -> Any:
        wording.counted(effect, times, after)
        call = Call.of(effect, *args, defaults=_USUAL, times=times, after=after, **options)
        return self._fault(call, timing)

    def _watch(self, effect: str, timing: dict[str, Any], *args: Any) -> Any:
        return self._fault(Call.of(effect, *args), timing)


def target(match: RequestMatch) -> Call:
    """The call that means those requests."""
    return Call.of("api", **attrs.asdict(match))


def match_of(fault: Fault) -> RequestMatch:
    """Which requests a fault means."""
    return RequestMatch(**dict(fault.target.options))


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for a server, resource or subresource that there is not."""
    match = match_of(fault)
    if fault.what in _OF_WATCHES and match.verb not in (None, "watch"):
        raise UsageError(
            f"faults: {fault!r}: {fault.what} is about watches; leave verb= out, or say 'watch'"
        )
    requests.check(ground, match, now=fault.immediate)


def begin(ground: Ground, armed: Armed) -> Callable[[], None] | None:
    """Let it strike from here on."""
    if armed.fault.what in _OF_WATCHES:
        return watches.begin(ground.watches, armed, match_of(armed.fault))
    return _begin_requests(ground, armed)


def _begin_requests(ground: Ground, armed: Armed) -> Callable[[], None]:
    fault, match = armed.fault, match_of(armed.fault)
    times, after = fault.option("times", 1), fault.option("after", 0)
    holds = fault.what == "hold_answer"
    released = ground.kernel.future() if holds else None

    def consulted(attributes: dict[str, Any]) -> Any:
        if not match.matches(attributes):
            return None
        armed.seen += 1
        if armed.seen <= after:
            return None
        armed.strike(
            str(attributes.get("client", "")), verb=attributes.get("verb", ""),
            resource=attributes.get("resource", ""), name=attributes.get("name", ""),
        )
        if times is not None and armed.struck >= times:
            if holds:
                disarm()
            else:
                ground.kernel.call_soon(armed.disarm)
                disarm()
        return effects.Hold(released) if released is not None else effect_of(fault, attributes)

    disarm = ground.faultpoints.arm(POINT, consulted)

    def end() -> None:
        disarm()
        if released is not None and not released.done():
            released.set_result(None)

    return end


def effect_of(fault: Fault, attributes: dict[str, Any]) -> Any:
    """What the fault point is told."""
    match fault.what:
        case "fail":
            error = _error(fault, attributes)
            retry = fault.option("retry_after")
            if retry is None and fault.args[0] == 429:
                retry = 1
            headers = (("retry-after", str(retry)),) if retry is not None else ()
            return effects.Respond(error.to_object(), headers)
        case "delay":
            return effects.Delay(to_ns(fault.args[0]))
        case "refuse":
            return effects.Refuse()
        case "reset":
            return effects.Reset()
        case _:
            return effects.Drop()


def _error(fault: Fault, attributes: dict[str, Any]) -> status.APIStatus:
    resource = GroupResource(attributes.get("group", ""), attributes.get("resource", ""))
    name = attributes.get("name", "")
    code: int = fault.args[0]
    message: str = fault.option("message", "")
    retry_after: int | None = fault.option("retry_after")
    if code == 409:
        return status.new_conflict(resource, name, message or status.OPTIMISTIC_LOCK_ERROR)
    if code == 410:
        return status.new_resource_expired(
            message or "The resourceVersion for the provided list is too old."
        )
    if code == 429:
        text = message or "Too many requests, please try again later."
        return status.new_too_many_requests(text, retry_after or 1)
    if code == 503:
        return status.new_service_unavailable(
            message or "the server is currently unable to handle the request"
        )
    if code == 504:
        return status.new_timeout_error(
            message or "request did not complete within the allotted timeout", retry_after or 0
        )
    return status.new_internal_error(message or "etcdserver: request timed out")
