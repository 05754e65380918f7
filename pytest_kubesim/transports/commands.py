"""Command lines as operators: processes of this machine.

Law: a command is never left behind: it ends with its process in the simulation, with the test, and
with this Python; whatever it has started in its session ends with it.  What it writes is its log.
"""

from __future__ import annotations

import atexit
import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from pytest_kubesim.cluster.operators import CommandEnded, Operator
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.transports.actors import WORLD
from pytest_kubesim.transports.command_doors import HOST, Door
from pytest_kubesim.transports.outside import Outside
from pytest_kubesim.transports.threads import real_sleep

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.process import Process

Main = Callable[["Process"], Coroutine[Any, Any, object]]

TERM_S = 10.0
"""Real seconds from SIGTERM to SIGKILL."""
CLOSE_S = 2.0
"""The same at the end of a test."""
LAST_LINES = 20
READ_BYTES = 64 * 1024

_left: dict[int, subprocess.Popen[bytes]] = {}
"""Those that run, by process id."""


class Command:
    """One incarnation of an operator that is a command.  Raises: `OSError`."""

    def __init__(self, outside: Outside, operator: Operator, argv: list[str], door: Door) -> None:
        self.operator = operator
        self.options = operator.command
        self.over: Future[int] = Future(outside.kernel)
        """Its exit status, once it has ended."""
        self.booting = True
        """Whether it has not yet connected to the API server."""
        self.leaving = self.paused = False
        self._outside = outside
        self._popen = subprocess.Popen(  # noqa: S603 - it is what the test's author wants to run
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.options.cwd,
            env=environment(operator, door),
            start_new_session=True,
        )
        self.pid = self._popen.pid
        _left[self.pid] = self._popen
        self._lines = {"STDOUT": b"", "STDERR": b""}
        self._pipes: dict[str, IO[bytes]] = {}
        for name, pipe in (("STDOUT", self._popen.stdout), ("STDERR", self._popen.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._pipes[name] = pipe
            outside.hub.selector.register(
                pipe, selectors.EVENT_READ, lambda name=name: self._read(name)
            )
        outside.add(self)

    # -- signals ------------------------------------------------------------------------------

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def pause(self, paused: bool) -> None:
        """Freeze it, or let it go on."""
        if paused != self.paused:
            self.paused = paused
            self._signal(signal.SIGSTOP if paused else signal.SIGCONT)
            self._outside.look_again()

    def leave(self) -> None:
        """Tell it to end; it is killed where it does not within `TERM_S`."""
        if self.leaving:
            return
        self.leaving = True
        self._signal(signal.SIGTERM)
        self.pause(paused=False)
        self._outside.look_again()
        self._outside.timers.call_later(TERM_S, lambda: self._signal(signal.SIGKILL))

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self._popen.wait()
        self.ended()

    def reap(self) -> None:
        """Wait `CLOSE_S` for its end, then bring it about."""
        waited_s = 0.0
        while self._popen.poll() is None and waited_s < CLOSE_S:
            real_sleep(0.002)
            waited_s += 0.002
        self.kill()

    # -- its end ------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    def ended(self) -> None:
        """It has ended, and so does what it has started."""
        if self.over.done():
            return
        for name in list(self._pipes):
            self._read(name)
            self._close(name)
        self._signal(signal.SIGKILL)
        _left.pop(self.pid, None)
        self._outside.remove(self)
        self.over.set_result(self._popen.returncode)

    # -- what it says -------------------------------------------------------------------------

    def _read(self, name: str) -> None:
        pipe = self._pipes.get(name)
        while pipe is not None:
            try:
                data = os.read(pipe.fileno(), READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(name)
                return
            *lines, self._lines[name] = (self._lines[name] + data).split(b"\n")
            for line in lines:
                self._say(name, line)

    def _close(self, name: str) -> None:
        pipe = self._pipes.pop(name, None)
        if pipe is None:
            return
        with suppress(KeyError, ValueError, RuntimeError):
            self._outside.hub.selector.unregister(pipe)
        pipe.close()
        rest, self._lines[name] = self._lines[name], b""
        if rest:
            self._say(name, rest)

    def _say(self, name: str, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self.operator.record(text, name)


def environment(operator: Operator, door: Door) -> dict[str, str]:
    """What a command finds in its environment."""
    folder = door.files()
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    no_proxy = f"{no_proxy},{HOST}" if no_proxy else HOST
    ours = {
        "KUBECONFIG": str(folder / "kubeconfig"),
        "KUBERNETES_SERVICE_HOST": HOST,
        "KUBERNETES_SERVICE_PORT": str(door.port),
        "KUBESIM_SERVICE_ACCOUNT": str(folder),
        "HOSTNAME": operator.name,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **ours, **operator.command.env}


def main_of(target: Any, operator: Operator, outside: Callable[[Cluster], Outside]) -> Main:
    """How to run a command line.  Raises: `UsageError` where there is no such program."""
    argv = [str(word) for word in cast("list[object]", target)]
    _check(argv[0], operator)

    async def main(process: Process) -> object:
        place = outside(operator.cluster)
        command = _started(place, operator, argv)
        process.on_change.append(changed := _follower(process, command))
        operator.await_end = lambda: None if command.over.done() else WORLD.block(
            command.over, None
        )
        status = await command.over
        process.on_change.remove(changed)
        if status:
            lines = [line.text for line in operator.log[-LAST_LINES:]]
            raise CommandEnded(how_it_ended(status), lines)
        return None

    return main


def _started(outside: Outside, operator: Operator, argv: list[str]) -> Command:
    for before in [c for c in outside.commands if c.operator is operator]:
        before.kill()  # it was told to end, and another one begins
    door = outside.doors.get(operator.name)
    if door is None:
        door = outside.doors[operator.name] = Door(outside, operator)
    return Command(outside, operator, argv, door)


def _follower(process: Process, command: Command) -> Callable[[Process], None]:
    """What is done to the process of the simulation is done to the command."""

    def changed(_process: Process) -> None:
        if process.alive:
            command.pause(process.paused)
            return
        process.on_change.remove(changed)
        if command.over.done():
            return
        if process.state == "stopped":
            command.leave()
        else:
            command.kill()

    return changed


def how_it_ended(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def _check(program: str, operator: Operator) -> None:
    options = operator.command
    if os.sep in program:
        found = shutil.which(str(Path(options.cwd or ".", program)))
    else:
        found = shutil.which(program, path=options.env.get("PATH"))
    if found is None:
        raise UsageError(
            f"run: there is no program {program!r} that could be run; give its path, or build it "
            "before"
        )


@atexit.register
def _end_all() -> None:
    for pid, popen in list(_left.items()):
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        popen.wait()
