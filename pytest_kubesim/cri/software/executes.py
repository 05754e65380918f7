"""The program of a container whose image is simulated: it runs what the pod says, or the image.

The law: nothing is made before something runs.  Process 1 is the container: what it returns is the
container's exit code, what it writes is the log, the file at the termination message path is the
message.  Commands and probes run in the same container; an HTTP, TCP or gRPC probe goes over the
pods' network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import Handle, OpenDevice
from pytest_kubesim.cri.linux.handles import Output, ReadEnd, WriteEnd
from pytest_kubesim.cri.linux.mounts import Credentials, Mounts
from pytest_kubesim.cri.linux.process import System, decode, find_program
from pytest_kubesim.cri.linux.terminal import Terminal
from pytest_kubesim.cri.programs import Program
from pytest_kubesim.cri.services import CannotRun
from pytest_kubesim.cri.software import proc_files
from pytest_kubesim.cri.software.rootfs import SEARCHED, Software, build

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.sessions import ExecSession
    from pytest_kubesim.sim.tasks import Task

TERMINATION_LOG_LIMIT = 4096
_PATH = {"PATH": ":".join(SEARCHED)}


@attrs.frozen(slots=True, kw_only=True)
class Executes(Program):
    """Runs the software of an image."""

    software: Software

    @property
    def volatile(self) -> bool:
        """Its answer to probes may change at any time, unless it sleeps."""
        return True

    def restless(self, container: Container) -> bool:
        """A web server that was started without arguments changes only by commands in it."""
        return not self._sleeps(container)

    @property
    def live(self) -> bool:
        """It is asked over the network and by processes."""
        return True

    def sleeps(
        self, command: tuple[str, ...], places: tuple[str, ...] = (), *, changed: bool = False
    ) -> bool:
        """Whether it does nothing until somebody connects.

        Parameters: `places` where something is mounted; `changed`, whether it runs as somebody else
        or may not write.
        """
        own = self.software
        if not own.dormant or command or (changed and own.wakened_by):
            return False
        return not any(
            place == path.rstrip("/") or (path.endswith("/") and place.startswith(path))
            for place in places for path in own.wakened_by
        )

    def _sleeps(self, container: Container) -> bool:
        return not container.config.awake and self.sleeps(container.command)

    # -- what the runtime calls ---------------------------------------------------------------

    def prepare(self, container: Container) -> None:
        """Before the start.  Raises `CannotRun` where the command cannot be run."""
        if self._sleeps(container):
            return
        argv = self._argv(container)
        system = self._boot(container)
        try:
            if not argv:
                raise Fault("ENOENT")
            find_program(system, argv, self._env(container), self._cwd(container), _who(container))
        except Fault as fault:
            raise CannotRun(
                _exec_problem(argv, fault), argv[0] if argv else "", fault.name
            ) from None

    def begin(self, container: Container) -> None:
        """Start process 1, or sleep."""
        if self._sleeps(container):
            interface = container.interface()
            if interface is not None:
                interface.sleepers.append(
                    lambda: container.spawn_task(self.awaken(container), "wakes")
                )
            return
        self._start(container)

    async def awaken(self, container: Container) -> None:
        """Start what sleeps."""
        later = container.config.later
        if container.system is None and later is not None:
            env, mounts = await later()
            container.config = attrs.evolve(
                container.config, env=env, mounts=mounts, later=None
            )
        self._wake(container)

    def _wake(self, container: Container) -> System:
        system: System | None = container.system
        if system is None:
            system = self._boot(container)
            if container.state == "running":
                self._start(container)
        return system

    def _start(self, container: Container) -> None:
        system = container.system or self._boot(container)
        argv = self._argv(container)
        env, cwd, who = self._env(container), self._cwd(container), _who(container)
        try:
            main, argv = find_program(system, argv, env, cwd, who)
        except Fault as fault:
            container.log(f"exec {argv[0]}: {fault}", stream="stderr")
            container.exit(126)
            return
        if container.config.tty:
            terminal = Terminal(system, container.stdin, container.write)
            fds: dict[int, Handle] = dict.fromkeys((0, 1, 2), terminal)
            terminal.leader = system.start(main, argv, env=env, cwd=cwd, who=who, fds=fds)
            if container.stdin is not None:
                container.spawn_task(terminal.listen(), "terminal")
            return
        stdin: Handle = OpenDevice("null", system.random)
        if container.stdin is not None:
            stdin = ReadEnd(container.stdin)
        fds = {
            0: stdin,
            1: Output(container.write),
            2: Output(lambda data: container.write(data, stream="stderr")),
        }
        system.start(main, argv, env=env, cwd=cwd, who=who, fds=fds)

    def signal(self, container: Container, name: str) -> None:
        """Send process 1 a signal."""
        system: System | None = container.system
        if system is None:
            if self.software.sigterm is not None:
                container.exit(self.software.sigterm)
            return
        first = system.processes.get(1)
        if first is not None:
            first.signal(name.removeprefix("SIG"))

    def check_command(self, container: Container, command: tuple[str, ...]) -> None:
        """Before a command is run.  Raises `CannotRun` where there is no such command."""
        system = self._wake(container)
        try:
            find_program(
                system, command, self._env(container), self._cwd(container), _who(container)
            )
        except Fault as fault:
            raise CannotRun(
                _exec_problem(command, fault), command[0] if command else "", fault.name
            ) from None

    async def execute(
        self, container: Container, command: tuple[str, ...], session: ExecSession
    ) -> int:
        """Run a command beside process 1."""
        system = self._wake(container)
        env, cwd, who = self._env(container), self._cwd(container), _who(container)
        main, argv = find_program(system, command, env, cwd, who)
        terminal: Terminal | None = None
        if session.tty:
            env = {"TERM": "xterm", **env}
            terminal = Terminal(
                system, session.stdin, session.stdout.write, session.stdout.drain
            )
            fds: dict[int, Handle] = dict.fromkeys((0, 1, 2), terminal)
        else:
            stdin: Handle = OpenDevice("null", system.random)
            if session.stdin is not None:
                stdin = ReadEnd(session.stdin)
            fds = {0: stdin, 1: WriteEnd(session.stdout), 2: WriteEnd(session.stderr)}
        if 1 not in system.processes:
            # Process 1 has not come up yet: commands never take its number.
            await system.kernel.sleep(0)
        child = system.start(main, argv, env=env, cwd=cwd, who=who, fds=fds)
        if terminal is None:
            code = await child.exited
        else:
            terminal.leader = child
            listening = container.spawn_task(terminal.listen(), "terminal")
            try:
                code = await child.exited
            finally:
                listening.kill()
        if not self.restless(container):
            container.changed()
        return code

    def ended(self, container: Container) -> None:
        """The container has ended: take the message, stop what runs."""
        system: System | None = container.system
        if system is None:
            return
        path = container.config.termination_message_path
        try:
            data = system.mounts.lookup(path).read()
        except Fault:
            data = b""
        if data and not container.termination_message:
            container.termination_message = decode(data[-TERMINATION_LOG_LIMIT:])
        system.shut_down()

    # -- inside -------------------------------------------------------------------------------

    def _argv(self, container: Container) -> tuple[str, ...]:
        config = container.config
        if config.command:
            return config.command + config.args
        return self.software.entrypoint + (config.args or self.software.command)

    def _env(self, container: Container) -> Mapping[str, str]:
        base = {**_PATH, "HOSTNAME": container.hostname, **self.software.env}
        if container.config.tty:
            base["TERM"] = "xterm"
        env = {**base, **container.env}
        env.setdefault("HOME", "/root" if container.config.user[0] == 0 else "/")
        return env

    def _cwd(self, container: Container) -> str:
        return container.config.working_dir or self.software.working_dir

    def _boot(self, container: Container) -> System:
        config = container.config
        root = build(self.software, container.now_ns())
        mounts = Mounts(root, container.now_ns, read_only=config.read_only_root)
        system = System(
            container.kernel,
            mounts=mounts,
            programs=self.software.programs,
            spawn=_spawner(container),
            clock=container.now_ns,
            ended=container.exit,
            hostname=container.hostname,
            address=container.pod_ip,
            network=container.network,
            background=config.background,
            surroundings=container,
        )
        proc_files.mount(system, container)
        if config.working_dir:
            _make_folder(mounts, config.working_dir)
        message = files.FileSystem("ext4")
        log = files.put(message.root, "termination-log", files.regular(mode=0o666))
        mounts.mount(config.termination_message_path, message, root=log)
        for mounted in config.mounts:
            mounts.mount(
                mounted.path,
                mounted.filesystem,
                root=mounted.root,
                read_only=mounted.read_only,
            )
        container.system = system
        return system

    def __str__(self) -> str:
        return f"the programs of {self.software.name}"


def _make_folder(mounts: Mounts, path: str) -> None:
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        place = mounts.walk("/" + "/".join(parts[:count]), "/")
        if place.node is None:
            place.parent.entries[place.name] = files.directory()


def _spawner(container: Container) -> Any:
    def spawn(coro: Coroutine[Any, Any, Any], name: str) -> Task[Any]:
        return container.spawn_task(coro, name)

    return spawn


def _who(container: Container) -> Credentials:
    uid, gid, groups = container.config.user
    return Credentials(uid, gid, groups)


def _exec_problem(argv: tuple[str, ...], fault: Fault) -> str:
    name = argv[0] if argv else ""
    if fault.name == "ENOENT":
        where = "" if "/" in name else " in $PATH"
        if where:
            return f'exec: "{name}": executable file not found{where}'
        return f'exec: "{name}": stat {name}: no such file or directory'
    return f'exec: "{name}": {str(fault).lower()}'


