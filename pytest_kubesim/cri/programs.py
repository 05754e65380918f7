"""What a container does: programs.

The law: a program is a frozen record that holds no state of a run; one record may run in any
number of containers at once.  It hears of its container through `begin` (it was started) and
`signal`, answers probes and exec, and ends by `container.exit(code)`.  A program that needs no
timer makes none: the default one, which runs for ever, costs nothing while it runs.

A program answers a probe for *this instant*; `next_change_ns` says when the answer may become
another one by itself, so that whoever asks periodically may stop asking.  A program whose answers
can change at any time says `volatile`.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.timestamps import format_duration
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.sessions import ExecSession

SIGTERM_CODE, SIGKILL_CODE = 143, 137


@attrs.frozen(slots=True)
class Probe:
    """A question to a running container: is it well?

    `kind` is `http`, `tcp`, `grpc` or `exec`; `purpose` is `startup`, `liveness` or `readiness`
    (or `lifecycle` for a hook).
    """

    kind: str
    purpose: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    scheme: str = "http"
    service: str = ""
    command: tuple[str, ...] = ()
    timeout_ns: int = 1_000_000_000
    headers: tuple[tuple[str, str], ...] = ()


@attrs.frozen(slots=True)
class ProbeResult:
    """The answer: well or not, and what a kubelet says of it.

    `note`: `warning`, well but not as it should be; `error`, there was no answer to the question,
    which counts as if it had not been asked.
    """

    ok: bool
    output: str = ""
    note: str = ""


@attrs.frozen(slots=True)
class ExecResult:
    """How a command in a container ended."""

    exit_code: int = 0
    stdout: str = ""
    stderr: str = ""


WELL = ProbeResult(True)

ProbeHook: TypeAlias = Callable[["Container", Probe], "ProbeResult | bool | int | str"]
ExecHook: TypeAlias = Callable[..., Any]
"""`(container, command)` gives an `ExecResult`, an exit code, what it prints, or None; a coroutine
function is given the client too, `(container, command, session)`, and talks to it by the pipes
`session.stdin`, `session.stdout`, `session.stderr`."""
Main: TypeAlias = Callable[["Container"], Any]


@attrs.frozen(slots=True, kw_only=True)
class Program:
    """Runs for ever, obeys SIGTERM at once, is always well.  All others are variations of it.

    Parameters: `sigterm`, the exit code with which it obeys SIGTERM (None: it does not obey);
    `probe` and `exec`, hooks that answer instead of the defaults; `cpu` (cores), `memory` and
    `disk` (bytes) that it uses: numbers, quantities, or callables that give one; `log`, lines that
    it writes when it starts.
    """

    sigterm: int | None = SIGTERM_CODE
    sigterm_after_ns: int = 0
    probe_hook: ProbeHook | None = None
    exec_hook: ExecHook | None = None
    cpu: float | str | Callable[[], float | str] | None = None
    memory: int | str | Callable[[], int | str] | None = None
    disk: int | str | Callable[[], int | str] | None = None
    lines: tuple[str, ...] = ()

    # -- what the runtime calls ---------------------------------------------------------------

    def begin(self, container: Container) -> None:
        """The container was started."""

    def signal(self, container: Container, name: str) -> None:
        """The container's first process got a signal other than SIGKILL."""
        del name
        if self.sigterm is not None:
            if self.sigterm_after_ns:
                container.call_later(self.sigterm_after_ns, container.exit, self.sigterm)
            else:
                container.exit(self.sigterm)

    def probe(self, container: Container, probe: Probe) -> ProbeResult:
        """Whether it is well in the eyes of `probe` now."""
        if self.probe_hook is not None:
            return _probe_result(self.probe_hook(container, probe), probe)
        if probe.kind == "exec" and self.exec_hook is not None:
            result = self.exec(container, probe.command)
            return ProbeResult(result.exit_code == 0, result.stdout + result.stderr)
        return WELL

    def next_change_ns(self, container: Container) -> int | None:
        """When its answer to probes may change by itself; None when it will not."""
        del container
        return None

    @property
    def volatile(self) -> bool:
        """Whether its answer to probes may change at any time."""
        return self.probe_hook is not None or self.exec_hook is not None

    def exec(self, container: Container, command: tuple[str, ...]) -> ExecResult:
        """Run a command beside it."""
        if self.exec_hook is None:
            return ExecResult()
        answer = self.exec_hook(container, command)
        if isinstance(answer, ExecResult):
            return answer
        if isinstance(answer, str):
            return ExecResult(0, answer)
        return ExecResult(answer or 0)

    async def execute(
        self, container: Container, command: tuple[str, ...], session: ExecSession
    ) -> int:
        """Run a command beside it, joined to a client; gives its exit code."""
        hook = self.exec_hook
        if inspect.iscoroutinefunction(hook):
            return _exit_code(await hook(container, command, session))
        result = self.exec(container, command)
        session.stdout.write(result.stdout.encode())
        session.stderr.write(result.stderr.encode())
        return result.exit_code

    @property
    def live(self) -> bool:
        """Whether probes and commands go through processes and the network."""
        return False

    def prepare(self, container: Container) -> None:
        """Before the start; raises `RuntimeServiceError` where it cannot be started."""
        del container

    def restless(self, container: Container) -> bool:
        """Whether this container's answer to probes may change at any time."""
        del container
        return self.volatile

    async def awaken(self, container: Container) -> None:
        """Somebody needs it: what sleeps wakes."""
        del container

    def check_command(self, container: Container, command: tuple[str, ...]) -> None:
        """Before a command is run; raises `CannotRun` where it cannot be run."""
        del container, command

    def ended(self, container: Container) -> None:
        """The container has ended."""
        del container

    def for_attempt(self, attempt: int) -> Program:
        """What runs at the `attempt`-th start (0 is the first)."""
        del attempt
        return self

    # -- variations ---------------------------------------------------------------------------

    def having(
        self,
        *,
        probe: ProbeHook | None = None,
        exec: ExecHook | None = None,  # noqa: A002 - the word of kubectl
        cpu: float | str | Callable[[], float | str] | None = None,
        memory: int | str | Callable[[], int | str] | None = None,
        disk: int | str | Callable[[], int | str] | None = None,
        log: str | tuple[str, ...] | list[str] | None = None,
    ) -> Program:
        """The same program with hooks, resource usage or a log of its own."""
        changes: dict[str, Any] = {}
        if probe is not None:
            changes["probe_hook"] = probe
        if exec is not None:
            changes["exec_hook"] = exec
        if cpu is not None:
            changes["cpu"] = cpu
        if memory is not None:
            changes["memory"] = memory
        if disk is not None:
            changes["disk"] = disk
        if log is not None:
            changes["lines"] = tuple(log.splitlines()) if isinstance(log, str) else tuple(log)
        return attrs.evolve(self, **changes)

    def using(
        self,
        *,
        cpu: float | str | Callable[[], float | str] | None = None,
        memory: int | str | Callable[[], int | str] | None = None,
        disk: int | str | Callable[[], int | str] | None = None,
    ) -> Program:
        """The same program with a usage of its own: `runs_forever().using(cpu="300m")`.

        Parameters: `cpu` in cores, `memory` and `disk` in bytes; numbers, quantities, or callables
        that are asked whenever somebody measures.  More memory than the container's limit is its
        end: 137, `OOMKilled`.
        """
        return self.having(cpu=cpu, memory=memory, disk=disk)

    def __str__(self) -> str:
        return "runs_forever()" if self.sigterm is not None else "hangs_on_sigterm()"


