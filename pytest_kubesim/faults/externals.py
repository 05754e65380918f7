"""Faults of the systems outside that a test declares.

    kubesim.faults.external("api.example.com", method="POST").apply_but_drop_answer()

They strike when a request has arrived there (`refuse`: when a connection is made), whoever answers
it; see `cluster.externals`.  The way there is the network's: `partition`, `latency` and `loss` take
the host's name.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol, cast

from pytest_kubesim.apiserver import effects
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults import counted, wording
from pytest_kubesim.faults.requests import is_meant
from pytest_kubesim.sim.durations import Duration, to_ns
from pytest_kubesim.wire import Response, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault

PASSIVE = True
CALL, CONNECT = "external.call", "external.connect"

_TEXT = "text/plain; charset=utf-8"


class Ground(counted.Ground, Protocol):
    """What a fault of external systems needs of the cluster."""

    def external_hosts(self) -> tuple[str, ...]:
        """The systems that the test has declared."""
        ...


class ExternalFaults(counted.CountedSpeech):
    """What can happen to requests to a declared system.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; `times` is how often it strikes
    (None: always), `after` how many requests pass before.
    """

    def time_out(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Never answer; the request is not looked at."""
        return self._counted("time_out", (), times, after, timing)

    def refuse(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Refuse the connection.  A connection that is open already goes on."""
        named = [name for name in ("method", "path") if self._target.get(name) is not None]
        if named:
            raise UsageError(
                f"faults: external(...).refuse(): a connection has no {named[0]}; leave "
                f"{named[0]}= out, or say reset()"
            )
        return self._counted("refuse", (), times, after, timing)

    def reset(self, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Reset the connection before the request is looked at."""
        return self._counted("reset", (), times, after, timing)

    def apply_but_drop_answer(
        self, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Let the system do what it is asked for, and lose its answer."""
        return self._counted("apply_but_drop_answer", (), times, after, timing)

    def delay(
        self, duration: Duration, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Look at the request later, and answer then."""
        wording.duration(duration, "delay")
        return self._counted("delay", (duration,), times, after, timing)

    def fail(self, status: int, *, times: int | None = 1, after: int = 0, **timing: Any) -> Any:
        """Answer with that HTTP status; the request is not looked at."""
        wording.whole(status, "fail.status", least=400, most=599, why=": an HTTP status")
        return self._counted("fail", (status,), times, after, timing)

    def answer(
        self, body: Any, *, times: int | None = 1, after: int = 0, **timing: Any
    ) -> Any:
        """Answer this: an object or a list as JSON, or a text; the request is not looked at."""
        if not isinstance(body, dict | list | str):
            raise UsageError(f"faults: answer({body!r}): give an object, a list or a text")
        return self._counted("answer", (cast("object", body),), times, after, timing)


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for a system that nobody has declared."""
    if fault.immediate:
        _declared(ground, fault)


def _declared(ground: Ground, fault: Fault) -> None:
    host, there = fault.target.args[0], ground.external_hosts()
    if host not in there:
        raise UsageError(
            f"faults: no external system {host!r} is declared;",
            f"{suggestion(host, there)}there are: {', '.join(there) or 'none'}; declare it: "
            f"kubesim.external({host!r}, function)",
        )


def begin(ground: Ground, armed: Armed) -> Callable[[], None]:
    """Let it strike from here on."""
    fault = armed.fault
    _declared(ground, fault)
    target, host = fault.target, fault.target.args[0]

    def meant(attributes: dict[str, Any]) -> bool:
        client: str | None = target.get("client")
        method: str | None = target.get("method")
        path: str | None = target.get("path")
        return (
            attributes["host"] == host
            and (client is None or is_meant(client, attributes["client"]))
            and (method is None or method.upper() == attributes["method"])
            and (path is None or fnmatchcase(attributes["path"], path))
        )

    def strike(attributes: dict[str, Any]) -> None:
        armed.strike(attributes["client"], host=host, path=attributes.get("path") or "")

    point = CONNECT if fault.what == "refuse" else CALL
    return counted.begin(ground, armed, point, meant, strike, lambda: _effect(fault))


def _effect(fault: Fault) -> Any:
    match fault.what:
        case "time_out":
            return effects.Ignore()
        case "refuse":
            return effects.Refuse()
        case "reset":
            return effects.Reset()
        case "apply_but_drop_answer":
            return effects.Drop()
        case "delay":
            return effects.Delay(to_ns(fault.args[0]))
        case "fail":
            text = f"an error on the server ({fault.args[0]})"
            return effects.Respond(Response(fault.args[0], None, text.encode(), _TEXT))
        case _:
            body = fault.args[0]
            if isinstance(body, str):
                return effects.Respond(Response(200, None, body.encode(), _TEXT))
            return effects.Respond(Response(200, None, to_json(body).rstrip(b"\n")))
