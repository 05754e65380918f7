"""What is typed at a terminal, and what becomes of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_kubesim.cri.linux.terminal import Terminal
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.pipes import Pipe


class Desk:
    """A terminal with nobody at it but the test."""

    def __init__(self):
        self.kernel = Kernel()
        self.keys = Pipe(self.kernel)
        self.shown = b""
        self.system = SimpleNamespace(kernel=self.kernel, processes={})
        self.terminal = Terminal(self.system, self.keys, self.show)
        self.kernel.spawn(self.terminal.listen(), name="terminal", daemon=True)

    def show(self, data):
        self.shown += data

    def type(self, keys):
        self.keys.write(keys)
        self.kernel.run(until_ns=self.kernel.now_ns)
        return self.terminal.pipe.read_nowait()

    def process(self, pid, parent=None):
        proc = SimpleNamespace(parent=parent, signals=[])
        proc.signal = proc.signals.append
        self.system.processes[pid] = proc
        return proc


@pytest.mark.parametrize(
    ("keys", "line", "shown"),
    [
        (b"ls\r", b"ls\n", b"ls\r\n"),
        (b"ls\n", b"ls\n", b"ls\r\n"),
        (b"lx\x7fs\r", b"ls\n", b"lx\b \bs\r\n"),
        (b"\x7fls\r", b"ls\n", b"ls\r\n"),
        (b"rm\x15ls\r", b"ls\n", b"rm\b \b\b \bls\r\n"),
        (b"ls -l\x17a\r", b"ls -a\n", b"ls -l\b \ba\r\n"),
        (b"ab\x04", b"ab", b"ab"),
    ],
)
def test_a_line_is_edited_until_it_is_entered(keys, line, shown):
    desk = Desk()
    assert desk.type(keys) == line
    assert desk.shown == shown


def test_nothing_is_handed_on_before():
    desk = Desk()
    assert desk.type(b"half a line") == b""


def test_the_end_of_input_is_typed_at_the_start_of_a_line():
    desk = Desk()
    desk.type(b"\x04")
    assert desk.terminal.pipe.ended


def test_a_client_that_leaves_is_the_end_of_input():
    desk = Desk()
    desk.keys.close()
    desk.kernel.run(until_ns=desk.kernel.now_ns)
    assert desk.terminal.pipe.ended


def test_newlines_return_the_carriage():
    desk = Desk()
    desk.kernel.run_coroutine(desk.terminal.write(b"a\nb\n"))
    assert desk.shown == b"a\r\nb\r\n"


def test_an_interrupt_strikes_what_runs_below_the_shell():
    desk = Desk()
    shell = desk.process(1)
    child = desk.process(2, shell)
    other = desk.process(3)
    desk.terminal.leader = desk.terminal.shell = shell
    assert desk.type(b"forgotten\x03") == b""
    assert (shell.signals, child.signals, other.signals) == ([], ["INT"], [])


def test_a_shell_that_is_interrupted_prompts_again():
    desk = Desk()
    desk.terminal.leader = desk.terminal.shell = desk.process(1)
    assert desk.type(b"forgotten\x03") == b"\n"


def test_a_program_without_a_shell_is_interrupted_itself():
    desk = Desk()
    desk.terminal.leader = desk.process(7)
    desk.type(b"\x03")
    assert desk.terminal.leader.signals == ["INT"]
