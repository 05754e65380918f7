"""A terminal between a client's keyboard and the processes of a container.

The law is that of a terminal in cooked mode: what is typed is echoed, and handed on line by line
when Enter comes; it can be edited until then.  What processes write goes to the client with each
newline as carriage return and newline.

    keys:  Enter ends a line     ^? ^H erase one      ^U erase all     ^W erase a word
           ^D  hands on what there is, at the start of a line: the end of input
           ^C  SIGINT to what runs in the foreground

Follows `n_tty.c` of Linux.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.handles import ReadEnd
from pytest_kubesim.sim.pipes import Broken, Pipe, Reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.cri.linux.process import Proc, System

INTERRUPT, END, ERASE, KILL_LINE, KILL_WORD = 0x03, 0x04, (0x08, 0x7F), 0x15, 0x17


class Terminal(ReadEnd):
    """What descriptors 0, 1 and 2 of a process with a terminal refer to.

    Parameters: `system` of processes; `keys`, what the client types; `screen`, given what it is to
    see; `wait`, awaited after each write (None: nobody is waited for).
    """

    __slots__ = ("_keys", "_line", "_screen", "_wait", "leader", "shell", "system")

    def __init__(
        self,
        system: System,
        keys: Pipe | None,
        screen: Callable[[bytes], object],
        wait: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(Pipe(system.kernel))
        self.system = system
        self.leader: Proc | None = None
        """The process that was started with it."""
        self.shell: Proc | None = None
        """The shell that reads from it: it survives what interrupts its children."""
        self._keys = keys
        self._screen = screen
        self._wait = wait
        self._line = bytearray()

    # -- for processes ------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Show `data`; waits while the client is behind."""
        try:
            self._screen(data.replace(b"\n", b"\r\n"))
            if self._wait is not None:
                await self._wait()
        except (Broken, Reset):
            raise Fault("EIO") from None

    # -- from the client ----------------------------------------------------------------------

    async def listen(self) -> None:
        """Take what is typed until the client leaves."""
        try:
            while self._keys is not None and (typed := await self._keys.read()):
                for key in typed:
                    self._take(key)
                await self.pipe.drain()
        except (Broken, Reset):
            pass
        self.pipe.close()

    def _take(self, key: int) -> None:
        line = self._line
        if key in {0x0A, 0x0D}:
            self._show(b"\r\n")
            line.append(0x0A)
            self._hand_on()
        elif key == INTERRUPT:
            self._show(b"^C")
            self._interrupt()
        elif key == END:
            if line:
                self._hand_on()
            else:
                self.pipe.close()
        elif key in ERASE:
            if line:
                self._erase(1)
        elif key == KILL_LINE:
            self._erase(len(line))
        elif key == KILL_WORD:
            self._erase(_last_word(line))
        else:
            line.append(key)
            self._show(bytes((key,)))

    def _hand_on(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        if not self.pipe.closed:
            self.pipe.write(line)

    def _erase(self, count: int) -> None:
        if count:
            del self._line[-count:]
            self._show(b"\b \b" * count)

    def _show(self, data: bytes) -> None:
        try:
            self._screen(data)
        except (Broken, Reset):
            pass

    def _interrupt(self) -> None:
        self._line.clear()
        front = [proc for proc in list(self.system.processes.values()) if self._in_front(proc)]
        for proc in front:
            proc.signal("INT")
        if not front and self.shell is not None:
            self._show(b"\r\n")
            if not self.pipe.closed:
                self.pipe.write(b"\n")  # the shell prompts again
        elif self.shell is not None:
            self._show(b"\r\n")

    def _in_front(self, proc: Proc) -> bool:
        """Whether it runs in the foreground: below the shell, or is what was started."""
        top = self.shell or self.leader
        if proc is top:
            return self.shell is None
        above = proc.parent
        while above is not None and above is not top:
            above = above.parent
        return above is not None


def _last_word(line: bytearray) -> int:
    """How many characters the last word has, with what follows it."""
    count, seen = 0, False
    for key in reversed(line):
        word = chr(key).isalnum() or key == ord("_")
        if seen and not word:
            break
        seen = seen or word
        count += 1
    return count
