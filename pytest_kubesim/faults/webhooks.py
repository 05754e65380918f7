"""Faults of the webhooks that API servers call.

    kubesim.faults.webhook("default/policy").time_out()

They strike at the fault point `webhook.call`, before the call leaves the API server; see
`apiserver.webhook_client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pytest_kubesim.apiserver import effects
from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel

PASSIVE = True
POINT = "webhook.call"

_USUAL = {"times": 1, "after": 0}


class Ground(Protocol):
    """What a fault of webhooks needs of the cluster."""

    kernel: Kernel
    faultpoints: FaultPoints


class CallFaults(Speech):
    """What can happen to calls of a webhook.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; `times` is how often it strikes
    (None: always), `after` how many calls pass before.
    """

    def time_out(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Never answer."""
        return self._call("time_out", (), times, after, timing)

    def refuse(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Refuse the connection."""
        return self._call("refuse", (), times, after, timing)

    def reset(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Reset the connection before the call is looked at."""
        return self._call("reset", (), times, after, timing)

    def apply_but_drop_answer(
        self, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Let it look at the call, and lose its answer."""
        return self._call("apply_but_drop_answer", (), times, after, timing)

    def delay(
        self, duration: Duration, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Answer later."""
        to_ns(duration)
        return self._call("delay", (duration,), times, after, timing)

    def answer(
        self, body: Mapping[str, Any], *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Answer something else: the body of the answer, as JSON; the call is not looked at."""
        return self._call("answer", (dict(body),), times, after, timing)

    def fail(self, code: int, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Answer with that HTTP status."""
        if not 400 <= code <= 599:
            raise UsageError(f"faults: fail({code!r}): give an HTTP status from 400 to 599")
        return self._call("fail", (code,), times, after, timing)

    def _call(
        self,
        effect: str,
        args: tuple[Any, ...],
        times: int | None,
        after: int,
        timing: dict[str, Any],
    ) -> Any:
        return self._fault(
            Call.of(effect, *args, defaults=_USUAL, times=times, after=after), timing
        )


def check(ground: Ground, fault: Fault) -> None:
    """Any name will do: configurations come and go; one that never appears is told at the end."""
    del ground, fault


def begin(ground: Ground, armed: Armed) -> Callable[[], None]:
    """Let it strike from here on."""
    fault = armed.fault
    name = fault.target.args[0]
    times, after = fault.option("times", 1), fault.option("after", 0)

    def consulted(attributes: dict[str, Any]) -> Any:
        host = urlsplit(attributes.get("url") or "").hostname
        if name not in (attributes.get("webhook"), attributes.get("service"), host):
            return None
        armed.seen += 1
        if armed.seen <= after or (times is not None and armed.struck >= times):
            return None
        armed.strike(name)
        if times is not None and armed.struck >= times:
            ground.kernel.call_soon(armed.disarm)
        return _effect(ground, fault)

    return ground.faultpoints.arm(POINT, consulted)


def _effect(ground: Ground, fault: Fault) -> Any:
    match fault.what:
        case "time_out":
            # Whoever calls gives up when its time is over.
            return effects.Hold(ground.kernel.future())
        case "refuse":
            return effects.Refuse()
        case "reset":
            return effects.Reset()
        case "apply_but_drop_answer":
            return effects.Drop()
        case "delay":
            return effects.Delay(to_ns(fault.args[0]))
        case "fail":
            code = fault.args[0]
            message = f"an error on the server ({code})"
            failure = {"kind": "Status", "status": "Failure", "code": code, "message": message}
            return effects.Respond({"apiVersion": "v1", "metadata": {}, **failure})
        case _:
            return effects.Respond(fault.args[0])
