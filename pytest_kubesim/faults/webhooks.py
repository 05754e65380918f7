"""Faults of the webhooks that API servers call.

    kubesim.faults.webhook("default/policy").time_out()

They strike at the fault point `webhook.call`, before the call leaves the API server; see
`apiserver.webhook_client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_kubesim.apiserver import effects
from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import counted, wording
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault

PASSIVE = True
POINT = "webhook.call"


class CallFaults(counted.CountedSpeech):
    """What can happen to calls of a webhook.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; `times` is how often it strikes
    (None: always), `after` how many calls pass before.
    """

    def time_out(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Never answer."""
        return self._counted("time_out", (), times, after, timing)

    def refuse(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Refuse the connection."""
        return self._counted("refuse", (), times, after, timing)

    def reset(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Reset the connection before the call is looked at."""
        return self._counted("reset", (), times, after, timing)

    def apply_but_drop_answer(
        self, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Let it look at the call, and lose its answer."""
        return self._counted("apply_but_drop_answer", (), times, after, timing)

    def delay(
        self, duration: Duration, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Answer later."""
        wording.duration(duration, "delay")
        return self._counted("delay", (duration,), times, after, timing)

    def answer(
        self, body: Mapping[str, Any], *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Answer something else: the body of the answer, as JSON; the call is not looked at."""
        if not isinstance(body, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"faults: answer({body!r}): give the body as a dict, such as "
                "{'response': {'allowed': False}}"
            )
        return self._counted("answer", (dict(body),), times, after, timing)

    def fail(self, code: int, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Answer with that HTTP status."""
        wording.whole(code, "fail.code", least=400, most=599, why=": an HTTP status")
        return self._counted("fail", (code,), times, after, timing)


def check(ground: counted.Ground, fault: Fault) -> None:
    """Any name will do: configurations come and go; one that never appears is told at the end."""
    del ground, fault


def begin(ground: counted.Ground, armed: Armed) -> Callable[[], None]:
    """Let it strike from here on."""
    fault = armed.fault
    name = fault.target.args[0]

    def meant(attributes: dict[str, Any]) -> bool:
        host = urlsplit(attributes.get("url") or "").hostname
        return name in (attributes.get("webhook"), attributes.get("service"), host)

    return counted.begin(
        ground, armed, POINT, meant, lambda _: armed.strike(name), lambda: _effect(ground, fault)
    )


def _effect(ground: counted.Ground, fault: Fault) -> Any:
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