@attrs.frozen(slots=True, kw_only=True)
class Exits(Program):
    """Ends by itself with `code` after a time."""

    code: int = 0
    after_ns: int = 0
    oom: bool = False

    def begin(self, container: Container) -> None:
        """Schedule the end."""
        if self.after_ns:
            container.call_later(self.after_ns, self._end, container)
        else:
            self._end(container)

    def _end(self, container: Container) -> None:
        container.exit(self.code, "OOMKilled" if self.oom else "")

    def __str__(self) -> str:
        after = f"after={format_duration(self.after_ns)!r}"
        return f"oom({after})" if self.oom else f"exits({self.code}, {after})"


@attrs.frozen(slots=True, kw_only=True)
class Serves(Program):
    """Listens, on one port or on all, from some time after its start."""

    port: int | None = None
    ready_after_ns: int = 0

    def probe(self, container: Container, probe: Probe) -> ProbeResult:
        """Refuses connections until it is ready, and on other ports for ever."""
        if container.now_ns() < (container.started_ns or 0) + self.ready_after_ns:
            return refused(probe)
        if probe.port and self.port is not None and probe.port != self.port:
            return refused(probe)
        return Program.probe(self, container, probe)

    def next_change_ns(self, container: Container) -> int | None:
        """When it begins to listen."""
        ready_ns = (container.started_ns or 0) + self.ready_after_ns
        return ready_ns if ready_ns > container.now_ns() else None

    def __str__(self) -> str:
        port = "" if self.port is None else f"port={self.port}, "
        return f"serves({port}ready_after={format_duration(self.ready_after_ns)!r})"


