"""What joins a client to a process in a container: its input, its output, its terminal, its end.

The law: a session outlives neither the process nor the container, and the process outlives the
session: a client that leaves closes the input and reads no more, and that is all the process hears.

Follows `k8s.io/cri-api/pkg/apis/runtime/v1` (`Exec`, `Attach`) and containerd's
`internal/cri/server/{container_execsync,container_attach}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_kubesim.sim.pipes import Broken, Pipe, Reset
from pytest_kubesim.sim.tasks import Future

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.sim.kernel import Kernel


class ExecSession:
    """A command that runs in a container.

    `stdin` is what it reads; `stdout` and `stderr` what it writes, all of it on `stdout` when it
    has a terminal (`tty`); `exit_code` is there when it has ended.
    """

    def __init__(self, kernel: Kernel, *, tty: bool = False) -> None:
        self.tty = tty
        self.stdin: Pipe | None = Pipe(kernel)
        self.stdout = Pipe(kernel)
        self.stderr = Pipe(kernel)
        self.exit_code: Future[int] = Future(kernel)
        self.size = (0, 0)
        """Columns and rows of the terminal."""
        self.on_resize: Callable[[], object] | None = None
        """Called when the terminal has another size."""

    def resize(self, width: int, height: int) -> None:
        """The client's terminal has another size."""
        self.size = (width, height)
        if self.on_resize is not None:
            self.on_resize()

    def detach(self) -> None:
        """The client leaves."""
        if self.stdin is not None:
            self.stdin.close()
        self.stdout.break_off()
        self.stderr.break_off()

    def ended(self, code: int) -> None:
        """The process has ended: its output is closed (the runtime says so)."""
        if not self.exit_code.done():
            self.stdout.close()
            self.stderr.close()
            if self.stdin is not None:
                self.stdin.break_off()
            self.exit_code.set_result(code)


class AttachSession(ExecSession):
    """A client at the first process of a container.

    `stdin` is the container's, None where it has none; what the process writes from now on comes on
    `stdout` and `stderr`.
    """

    def __init__(self, container: Container) -> None:
        super().__init__(container.kernel, tty=container.config.tty)
        self._container = container
        self.stdin = container.stdin

    def hear(self, stream: str, data: bytes) -> None:
        """The process has written something."""
        pipe = self.stderr if stream == "stderr" and not self.tty else self.stdout
        with suppress(Broken, Reset):
            pipe.write(data)

    def resize(self, width: int, height: int) -> None:
        """The client's terminal has another size: it is the process's."""
        self._container.resize(width, height)

    def detach(self) -> None:
        """The client leaves; the container's input stays open."""
        self._container.detach(self)
        self.stdout.break_off()
        self.stderr.break_off()

    def ended(self, code: int) -> None:
        """The container has ended."""
        if not self.exit_code.done():
            self.stdout.close()
            self.stderr.close()
            self.exit_code.set_result(code)
