"""`sh`: a shell for a script given with `-c`, in a file, or on standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.handles import ReadEnd
from pytest_kubesim.cri.linux.process import Exit, decode
from pytest_kubesim.cri.linux.terminal import Terminal
from pytest_kubesim.cri.shell.builtins import set_options
from pytest_kubesim.cri.shell.interpreter import Shell
from pytest_kubesim.cri.shell.parser import parse
from pytest_kubesim.cri.shell.syntax import Script
from pytest_kubesim.cri.shell.words import SyntaxFault

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


async def sh(proc: Proc) -> int:
    """The shell as a program: `sh [-eux] [-o option] [-c script [name [arguments]]] [file]`."""
    name = proc.argv[0] if proc.argv else "sh"
    shell = Shell(proc, name, [], bash=name.rsplit("/", 1)[-1] == "bash")
    if shell.bash:
        shell.variables.setdefault("BASH_VERSION", "5.2.37(1)-release")
    args = list(proc.argv[1:])
    inline = False
    flags: list[str] = []
    while args and args[0][:1] in "-+" and len(args[0]) > 1 and args[0] != "--":
        word = args.pop(0)
        if word.startswith("--"):
            continue
        letters = word[1:]
        inline = inline or (word[0] == "-" and "c" in letters)
        kept = "".join(c for c in letters if c not in "clis")
        if kept:
            flags.append(word[0] + kept)
        if "o" in kept and args:
            flags.append(args.pop(0))
    set_options(shell, flags)
    if args[:1] == ["--"]:
        args.pop(0)
    if inline:
        if not args:
            await shell.complain("-c requires an argument")
            return 2
        text = args.pop(0)
        if args:
            shell.name, shell.positional = args[0], args[1:]
        return await _run(shell, text)
    if args:
        return await _run_file(shell, args)
    return await _run_input(shell)


async def _run(shell: Shell, text: str) -> int:
    try:
        script = parse(text, shell.bash)
    except SyntaxFault as fault:
        await shell.complain(f"syntax error: {fault}")
        return 2
    return await shell.main(script, tail=True)


async def _run_file(shell: Shell, args: list[str]) -> int:
    path = args[0]
    try:
        text = decode(await shell.proc.contents(path))
    except Fault as fault:
        await shell.complain(f"can't open '{path}': {fault}")
        return 127 if fault.name == "ENOENT" else 126
    shell.name, shell.positional = path, args[1:]
    return await _run(shell, text)


async def _run_input(shell: Shell) -> int:
    """Commands from standard input: each is run when it is complete."""
    handle = shell.proc.handle(0)
    if not isinstance(handle, ReadEnd):
        return await _run(shell, decode(await shell.proc.read_all()))
    terminal = handle if isinstance(handle, Terminal) else None
    if terminal is not None:
        terminal.shell = shell.proc
        shell.variables.setdefault("PS1", "\\w \\$ ")
        shell.variables.setdefault("PS2", "> ")
    pending = ""
    try:
        while True:
            if terminal is not None:
                await shell.proc.err(_prompt(shell, "PS2" if pending else "PS1"))
            line = decode(await handle.pipe.read_until(b"\n"))
            pending += line
            try:
                script = parse(pending, shell.bash)
            except SyntaxFault as fault:
                if line.endswith("\n") and _incomplete(fault):
                    continue
                await shell.complain(f"syntax error: {fault}")
                if terminal is None:
                    return 2
                pending, shell.status = "", 2
                continue
            pending = ""
            if script.items:
                await shell.run(script)
            if not line:
                break
    except Exit as end:
        shell.status = end.code
    return await _leave(shell)


async def _leave(shell: Shell) -> int:
    code = shell.status
    if "EXIT" not in shell.traps:
        return code
    action = shell.traps.pop("EXIT")
    shell.status = code
    ended = await shell.main(parse(action, shell.bash) if action else Script())
    return code if ended == 0 else ended


def _prompt(shell: Shell, name: str) -> str:
    """A prompt, with what busybox puts into it."""
    here, home = shell.proc.cwd, shell.get("HOME")
    if home not in {"", "/"} and (here == home or here.startswith(f"{home}/")):
        here = "~" + here[len(home) :]
    shown = {
        "\\w": here,
        "\\W": here.rsplit("/", 1)[-1] or "/",
        "\\$": "#" if shell.proc.who.uid == 0 else "$",
        "\\h": shell.proc.system.hostname,
    }
    text = shell.get(name)
    for escape, value in shown.items():
        text = text.replace(escape, value)
    return text


def _incomplete(fault: SyntaxFault) -> bool:
    text = str(fault)
    return "end of file" in text or "unterminated" in text or "EOF" in text
