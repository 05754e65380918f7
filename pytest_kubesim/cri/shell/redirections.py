"""Redirections of a command: applied before it, taken back after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.process import encode
from pytest_kubesim.cri.shell.parser import heredoc

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.files import Handle
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.cri.shell.interpreter import Shell
    from pytest_kubesim.cri.shell.syntax import Redirect

Saved = list[tuple[int, "Handle | None"]]
"""What descriptors referred to before."""


async def apply(shell: Shell, redirects: tuple[Redirect, ...]) -> Saved | None:
    """Apply redirections; what was there before, or None where one failed."""
    saved: Saved = []
    for redirect in redirects:
        try:
            await _redirect(shell, redirect, saved)
        except Fault as fault:
            await _complain(shell, redirect, fault)
            restore(shell.proc, saved)
            shell.status = 1
            shell.check_errexit()
            return None
    return saved


async def _complain(shell: Shell, redirect: Redirect, fault: Fault) -> None:
    target = await shell.expander.text(redirect.target)
    if fault.name == "EBADF":
        await shell.complain(f"{target}: bad file descriptor")
        return
    verb, text = "open", str(fault)
    if redirect.operator[0] == ">":
        verb = "create"
    if fault.name == "ENOENT":
        text = "nonexistent directory" if verb == "create" else "no such file"
    await shell.complain(f"can't {verb} {target}: {text}")


async def _redirect(shell: Shell, redirect: Redirect, saved: Saved) -> None:
    proc, number, operator = shell.proc, redirect.descriptor, redirect.operator
    handle: Handle | None
    if operator == "<<":
        text = await shell.expander.text(heredoc(redirect))
        reader, writer = proc.pipe()
        writer.pipe.write(encode(text))
        writer.pipe.close()
        handle = reader
    else:
        target = await shell.expander.text(redirect.target)
        if operator in (">&", "<&"):
            if target != "-" and not target.isdigit():
                raise Fault("EBADF")
            handle = None if target == "-" else proc.handle(int(target))
        else:
            flags = {"<": "r", "<>": "r+", ">>": "a"}.get(operator, "w")
            handle = proc.open(target, flags)
    old = proc.fds.get(number)
    if old is not None:
        old.references += 1
    saved.append((number, old))
    if handle is None:
        proc.close(number)
    else:
        proc.put(number, handle)


def restore(proc: Proc, saved: Saved) -> None:
    """Take redirections back."""
    for number, handle in reversed(saved):
        if handle is not None:
            proc.put(number, handle)
            handle.references -= 1
        else:
            proc.close(number)


def let_go(saved: Saved) -> None:
    """Redirections stay (`exec >file`): what was there before is closed."""
    for _, handle in saved:
        if handle is not None:
            handle.references -= 1
            if handle.references == 0:
                handle.release()
