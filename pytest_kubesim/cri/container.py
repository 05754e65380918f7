"""A container: its record for the kubelet, and its world for the program in it.

State machine: created --start--> running --exit or kill--> exited.  Nothing leads back; a restart
is another container with the next attempt.  Whatever the program scheduled ends with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.cri.cgroups import Settings, usage
from pytest_kubesim.cri.programs import Probe, ProbeResult, Program, as_program
from pytest_kubesim.cri.sessions import AttachSession, ExecSession
from pytest_kubesim.sim.durations import Duration, to_ns
from pytest_kubesim.sim.kernel import Sleep, to_datetime
from pytest_kubesim.sim.pipes import Pipe
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.files import FileSystem, Node
    from pytest_kubesim.cri.programs import Main, Program
    from pytest_kubesim.cri.services import PodSandbox
    from pytest_kubesim.sim.kernel import Timer
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.sim.tasks import Future, Task

CREATED, RUNNING, EXITED = "created", "running", "exited"

MAX_LOG_LINES = 10_000
LINE_HEAD = len("2026-01-01T00:00:00.000000000Z stdout F \n")
KILLED = 137
_MEMORY_SECONDS = 1


@attrs.frozen(slots=True)
class Mounted:
    """What a container sees at a path: a tree of files, or a file."""

    path: str
    filesystem: FileSystem
    root: Node
    read_only: bool = False


@attrs.frozen(slots=True)
class ContainerConfig:
    """What a container is made from."""

    name: str
    attempt: int
    image: str
    image_ref: str = ""
    image_name: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict[str, str])
    working_dir: str = ""
    memory_limit: int | None = None
    termination_message_policy: str = "File"
    spec_hash: str = ""
    user: tuple[int, int, tuple[int, ...]] = (0, 0, (0,))
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    mounts: tuple[Mounted, ...] = ()
    termination_message_path: str = "/dev/termination-log"
    read_only_root: bool = False
    no_new_privs: bool = False
    privileged: bool = False
    awake: bool = False
    """Whether its program starts at once, where others like it sleep until they are needed."""
    background: bool = False
    """Whether what it waits for is work that never ends."""
    resources: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """Requests and limits that it has now, whatever its pod may ask for."""
    pod_resources: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """Those of its pod as a whole, whose limits hold where it has none of its own."""
    cgroup: Callable[[Container], Settings] | None = None
    """Gives the settings of its cgroup, as they are when it is asked."""
    program: Program | None = None
    """What it runs, where that is not a matter of its image."""
    later: Callable[[], Awaitable[tuple[dict[str, str], tuple[Mounted, ...]]]] | None = None
    """Gives variables and mounts when they are first needed, where they are not given here."""


@attrs.frozen(slots=True)
class LogLine:
    """A line that a container wrote."""

    time_ns: int
    stream: str
    text: str
    partial: bool = False
    """Whether it was written without the end of the line."""


Override = Callable[[Probe], "ProbeResult | None"]


class Container:
    """One run of a program in a pod.  Programs use what is documented as theirs."""

    __slots__ = (
        "_attached",
        "_commands",
        "_host",
        "_on_change",
        "_partial",
        "_sigterm",
        "_task",
        "_timers",
        "config",
        "created_ns",
        "exit_code",
        "exited",
        "finished_ns",
        "id",
        "kernel",
        "lines_written",
        "log_bytes",
        "logs",
        "message",
        "name",
        "probe_override",
        "program",
        "readers",
        "reason",
        "sandbox",
        "signal_handler",
        "size",
        "started_ns",
        "state",
        "stdin",
        "system",
        "termination_message",
        "used_cpu_milli",
        "used_memory",
    )

    def __init__(
        self,
        id_: str,
        config: ContainerConfig,
        sandbox: PodSandbox,
        program: Program,
        host: Process,
        on_change: Callable[[str, Container], object],
    ) -> None:
        self.id = id_
        self.name = config.name
        self.config = config
        self.sandbox = sandbox
        self.program = program
        self.state = CREATED
        self.created_ns = host.now_ns()
        self.started_ns: int | None = None
        self.finished_ns: int | None = None
        self.exit_code: int | None = None
        self.reason = ""
        self.message = ""
        self.termination_message = ""
        """What the program leaves at its termination message path."""
        self.used_cpu_milli = self.used_memory = 0
        """What its processes use beyond what it takes to run: thousandths of a core, bytes."""
        self.logs: list[LogLine] = []
        """What it wrote, the last ten thousand lines of it."""
        self.lines_written = 0
        self.log_bytes = 0
        """What its log weighs on the disk, each line with its time and stream."""
        self.readers: list[Callable[[], object]] = []
        """Called when it has written something."""
        self.signal_handler: Callable[[], object] | None = None
        """What a program set to hear of SIGTERM instead of dying of it."""
        self.probe_override: Override | None = None
        self.exited: Event = Event(host.kernel)
        self.kernel = host.kernel
        self.stdin: Pipe | None = Pipe(host.kernel) if config.stdin else None
        """What attached clients type."""
        self.size = (0, 0)
        """Columns and rows of its terminal."""
        self.system: Any = None
        """The kernel of a container that runs the software of its image (`linux.process`)."""
        self._attached: list[AttachSession] = []
        self._commands: dict[Task[Any], ExecSession] = {}
        self._partial: dict[str, bytes] = {}
        self._host = host
        self._on_change = on_change
        self._timers: list[Timer] = []
        self._task: Task[Any] | None = None
        self._sigterm: Event | None = None

    # -- for programs -------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time on the node's clock."""
        return to_datetime(self.now_ns())

    def now_ns(self) -> int:
        """The time on the node's clock, in nanoseconds."""
        return self._host.now_ns()

    def sleep(self, duration: Duration, *, periodic: bool = False) -> Sleep:
        """`await` it to let time pass; `periodic` for loops that never end."""
        return self._host.kernel.sleep(to_ns(duration), periodic=periodic)

    def log(self, text: object, *, stream: str = "stdout") -> None:
        """Write lines to the container's log."""
        if self._attached:
            self._tell(stream, f"{text}\n".encode())
        self._append(str(text).split("\n"), stream)

    def write(self, data: bytes, *, stream: str = "stdout") -> None:
        """Write bytes; the log shows them when their line has ended."""
        self._tell(stream, data)
        *lines, rest = (self._partial.pop(stream, b"") + data).split(b"\n")
        if rest:
            self._partial[stream] = rest
        if lines:
            self._append([line.decode(errors="replace") for line in lines], stream)

    def _flush(self) -> None:
        for stream in sorted(self._partial):
            text = self._partial[stream].decode(errors="replace")
            self.logs.append(LogLine(self.now_ns(), stream, text, partial=True))
            self.lines_written += 1
        self._partial.clear()

    def _tell(self, stream: str, data: bytes) -> None:
        for session in self._attached:
            session.hear(stream, data)

    def _append(self, lines: list[str], stream: str) -> None:
        now_ns = self.now_ns()
        self.logs += [LogLine(now_ns, stream, line) for line in lines]
        self.lines_written += len(lines)
        self.log_bytes += sum(map(len, lines)) + LINE_HEAD * len(lines)
        if len(self.logs) > MAX_LOG_LINES:
            del self.logs[: len(self.logs) - MAX_LOG_LINES]
        for reader in self.readers:
            reader()

    @property
    def env(self) -> Mapping[str, str]:
        """Its environment variables."""
        return self.config.env

    @property
    def image(self) -> str:
        """The image, as the pod names it."""
        return self.config.image

    @property
    def command(self) -> tuple[str, ...]:
        """Command and arguments, as the pod gives them."""
        return self.config.command + self.config.args

    @property
    def restart_count(self) -> int:
        """How many times it was started before."""
        return self.config.attempt

    @property
    def pod_name(self) -> str:
        """The name of its pod."""
        return self.sandbox.config.name

    @property
    def namespace(self) -> str:
        """The namespace of its pod."""
        return self.sandbox.config.namespace

    @property
    def pod_uid(self) -> str:
        """The UID of its pod."""
        return self.sandbox.config.uid

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its pod when it was started."""
        return self.sandbox.config.labels

    @property
    def node(self) -> str:
        """The node it runs on."""
        return self._host.host

    @property
    def pod_ip(self) -> str:
        """The address of its pod."""
        return self.sandbox.ip

    @property
    def hostname(self) -> str:
        """The host name of its pod."""
        return self.sandbox.config.hostname or self.pod_name

    @property
    def network(self) -> Any:
        """The pods' network."""
        return self.sandbox.network

    def interface(self) -> Any:
        """The address of its pod in the network."""
        return self.network.interface(self.pod_ip) if self.network is not None else None

    def cgroup(self) -> Settings:
        """The settings of its cgroup now."""
        give = self.config.cgroup
        return Settings() if give is None else give(self)

    def sigterm(self) -> Future[None]:
        """`await` it to wait for SIGTERM, which then no longer kills: the program has to end."""
        if self._sigterm is None:
            self._sigterm = Event(self._host.kernel)
            self.signal_handler = self._sigterm.set
        return self._sigterm.future()

    def use(self, *, cpu_milli: int = 0, memory: int = 0) -> None:
        """Its processes use so much more from now on (less, where it is negative).

        More memory than it may use ends it.
        """
        self.used_cpu_milli += cpu_milli
        self.used_memory += memory
        limit = self.config.memory_limit
        if memory > 0 and limit is not None and usage([self])["memory"] > limit:
            self.exit(KILLED, "OOMKilled")

    def changed(self) -> None:
        """Say that the answer to probes may be another one now."""
        if self.state == RUNNING:
            self._on_change("probes", self)

    # -- for Program records ------------------------------------------------------------------

    def call_later(self, delay_ns: int, fn: Callable[..., object], *args: Any) -> None:
        """A timer that ends with the container."""
        self._timers.append(self._host.call_later(
            delay_ns, fn, *args, label=f"container {self.namespace}/{self.pod_name}/{self.name}"
        ))

    def spawn(self, coro: Coroutine[Any, Any, object]) -> None:
        """The task of its program; ends with the container."""
        self._task = self._host.spawn(
            coro, name=f"{self.namespace}/{self.pod_name}/{self.name}", daemon=True
        )

    def spawn_task(self, coro: Coroutine[Any, Any, Any], name: str) -> Task[Any]:
        """A task of its programs; whoever asks for it ends it."""
        return self._host.spawn(
            coro, name=f"{self.namespace}/{self.pod_name}/{self.name}: {name}", daemon=True
        )

    def exit(self, code: int, reason: str = "") -> None:
        """The program has ended with `code`; nothing if it has ended already."""
        if self.state != RUNNING:
            return
        self.state = EXITED
        self.finished_ns = self.now_ns()
        self.exit_code = code
        self.program.ended(self)
        self._flush()
        self.reason = reason or ("Completed" if code == 0 else "Error")
        self.message = self._last_words(code)
        self._leave()
        self.exited.set()
        self._on_change("stopped", self)

    # -- for the runtime ----------------------------------------------------------------------

    def attach(self) -> AttachSession:
        """Join a client to its first process."""
        session = AttachSession(self)
        if self.state == RUNNING:
            self._attached.append(session)
        else:
            session.ended(self.exit_code or 0)
        return session

    def detach(self, session: AttachSession) -> None:
        """A client leaves; one who alone could type takes the input along (`stdinOnce`)."""
        if session in self._attached:
            self._attached.remove(session)
            if self.config.stdin_once and self.stdin is not None:
                self.stdin.close()

    def resize(self, width: int, height: int) -> None:
        """Its terminal has another size."""
        self.size = (width, height)

    def execute(self, command: tuple[str, ...], session: ExecSession) -> None:
        """Run a command beside its first process; it ends with the container at the latest."""

        async def main() -> None:
            code = 1
            try:
                code = await self.program.execute(self, command, session)
            finally:
                self._commands.pop(task, None)
                session.ended(code)

        name = f"{self.namespace}/{self.pod_name}/{self.name}: {' '.join(command)[:40]}"
        task = self._host.spawn(main(), name=name, daemon=True)
        self._commands[task] = session

    def interrupt(self, session: ExecSession) -> None:
        """Kill the command of a session."""
        for task, own in list(self._commands.items()):
            if own is session:
                self._commands.pop(task)
                task.kill()
                session.ended(KILLED)

    def begin(self) -> None:
        """Start the program."""
        self.state = RUNNING
        self.started_ns = self.now_ns()
        for line in self.program.lines:
            self.log(line)
        self._on_change("started", self)
        self.program.begin(self)
        if self.config.memory_limit is not None and self.program.memory is not None:
            self._watch_memory()

    def _watch_memory(self) -> None:
        """End it when its program uses more memory than it may."""

        async def watch() -> None:
            while self.state == RUNNING:
                await self.sleep(_MEMORY_SECONDS, periodic=True)
                limit = self.config.memory_limit
                if limit is not None and usage([self])["memory"] > limit:
                    self.exit(KILLED, "OOMKilled")
                if not callable(self.program.memory):
                    return

        self.spawn_task(watch(), "memory")

    def signal(self, name: str) -> None:
        """Send it a signal."""
        if self.state != RUNNING:
            return
        if name == "SIGKILL":
            self.exit(137)
        else:
            self.program.signal(self, name)

    def lose(self) -> None:
        """Its host has gone down under it: it runs no more, and nobody has seen it end."""
        self._timers.clear()
        self._task = None
        for session in (*self._attached, *self._commands.values()):
            session.stdout.reset()
            session.stderr.reset()
        self._attached.clear()
        self._commands.clear()

    def bury(self, code: int, reason: str) -> None:
        """The host is up again, and finds that it does not run: that is how it ended."""
        self.state = EXITED
        self.finished_ns = self.now_ns()
        self.exit_code, self.reason = code, reason
        self.exited.set()

    def run_instead(self, program: Program | Main) -> None:
        """Replace what runs in it, from now on (a fault: it hangs, it fails its probes)."""
        self.program = as_program(program)
        self.changed()

    def _leave(self) -> None:
        self._flush()
        attached, self._attached = self._attached, []
        for session in attached:
            session.ended(self.exit_code or 0)
        commands, self._commands = self._commands, {}
        for command, session in commands.items():
            session.ended(KILLED)
            if command is not self._host.kernel.current_task:
                command.kill()
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()
        task, self._task = self._task, None
        if task is not None and task is not self._host.kernel.current_task:
            task.kill()

    def _last_words(self, code: int) -> str:
        if self.termination_message:
            return self.termination_message[-4096:]
        if self.config.termination_message_policy == "FallbackToLogsOnError" and code != 0:
            tail = [line.text + ("" if line.partial else "\n") for line in self.logs[-80:]]
            return "".join(tail)[-2048:]
        return ""

    def __repr__(self) -> str:
        return f"<container {self.namespace}/{self.pod_name}/{self.name} {self.state}>"
