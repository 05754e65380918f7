"""Processes of a container: how they are started, what they hold, how they end.

State: running --return, signal--> ended.  A process is a task of the kernel; nothing of it runs
after its end.  Process 1 is the container: signals that it does not handle do nothing to it (as in
any PID namespace), and when it ends all others are killed.

A program is a coroutine function of its process; what it returns is its exit code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DEVICE, DIRECTORY, Handle, OpenDevice, OpenFile
from pytest_kubesim.cri.linux.handles import ReadEnd, WriteEnd
from pytest_kubesim.cri.linux.mounts import EXECUTE, READ, Credentials, Mounts, may
from pytest_kubesim.sim.pipes import Pipe
from pytest_kubesim.sim.tasks import Event, Future

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_kubesim.cri.linux.files import Node
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.pipes import Stream
    from pytest_kubesim.sim.tasks import Task

SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9,
    "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "CHLD": 17, "CONT": 18,
    "STOP": 19, "TSTP": 20, "WINCH": 28,
}
_HARMLESS = frozenset({"CHLD", "CONT", "WINCH", "STOP", "TSTP"})
FORK_NS = 1_000_000
"""What it takes to start a process: loops that start processes let time pass."""

MAGIC = b"\x7fELF\x00kubesim:"
"""How an executable begins that is one of the simulator's programs; its name follows."""

Main: TypeAlias = "Callable[[Proc], Awaitable[int]]"


class Exit(Exception):
    """Ends a process with a code from wherever it is."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Network(Protocol):
    """What programs need of the pods' network (`cni.network.PodNetwork`)."""

    async def connect(
        self,
        source: str,
        address: str,
        port: int,
        *,
        timeout_ns: int | None = None,
        certificate: bytes = b"",
    ) -> Stream:
        """Open a connection."""
        ...

    async def exchange(
        self, source: str, address: str, port: int, data: bytes, *, timeout_ns: int
    ) -> bytes:
        """Send a datagram and wait for the answer."""
        ...

    def listen(
        self,
        address: str,
        port: int,
        accept: Any,
        protocol: str = "TCP",
        certificate: bytes = b"",
    ) -> bool:
        """Listen on a port."""
        ...

    def close(self, address: str, port: int, protocol: str = "TCP") -> None:
        """Listen no more."""
        ...