@attrs.frozen(slots=True, kw_only=True)
class Sequence(Program):
    """Another program at each start; the last one from then on."""

    programs: tuple[Program, ...]

    def for_attempt(self, attempt: int) -> Program:
        """The program of that start."""
        return self.programs[min(attempt, len(self.programs) - 1)].for_attempt(attempt)

    def __str__(self) -> str:
        return f"sequence({', '.join(map(str, self.programs))})"


@attrs.frozen(slots=True, kw_only=True)
class Calls(Program):
    """A Python callable: plain, a generator that yields durations, or a coroutine function."""

    main: Main

    def begin(self, container: Container) -> None:
        """Call it; its result is the exit code (None is 0), an exception is 1 and a traceback."""
        container.spawn(self._run(container))

    async def _run(self, container: Container) -> None:
        try:
            result = self.main(container)
            if inspect.iscoroutine(result):
                result = await cast("Coroutine[Any, Any, Any]", result)
            elif inspect.isgenerator(result):
                result = await _drive(container, cast("Generator[Any, Any, Any]", result))
            code = _exit_code(result)
        except Exception:  # noqa: BLE001 - what user code raises is how the container ends
            for line in traceback.format_exc(chain=False).splitlines():
                container.log(line, stream="stderr")
            code = 1
        container.exit(code)

    def signal(self, container: Container, name: str) -> None:
        """Let its handler have the signal, if it has one."""
        handler = container.signal_handler
        if handler is None:
            Program.signal(self, container, name)
        else:
            handler()

    def __str__(self) -> str:
        return getattr(self.main, "__qualname__", repr(self.main))


async def _drive(container: Container, steps: Generator[Any, Any, Any]) -> Any:
    while True:
        try:
            pause = next(steps)
        except StopIteration as stop:
            return stop.value
        await container.sleep(pause)


def _exit_code(result: object) -> int:
    if result is None or result is True:
        return 0
    if isinstance(result, int):
        return int(result) & 0xFF if result is not False else 1
    raise TypeError(f"a program returns an exit code or None, not {result!r}")


def refused(probe: Probe) -> ProbeResult:
    """The answer of a port on which nobody listens, in the words of Go's dialer."""
    where = f"{probe.host}:{probe.port}"
    problem = f"dial tcp {where}: connect: connection refused"
    if probe.kind == "http":
        return ProbeResult(False, f'Get "{probe.scheme}://{where}{probe.path}": {problem}')
    if probe.kind == "grpc":
        timeout = format_duration(probe.timeout_ns)
        return ProbeResult(
            False,
            f'timeout: failed to connect service "{where}" within {timeout}: '
            "context deadline exceeded",
        )
    return ProbeResult(False, "" if probe.kind == "exec" else problem)


def timed_out(probe: Probe) -> ProbeResult:
    """The answer of a program that hangs."""
    where, timeout = f"{probe.host}:{probe.port}", format_duration(probe.timeout_ns)
    if probe.kind == "http":
        return ProbeResult(
            False,
            f'Get "{probe.scheme}://{where}{probe.path}": context deadline exceeded '
            "(Client.Timeout exceeded while awaiting headers)",
        )
    if probe.kind == "grpc":
        return ProbeResult(False, f"timeout: health rpc did not complete within {timeout}")
    if probe.kind == "exec":
        command = quote(" ".join(probe.command))
        return ProbeResult(False, f"command timed out: {command} timed out after {timeout}")
    return ProbeResult(False, f"dial tcp {where}: i/o timeout")


