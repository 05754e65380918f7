"""An armed fault: what has become of a record in one run.

State machine (an event not named in a state does nothing):

    waiting --its instant comes, its trigger goes off--> active --it ends--> over
    waiting, active --disarm--> over

A fault that happens and is over at once (a reboot) goes through `active` in passing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import wording
from pytest_kubesim.sim.durations import Duration, text, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.faults.fault import Fault, Instant
    from pytest_kubesim.faults.triggers import Ground as TriggerGround
    from pytest_kubesim.faults.triggers import When
    from pytest_kubesim.sim.kernel import Kernel, Timer


class Ground(Protocol):
    """What any fault needs of the cluster."""

    kernel: Kernel


class Behaviour(Protocol):
    """What a kind of fault does."""

    PASSIVE: bool
    """Whether it only waits for what it strikes: arming it changes nothing yet."""

    def check(self, ground: Any, fault: Fault) -> None:
        """Raises: `UsageError` for what cannot be, with what can."""
        ...

    def begin(self, ground: Any, armed: Armed) -> Callable[[], None] | None:
        """Let it begin; returns how to end it, None where it is over at once."""
        ...


def check_instants(fault: Fault, kernel: Kernel) -> None:
    """Raises: `UsageError` for an instant that is over: it was meant as a duration."""
    now_ns = kernel.elapsed_ns
    begins, ends = fault.begins_at, fault.ends_at
    if begins is not None and to_ns(begins, "at") < now_ns:
        option, value, remedy = "at", begins, "give a later one, or none to let it begin at once"
    elif ends is not None and to_ns(ends, "until") <= now_ns:
        option, value, remedy = "until", ends, f"give a later one, or for_={ends!r} to let it last"
    else:
        return
    raise UsageError(
        f"faults: {fault!r}: {option}={value!r} is over: instants count from the start of the "
        f"cluster, and it is {text(now_ns)} old;",
        remedy,
    )


@attrs.define(slots=True, eq=False, repr=False)
class Armed(wording.Vocabulary):
    """A fault that has been armed: end it with `disarm()`, or use it as a context manager."""

    fault: Fault
    ground: Any
    behaviour: Behaviour
    state: str = "waiting"
    """`waiting`, `active` or `over`."""
    struck: int = 0
    """How often it has struck."""
    seen: int = 0
    """How many occurrences it looked at that it was meant for."""
    began_ns: int = 0
    problem: str = ""
    """What kept it from beginning."""
    _end: Callable[[], None] | None = None
    _cancels: list[Callable[[], None]] = attrs.field(factory=list["Callable[[], None]"])

    # -- its life -----------------------------------------------------------------------------

    def arm(self) -> Armed:
        """Let it begin when its time has come."""
        fault, kernel = self.fault, self._kernel
        if fault.begins_at is not None:
            at_ns = kernel.start_ns + to_ns(fault.begins_at, "at")
            if at_ns > kernel.now_ns:
                self._after(kernel.call_at(at_ns, self._begin, priority=0, label=f"{fault!r}"))
                return self
        elif fault.trigger is not None:
            self._upon(fault.trigger, self._begin)
            return self
        self._begin()
        return self

    def _begin(self) -> None:
        if self.state != "waiting":
            return
        self._cancel()
        self.state, self.began_ns = "active", self._kernel.now_ns
        try:
            end = self.behaviour.begin(self.ground, self)
        except UsageError as error:
            if self.fault.immediate:
                self.state = "over"
                raise
            self.problem, self.state = str(error), "over"
            return
        if end is None:
            self.state = "over"
            return
        if self.state != "active":
            # It has struck for the last time while it began.
            end()
            return
        self._end = end
        self._arm_end()

    def _arm_end(self) -> None:
        fault, kernel = self.fault, self._kernel
        if fault.ends_when is not None:
            self._upon(fault.ends_when, self.disarm)
        end_ns = None
        if fault.lasts is not None:
            end_ns = self.began_ns + to_ns(fault.lasts, "for_")
        elif fault.ends_at is not None:
            end_ns = kernel.start_ns + to_ns(fault.ends_at, "until")
        if end_ns is not None:
            self._after(kernel.call_at(
                end_ns, self.disarm, priority=0, label=f"the end of {fault!r}"
            ))

    def disarm(self) -> None:
        """End it; nothing if it has ended."""
        if self.state == "over":
            return
        self.state = "over"
        self._cancel()
        end, self._end = self._end, None
        if end is not None:
            self._kernel.journal.record("fault", self.actor, fault=repr(self.fault), what="ends")
            end()

    def strike(self, actor: str | None = None, **fields: Any) -> None:
        """Note that it has struck."""
        self.struck += 1
        self._kernel.journal.record(
            "fault", self.actor if actor is None else actor, fault=repr(self.fault),
            strike=self.struck, **fields,
        )

    # -- for the author of a test -------------------------------------------------------------

    @property
    def armed(self) -> bool:
        """Whether it can still strike, or has not ended."""
        return self.state != "over"

    def for_(self, duration: Duration) -> Armed:
        """Let it last `duration` from its beginning."""
        return self._retimed(self.fault.for_(duration))

    def until(self, end: Any) -> Armed:
        """Let it end at an instant since the start of the cluster, or upon a trigger."""
        fault = self.fault.until(end)
        check_instants(fault, self._kernel)
        if fault.ends_when is not None:
            fault.ends_when.check(self.ground, now=fault.immediate)
        return self._retimed(fault)

    def at(self, instant: Instant) -> Armed:
        """Let it begin at that instant since the start of the cluster."""
        fault = self.fault.at(instant)
        check_instants(fault, self._kernel)
        self._take_back("at=")
        self.fault = fault
        return self.arm()

    def when(self, trigger: Any, match: Any = None, **options: Any) -> Armed:
        """Let it begin upon a trigger; see `triggers.when`."""
        fault = self.fault.when(trigger, match, **options)
        if fault.trigger is not None:
            fault.trigger.check(self.ground, now=True)
        self._take_back("when=")
        self.fault = fault
        return self.arm()

    def _retimed(self, fault: Fault) -> Armed:
        self.fault = fault
        if self.state == "active":
            self._cancel()
            self._arm_end()
        return self

    def _take_back(self, option: str) -> None:
        if self.state == "waiting":
            self._cancel()
        elif self.behaviour.PASSIVE and self.state == "active" and not self.struck:
            end, self._end = self._end, None
            self._cancel()
            if end is not None:
                end()
        else:
            raise UsageError(
                f"faults: {self.fault!r} has struck already, and cannot be put off; say it in the "
                f"call instead: {self.fault.what}({option}...)"
            )
        self.state = "waiting"

    def __enter__(self) -> Armed:
        return self

    def __exit__(self, *error: object) -> None:
        self.disarm()

    def __repr__(self) -> str:
        return f"<{self.fault!r} {self.state}, struck {self.struck} times>"

    def __said__(self) -> str:
        return f"{self.fault.what}(...)."

    def __words__(self) -> list[str]:
        return [*wording.TIMING, "disarm", "struck", "armed"]

    # -- inside -------------------------------------------------------------------------------

    @property
    def actor(self) -> str:
        """Whom the journal says it happens to."""
        target = self.fault.target
        if target.args:
            return str(target.args[0])
        return str(target.get("client") or target.get("pod") or target.name)

    @property
    def _kernel(self) -> Kernel:
        return self.ground.kernel

    def _after(self, timer: Timer) -> None:
        self._cancels.append(timer.cancel)

    def _upon(self, trigger: When, act: Callable[[], None]) -> None:
        ground: TriggerGround = self.ground
        kernel = self._kernel

        def fire() -> None:
            # What only waits is armed at once; what acts must not act inside of a write.
            if self.behaviour.PASSIVE:
                act()
            else:
                kernel.call_soon(act)

        self._cancels.append(trigger.watch(ground, fire))

    def _cancel(self) -> None:
        cancels, self._cancels = self._cancels, []
        for cancel in cancels:
            cancel()