class System:
    """The kernel of one container.

    Parameters: `kernel` of the simulation; `mounts`; `programs` by the name in their executables;
    `spawn(coroutine, name)`, which makes tasks; `clock`; `address` and `network` of the pod;
    `background`, whether what waits here is work that never ends; `ended(code)`, told when process
    1 has ended.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        mounts: Mounts,
        programs: Mapping[str, Main],
        spawn: Callable[[Coroutine[Any, Any, Any], str], Task[Any]],
        clock: Callable[[], int],
        ended: Callable[[int], object],
        hostname: str = "localhost",
        address: str = "127.0.0.1",
        network: Network | None = None,
        background: bool = False,
        surroundings: Any = None,
    ) -> None:
        self.kernel = kernel
        self.mounts = mounts
        self.programs = programs
        self.now_ns = clock
        self.hostname = hostname
        self.address = address
        self.network = network
        self.background = background
        self.surroundings = surroundings
        """The container, for programs that speak to it."""
        self.processes: dict[int, Proc] = {}
        self.ports: list[tuple[int, str]] = []
        self.locks: set[int] = set()
        """Files that are locked (flock)."""
        self._spawn = spawn
        self._ended = ended
        self._last_pid = 0
        self._drawn = 0
        self._threads: dict[Task[Any], None] = {}

    def start(
        self,
        main: Main,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: str = "/",
        who: Credentials,
        fds: Mapping[int, Handle],
        parent: Proc | None = None,
        umask: int = 0o022,
    ) -> Proc:
        """Start a process; it runs from the next turn on."""
        self._last_pid += 1
        proc = Proc(self, self._last_pid, argv, dict(env), cwd, who, parent, umask)
        for number, handle in fds.items():
            proc.put(number, handle)
        self.processes[proc.pid] = proc
        proc.task = self._spawn(self._run(proc, main), f"{proc.pid} {argv[0] if argv else ''}")
        return proc

    async def _run(self, proc: Proc, main: Main) -> None:
        if proc.parent is not None:
            await self.sleep(FORK_NS)
        self.finish(proc, await outcome(proc, main))

    def finish(self, proc: Proc, code: int) -> None:
        """A process has ended."""
        if proc.pid not in self.processes:
            return
        del self.processes[proc.pid]
        if proc.task is not None and proc.task is not self.kernel.current_task:
            proc.task.kill()
        for number in list(proc.fds):
            proc.close(number)
        proc.exited.set_result(code)
        if proc.parent is not None and proc.parent.pid in self.processes:
            proc.parent.signal("CHLD")
        if proc.pid == 1:
            self._ended(code)

    def shut_down(self) -> None:
        """Kill everything; nothing of it runs any more."""
        current = self.kernel.current_task
        for proc in list(self.processes.values()):
            if proc.task is not None and proc.task is not current:
                proc.task.kill()
            self.processes.pop(proc.pid, None)
            for number in list(proc.fds):
                proc.close(number)
            if not proc.exited.done():
                proc.exited.set_result(137)
        for task in list(self._threads):
            if task is not current:
                task.kill()
        self._threads.clear()
        if self.network is not None:
            for port, protocol in self.ports:
                self.network.close(self.address, port, protocol)
        self.ports = []

    def listen(
        self, port: int, accept: Any, protocol: str = "TCP", certificate: bytes = b""
    ) -> None:
        """Listen on a port of the pod as long as the container runs.  Raises `Fault`."""
        assert self.network is not None
        if not self.network.listen(self.address, port, accept, protocol, certificate):
            raise Fault("EADDRINUSE")
        self.ports.append((port, protocol))

    def unlisten(self, port: int, protocol: str = "TCP") -> None:
        """Listen there no more."""
        if (port, protocol) in self.ports and self.network is not None:
            self.ports.remove((port, protocol))
            self.network.close(self.address, port, protocol)

    def serve(
        self,
        port: int,
        answer: Callable[[Stream], Coroutine[Any, Any, Any]],
        certificate: bytes = b"",
    ) -> None:
        """Listen, and have each connection answered by a thread of its own.  Raises `Fault`."""

        def accept(stream: Stream) -> None:
            self.thread(answer(stream), f"port {port}")

        self.listen(port, accept, certificate=certificate)

    def thread(self, coro: Coroutine[Any, Any, Any], name: str) -> None:
        """Run beside the processes, as long as the container."""
        task = self._spawn(coro, name)
        self._threads[task] = None
        task.add_done_callback(self._thread_ended)

    def _thread_ended(self, task: Any) -> None:
        self._threads.pop(task, None)

    async def sleep(self, duration_ns: int) -> None:
        """Let time pass."""
        await self.kernel.sleep(duration_ns, periodic=self.background)

    def random(self, size: int) -> bytes:
        """Random bytes, the same in equal runs."""
        self._drawn += 1
        return self.kernel.rng.bytes(size, "urandom", self.hostname, self.address, self._drawn)


async def outcome(proc: Proc, main: Main) -> int:
    """Run a program in a process to its end; its exit code."""
    try:
        return await main(proc) & 0xFF
    except Exit as end:
        return end.code & 0xFF
    except Fault as fault:
        if fault.name == "EPIPE":
            return 128 + SIGNALS["PIPE"]
        try:
            await proc.err(f"{proc.name}: {fault}\n")
        except Fault:
            pass
        return 1


class Proc:
    """A process: its arguments, variables, directory, descriptors, and what it does with signals.

    `traps` maps a signal's name to what handles it, or to None where it is ignored.
    """

    def __init__(
        self,
        system: System,
        pid: int,
        argv: tuple[str, ...],
        env: dict[str, str],
        cwd: str,
        who: Credentials,
        parent: Proc | None,
        umask: int,
    ) -> None:
        self.system = system
        self.pid = pid
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.who = who
        self.parent = parent
        self.umask = umask
        self.fds: dict[int, Handle] = {}
        self.traps: dict[str, Callable[[], object] | None] = {}
        self.exited: Future[int] = Future(system.kernel)
        self.interrupted = Event(system.kernel)
        """Set when a signal was handled."""
        self.task: Task[Any] | None = None

    @property
    def name(self) -> str:
        """The program's name, as it complains."""
        return self.argv[0].rsplit("/", 1)[-1] if self.argv else ""

    # -- signals ------------------------------------------------------------------------------

    def signal(self, name: str) -> None:
        """A signal arrives (`TERM`, `KILL`, ...)."""
        if name == "KILL":
            self._die(137)
        elif name in self.traps:
            handler = self.traps[name]
            if handler is not None:
                handler()
                self.interrupted.set()
        elif name not in _HARMLESS and self.pid != 1:
            self._die(128 + SIGNALS[name])

    def _die(self, code: int) -> None:
        if self.task is not None and self.task is self.system.kernel.current_task:
            raise Exit(code)
        if self.task is not None:
            self.task.kill()
        self.system.finish(self, code)

    async def pause(self, *futures: Future[Any], timeout_ns: int | None = None) -> bool:
        """Wait for any of `futures`, a handled signal, or time; False when time was up."""
        self.interrupted.clear()
        return await self.system.kernel.wait_any(
            *futures,
            self.interrupted.future(),
            timeout_ns=timeout_ns,
            periodic=self.system.background,
        )

    # -- descriptors --------------------------------------------------------------------------

    def put(self, number: int, handle: Handle) -> None:
        """Have a descriptor refer to something."""
        handle.references += 1
        self.close(number)
        self.fds[number] = handle

    def close(self, number: int) -> None:
        """Close a descriptor; nothing if it is not open."""
        handle = self.fds.pop(number, None)
        if handle is not None:
            handle.references -= 1
            if handle.references == 0:
                handle.release()

    def handle(self, number: int) -> Handle:
        """What a descriptor refers to.  Raises `Fault` (EBADF)."""
        found = self.fds.get(number)
        if found is None:
            raise Fault("EBADF")
        return found

    def pipe(self) -> tuple[ReadEnd, WriteEnd]:
        """The two ends of a new pipe."""
        pipe = Pipe(self.system.kernel)
        return ReadEnd(pipe), WriteEnd(pipe)

    def open(self, path: str, flags: str = "r", *, mode: int = 0o666) -> Handle:
        """Open a file, a device or one's own descriptor.  Raises `Fault`."""
        number = _descriptor(path)
        if number is not None:
            return self.handle(number)
        if path.startswith("/proc/1/fd/") and 1 in self.system.processes:
            return self.system.processes[1].handle(int(path.rsplit("/", 1)[-1]))
        system = self.system
        node = system.mounts.open(
            path, self.cwd, self.who, flags, mode=mode & ~self.umask
        )
        if node.kind == DEVICE:
            return OpenDevice(node.target, system.random)
        return OpenFile(
            node,
            system.now_ns,
            readable=flags[0] == "r" or "+" in flags,
            writable=flags[0] != "r" or "+" in flags,
            append=flags[0] == "a",
            filesystem=system.mounts.limited(path, self.cwd, self.who) if flags != "r" else None,
        )

    async def read(self, size: int = 65_536, number: int = 0) -> bytes:
        """Read from a descriptor."""
        return await self.handle(number).read(size)

    async def read_all(self, number: int = 0) -> bytes:
        """All that comes from a descriptor."""
        pieces: list[bytes] = []
        handle = self.handle(number)
        while piece := await handle.read(65_536):
            pieces.append(piece)
        return b"".join(pieces)

    async def out(self, text: str | bytes) -> None:
        """Write to standard output."""
        await self.handle(1).write(encode(text))

    async def err(self, text: str | bytes) -> None:
        """Write to standard error."""
        await self.handle(2).write(encode(text))

    async def complain(self, problem: str) -> int:
        """Say what is wrong, as busybox's programs do; the exit code 1."""
        await self.err(f"{self.name}: {problem}\n")
        return 1

    # -- files --------------------------------------------------------------------------------

    def node(self, path: str, *, follow: bool = True) -> Node:
        """The file at a path.  Raises `Fault`."""
        return self.system.mounts.lookup(path, self.cwd, self.who, follow=follow)

    def exists(self, path: str, *, follow: bool = True) -> bool:
        """Whether there is a file at a path."""
        try:
            self.node(path, follow=follow)
        except Fault:
            return False
        return True

    async def contents(self, path: str) -> bytes:
        """All that is in a file; `-` is standard input.  Raises `Fault`."""
        if path == "-":
            return await self.read_all()
        handle = self.open(path)
        if isinstance(handle, OpenFile):
            if handle.node.kind == DIRECTORY:
                raise Fault("EISDIR")
            return handle.node.read()
        if isinstance(handle, OpenDevice):
            return b""
        return await self.read_all(_descriptor(path) or 0)

    def save(self, path: str, data: bytes, *, append: bool = False) -> None:
        """Make a file of `data`, or append it.  Raises `Fault`."""
        mounts = self.system.mounts
        node = mounts.open(
            path, self.cwd, self.who, "a" if append else "w", mode=0o666 & ~self.umask
        )
        if isinstance(node.content, bytearray) and node.kind == files.FILE:
            node.content += data
            node.mtime_ns = self.system.now_ns()

    # -- children -----------------------------------------------------------------------------

    def fork(self, main: Main, argv: tuple[str, ...] | None = None, **changes: Any) -> Proc:
        """A child that runs `main` with the same surroundings, or `env`, `cwd`, `fds` given."""
        return self.system.start(
            main,
            self.argv if argv is None else argv,
            env=changes.get("env", self.env),
            cwd=changes.get("cwd", self.cwd),
            who=changes.get("who", self.who),
            fds=changes.get("fds", self.fds),
            parent=self,
            umask=self.umask,
        )

    def program(self, argv: tuple[str, ...]) -> tuple[Main, tuple[str, ...]]:
        """What an `execve` of these arguments would run, and the arguments it would get.

        Raises: `Fault`: ENOENT where there is no such command, EACCES, ENOEXEC.
        """
        return find_program(self.system, argv, self.env, self.cwd, self.who)


