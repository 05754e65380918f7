"""Faults of containers and of the images that they run.

kubesim.faults.container(pod="db-0", container="postgres").exit(1)
kubesim.faults.image("my/app:*").pull_error("unreachable", for_="5m")
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.cri.images import pull_problem
from pytest_kubesim.cri.programs import ProbeResult, hangs_on_sigterm
from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import wording
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.images import Images
    from pytest_kubesim.cri.programs import Probe
    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.kernel import Kernel

PASSIVE = False
PROBES = ("startup", "liveness", "readiness")
OOM_KILLED, SIGKILL_CODE = "OOMKilled", 137

_ENDS = frozenset({"exit", "oom"})


class Ground(Protocol):
    """What a fault of containers needs of the cluster."""

    kernel: Kernel

    @property
    def images(self) -> Images:
        """What images can be pulled."""
        ...

    def containers(self) -> list[Container]:
        """The containers of all nodes that are up."""
        ...


class ContainerFaults(Speech):
    """What can happen to containers.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; see `fault.Fault`.
    """

    def exit(self, code: int = 1, **timing: Any) -> Any:
        """Let those that run end with `code`, 0 to 255."""
        wording.whole(code, "exit.code", least=0, most=255)
        return self._fault(Call.of("exit", code), timing)

    def oom(self, **timing: Any) -> Any:
        """Kill those that run for want of memory (137, `OOMKilled`)."""
        return self._fault(Call.of("oom"), timing)

    def hang(self, **timing: Any) -> Any:
        """Let them neither answer probes nor obey SIGTERM."""
        return self._fault(Call.of("hang"), timing)

    def fail_probe(self, probe: str = "readiness", *, message: str = "", **timing: Any) -> Any:
        """Let a probe fail: `"readiness"`, `"liveness"` or `"startup"`."""
        wording.one_of(probe, "fail_probe.probe", PROBES)
        wording.text(message, "fail_probe.message")
        return self._fault(
            Call.of("fail_probe", probe, defaults={"message": ""}, message=message), timing
        )

    def slow_start(self, duration: Duration, **timing: Any) -> Any:
        """Let the start of those that are made from here on take that much longer."""
        wording.duration(duration, "slow_start")
        return self._fault(Call.of("slow_start", duration), timing)


class ImageFaults(Speech):
    """What can happen to the pulling of images; `for_`, `until` and so on as everywhere."""

    def pull_error(self, problem: str = "denied", **timing: Any) -> Any:
        """Let pulling fail: `denied`, `unreachable`, `not_found`, or with a message of your own.

        Raises: `UsageError` for a single word that is none of them.
        """
        pull_problem(wording.text(problem, "pull_error.problem"))
        return self._fault(Call.of("pull_error", problem), timing)

    def slow_pull(self, duration: Duration, **timing: Any) -> Any:
        """Let pulling take that long."""
        wording.duration(duration, "slow_pull")
        return self._fault(Call.of("slow_pull", duration), timing)


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` where a container is to end now, and none runs."""
    if fault.where == "image" or not fault.immediate or fault.what not in _ENDS:
        return
    if not _running(ground, fault):
        there = [
            f"{c.namespace}/{c.pod_name}/{c.name}"
            for c in ground.containers()
            if c.state == RUNNING
        ]
        shown = ", ".join(there[:12]) or "none"
        raise UsageError(f"faults: {fault!r}: no such container runs; there are: {shown}")


def _meant(fault: Fault, container: Container) -> bool:
    target = fault.target
    return all(
        wanted is None or fnmatchcase(actual, wanted)
        for wanted, actual in (
            (target.get("pod"), container.pod_name),
            (target.get("container"), container.name),
            (target.get("namespace"), container.namespace),
        )
    )


def _running(ground: Ground, fault: Fault) -> list[Container]:
    return [c for c in ground.containers() if c.state == RUNNING and _meant(fault, c)]


def begin(ground: Ground, armed: Armed) -> Callable[[], None] | None:
    """Let it happen."""
    fault = armed.fault
    if fault.where == "image":
        return _image(ground, armed)
    if fault.what in _ENDS:
        for container in _running(ground, fault):
            _strike(armed, container)
            if fault.what == "oom":
                container.exit(SIGKILL_CODE, OOM_KILLED)
            else:
                container.exit(fault.args[0])
        return None
    if fault.what == "slow_start":
        return _slow_start(ground, armed)
    changed: list[tuple[Container, Callable[[], None]]] = []

    def change(container: Container) -> None:
        if _meant(fault, container):
            _strike(armed, container)
            changed.append((container, _CHANGES[fault.what](fault, container)))

    for container in _running(ground, fault):
        change(container)
    listeners = ground.images.on_container
    listeners.append(change)

    def end() -> None:
        listeners.remove(change)
        for container, undo in changed:
            undo()
            container.changed()

    return end


def _slow_start(ground: Ground, armed: Armed) -> Callable[[], None]:
    fault, asked = armed.fault, ground.images.on_start
    delay_ns = to_ns(fault.args[0])

    def delay(container: Container) -> int:
        if not _meant(fault, container):
            return 0
        _strike(armed, container)
        return delay_ns

    asked.append(delay)
    return lambda: asked.remove(delay)


def _strike(armed: Armed, container: Container) -> None:
    armed.strike(
        container.node, pod=container.pod_name, namespace=container.namespace,
        container=container.name,
    )


def _hang(fault: Fault, container: Container) -> Callable[[], None]:
    del fault
    program = container.program

    def fails(probe: Probe) -> ProbeResult:
        return ProbeResult(False, _deadline(probe))

    undo = _override(container, fails)
    container.program = hangs_on_sigterm()
    container.changed()

    def end() -> None:
        container.program = program
        undo()

    return end


def _deadline(probe: Probe) -> str:
    if probe.kind == "exec":
        return "command timed out"
    return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"


def _fail_probe(fault: Fault, container: Container) -> Callable[[], None]:
    purpose, message = fault.args[0], fault.option("message", "")

    def fails(probe: Probe) -> ProbeResult | None:
        if probe.purpose != purpose:
            return None
        return ProbeResult(False, message or "HTTP probe failed with statuscode: 503")

    undo = _override(container, fails)
    container.changed()
    return undo


def _override(
    container: Container, fails: Callable[[Probe], ProbeResult | None]
) -> Callable[[], None]:
    before = container.probe_override
    container.probe_override = fails

    def undo() -> None:
        container.probe_override = before

    return undo


_CHANGES: dict[str, Callable[[Fault, Container], Callable[[], None]]] = {
    "hang": _hang, "fail_probe": _fail_probe,
}


def _image(ground: Ground, armed: Armed) -> Callable[[], None]:
    fault, images = armed.fault, ground.images
    pattern = fault.target.args[0]

    def pulled(image: str) -> None:
        if images.speaks_of(pattern, image):
            armed.strike(pattern, image=image)

    if fault.what == "pull_error":
        images.pull_error(pattern, fault.args[0])
    else:
        images.slow(pattern, fault.args[0])
    stop = images.on_trouble(pulled)

    def end() -> None:
        stop()
        images.forget_pulls(pattern)

    return end