def _probe_result(answer: ProbeResult | bool | int | str, probe: Probe) -> ProbeResult:
    """What a hook answered: a result, a truth, an HTTP status or exit code, or a complaint."""
    if isinstance(answer, ProbeResult):
        return answer
    if isinstance(answer, bool):
        if answer:
            return WELL
        if probe.kind == "http":
            return ProbeResult(False, "HTTP probe failed with statuscode: 503")
        if probe.kind == "grpc":
            return ProbeResult(False, 'service unhealthy (responded with "NOT_SERVING")')
        return ProbeResult(False) if probe.kind == "exec" else refused(probe)
    if isinstance(answer, str):
        return ProbeResult(False, answer) if answer else WELL
    if probe.kind == "http":
        ok = 200 <= answer < 400
        return WELL if ok else ProbeResult(False, f"HTTP probe failed with statuscode: {answer}")
    return ProbeResult(answer == 0)


# -- what a test author writes ---------------------------------------------------------------


def _check_code(program: str, code: Any) -> None:
    if not isinstance(code, int) or not 0 <= code <= 255:
        raise UsageError(f"{program}: code={code!r}: give a whole number from 0 to 255")


def runs_forever() -> Program:
    """Runs until it is told to stop; the default of every image."""
    return Program()


def exits(code: int = 0, *, after: Duration = 0, log: str = "") -> Program:
    """Ends with `code` after a time."""
    _check_code("exits", code)
    return Exits(code=code, after_ns=to_ns(after, "after"), lines=tuple(log.splitlines()))


def crashes(
    code: int = 1, *, after: Duration = 0, times: int | None = None, log: str = ""
) -> Program:
    """Ends with `code` after a time, at every start or only at the first `times`."""
    _check_code("crashes", code)
    if times is not None and (not isinstance(times, int) or times < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"crashes: times={times!r}: give a whole number from 1 on; None: always")
    crash = exits(code, after=after, log=log)
    if times is None:
        return crash
    return Sequence(programs=(*[crash] * times, Program()))


def serves(port: int | None = None, *, ready_after: Duration = 0) -> Program:
    """Answers probes on `port` (None: on all) from `ready_after` its start on."""
    if port is not None and (not isinstance(port, int) or not 0 < port < 65_536):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"serves: port={port!r}: give a whole number from 1 to 65535")
    return Serves(port=port, ready_after_ns=to_ns(ready_after, "ready_after"))


def hangs_on_sigterm() -> Program:
    """Runs for ever and ignores SIGTERM: only SIGKILL ends it, with 137."""
    return Program(sigterm=None)


def stops_slowly(after: Duration, *, code: int = 0) -> Program:
    """Runs for ever; ends with `code` some time after SIGTERM."""
    return Program(sigterm=code, sigterm_after_ns=to_ns(after, "after"))


def oom(after: Duration = 0) -> Program:
    """Is killed for want of memory (137, `OOMKilled`) after a time."""
    return Exits(code=SIGKILL_CODE, after_ns=to_ns(after, "after"), oom=True)


def sequence(*programs: Program | Main) -> Program:
    """One program for each start of the container; the last one for all that follow."""
    if not programs:
        raise UsageError("sequence() without a program.", "Name one for the first start at least.")
    return Sequence(programs=tuple(as_program(program) for program in programs))


def calls(main: Main) -> Program:
    """A Python callable as a program: `main(container)` returns the exit code or None."""
    if not callable(main):
        raise UsageError(f"calls: {main!r} is no function; give one that takes the container")
    return Calls(main=main)


def as_program(value: Program | Main) -> Program:
    """A program as it is, or a callable made one.

    Raises `UsageError` for anything else.
    """
    if isinstance(value, Program):
        return value
    if callable(value):
        return Calls(main=value)
    raise UsageError(
        f"{value!r} is not a program.",
        "Give runs_forever(), exits(...), crashes(...), serves(...), sequence(...), oom(...) or a"
        " callable that takes the container.",
    )