def find_program(
    system: System,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    cwd: str,
    who: Credentials,
    depth: int = 0,
) -> tuple[Main, tuple[str, ...]]:
    """See `Proc.program`."""
    path = which(system.mounts, argv[0], env, cwd, who)
    node = system.mounts.lookup(path, cwd, who)
    if node.kind == DIRECTORY or not may(node, who, EXECUTE):
        raise Fault("EACCES")
    content = node.read()
    if content.startswith(MAGIC):
        name = content[len(MAGIC) :].decode()
        program = system.programs.get(name)
        if program is None:
            raise Fault("ENOEXEC")
        return program, argv
    if content.startswith(b"#!") and depth < 4:
        line = content[2:].split(b"\n", 1)[0].decode(errors="replace").strip()
        interpreter, _, argument = line.partition(" ")
        words = (interpreter, argument.strip()) if argument.strip() else (interpreter,)
        return find_program(system, (*words, path, *argv[1:]), env, cwd, who, depth + 1)
    if not may(node, who, READ):
        raise Fault("EACCES")
    raise Fault("ENOEXEC")


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def which(
    mounts: Mounts, name: str, env: Mapping[str, str], cwd: str, who: Credentials
) -> str:
    """The path of a command, by PATH where it has no slash.  Raises `Fault` (ENOENT, EACCES)."""
    if "/" in name:
        mounts.lookup(name, cwd, who)
        return name
    problem = "ENOENT"
    for folder in (env.get("PATH") or DEFAULT_PATH).split(":"):
        path = f"{folder or '.'}/{name}"
        try:
            node = mounts.lookup(path, cwd, who)
        except Fault:
            continue
        if node.kind != DIRECTORY and may(node, who, EXECUTE):
            return path
        problem = "EACCES"
    raise Fault(problem)


def encode(text: str | bytes) -> bytes:
    """Bytes of a text; what was read as undecodable bytes becomes them again."""
    return text if isinstance(text, bytes) else text.encode(errors="surrogateescape")


def decode(data: bytes) -> str:
    """A text of bytes, whatever they are."""
    return data.decode(errors="surrogateescape")


def _descriptor(path: str) -> int | None:
    standard = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}.get(path)
    if standard is not None:
        return standard
    for prefix in ("/dev/fd/", "/proc/self/fd/"):
        if path.startswith(prefix) and path[len(prefix) :].isdigit():
            return int(path[len(prefix) :])
    return None
