"""The commands that are part of the shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets import printing
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, OpenFile
from pytest_kubesim.cri.linux.handles import ReadEnd
from pytest_kubesim.cri.linux.mounts import EXECUTE, may
from pytest_kubesim.cri.linux.process import SIGNALS, Exit, Proc, decode, which
from pytest_kubesim.cri.shell.arithmetic import ArithmeticFault, evaluate
from pytest_kubesim.cri.shell.interpreter import Break, Return
from pytest_kubesim.cri.shell.words import is_name

if TYPE_CHECKING:
    from pytest_kubesim.cri.shell.interpreter import Builtin, Shell

_OPTIONS = {
    "errexit": "e", "nounset": "u", "xtrace": "x", "noglob": "f", "allexport": "a", "noexec": "n",
    "verbose": "v", "noclobber": "C", "monitor": "m",
}
_SIGNAL_NAMES = {number: name for name, number in SIGNALS.items()}


def set_options(shell: Shell, args: list[str]) -> list[str] | None:
    """Take `-eux`, `+e`, `-o name` from the front; the rest, None where there is none."""
    at = 0
    while at < len(args):
        word = args[at]
        if word == "--":
            return args[at + 1 :]
        if word[:1] not in "-+" or len(word) < 2:
            break
        at += 1
        for letter in word[1:]:
            name = letter
            if letter == "o":
                long = args[at] if at < len(args) else ""
                at += 1
                name = _OPTIONS.get(long, long)
            if word[0] == "-":
                shell.options.add(name)
            else:
                shell.options.discard(name)
    return args[at:] if at < len(args) else None


async def _set(shell: Shell, args: list[str]) -> int:
    if not args:
        for name in sorted(shell.variables):
            await shell.proc.out(f"{name}={quoted(shell.variables[name])}\n")
        return 0
    rest = set_options(shell, args)
    if rest is not None:
        shell.positional = list(rest)
    return 0


def quoted(text: str) -> str:
    """A text as the shell reads it back."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


async def _export(shell: Shell, args: list[str]) -> int:
    if not args or args == ["-p"]:
        for name in sorted(shell.exported):
            if name in shell.variables:
                await shell.proc.out(f"export {name}={quoted(shell.variables[name])}\n")
        return 0
    for word in args:
        name, equals, text = word.partition("=")
        if not is_name(name):
            await shell.complain(f"export: {word}: bad variable name")
            raise Exit(2)
        if equals:
            shell.assign(name, text)
        shell.exported.add(name)
    return 0


async def _readonly(shell: Shell, args: list[str]) -> int:
    for word in args:
        name, equals, text = word.partition("=")
        if equals:
            shell.assign(name, text)
        shell.constant.add(name)
    return 0


async def _local(shell: Shell, args: list[str]) -> int:
    if not shell.locals:
        await shell.complain("local: not in a function")
        raise Exit(2)
    for word in args:
        if word.startswith("-"):
            continue
        name, equals, text = word.partition("=")
        _localize(shell, name)
        if equals:
            shell.assign(name, text)
    return 0


def _localize(shell: Shell, name: str) -> None:
    before = shell.arrays.pop(name, None)
    shell.locals[-1].setdefault(name, before or shell.variables.get(name))


async def _declare(shell: Shell, args: list[str]) -> int:
    """`declare [-aAxri] [-p] name[=value] ...` (bash's)."""
    flags = "".join(word[1:] for word in args if word.startswith("-"))
    for word in args:
        if word.startswith(("-", "+")):
            continue
        name, equals, text = word.partition("=")
        if shell.locals and "g" not in flags:
            _localize(shell, name)
        if "A" in flags:
            shell.keyed.add(name)
        if "A" in flags or "a" in flags:
            shell.assign_all(name, ())
        if equals:
            value = evaluate(text, shell.get_number, shell.assign) if "i" in flags else text
            shell.assign(name, str(value))
        if "x" in flags:
            shell.exported.add(name)
        if "r" in flags:
            shell.constant.add(name)
    return 0


async def _mapfile(shell: Shell, args: list[str]) -> int:
    """`mapfile [-t] [name]`: the lines of standard input as an array (bash's)."""
    names = [word for word in args if not word.startswith("-")]
    lines = decode(await shell.proc.read_all()).splitlines(keepends="-t" not in args)
    shell.assign_all(names[0] if names else "MAPFILE", enumerate(lines))
    return 0


async def _unset(shell: Shell, args: list[str]) -> int:
    functions = args[:1] == ["-f"]
    for name in args:
        if name in ("-f", "-v"):
            continue
        if functions:
            shell.functions.pop(name, None)
        else:
            stem, bracket, index = name.partition("[")
            if bracket and stem in shell.arrays:
                shell.arrays[stem].pop(shell.index(stem, index.removesuffix("]")), None)
                continue
            shell.variables.pop(name, None)
            shell.arrays.pop(name, None)
            shell.keyed.discard(name)
            shell.exported.discard(name)
    return 0


async def _shift(shell: Shell, args: list[str]) -> int:
    count = int(args[0]) if args else 1
    if count > len(shell.positional):
        await shell.complain("shift: can't shift that many")
        return 1
    del shell.positional[:count]
    return 0


async def _cd(shell: Shell, args: list[str]) -> int:
    rest = [word for word in args if word not in ("-L", "-P", "--")]
    target = rest[0] if rest else shell.get("HOME") or "/"
    show = target == "-"
    target = shell.get("OLDPWD") if show else target
    proc = shell.proc
    try:
        place = proc.system.mounts.walk(target, proc.cwd, proc.who)
        node = place.there()
        if node.kind != DIRECTORY:
            raise Fault("ENOTDIR")
        if not may(node, proc.who, EXECUTE):
            raise Fault("EACCES")
    except Fault as fault:
        await shell.complain(f"cd: can't cd to {target}: {fault}")
        return 2
    shell.variables["OLDPWD"] = proc.cwd
    proc.cwd = shell.variables["PWD"] = place.path if place.name else "/"
    if show:
        await proc.out(f"{proc.cwd}\n")
    return 0


async def _pwd(shell: Shell, args: list[str]) -> int:
    del args
    await shell.proc.out(f"{shell.proc.cwd}\n")
    return 0


def _number(args: list[str], default: int) -> int:
    return int(args[0]) if args and re.fullmatch(r"-?\d+", args[0]) else default


async def _exit(shell: Shell, args: list[str]) -> int:
    if args and not re.fullmatch(r"-?\d+", args[0]):
        await shell.complain(f"exit: Illegal number: {args[0]}")
        raise Exit(2)
    raise Exit(_number(args, shell.status))


async def _return(shell: Shell, args: list[str]) -> int:
    raise Return(_number(args, shell.status) & 0xFF)


async def _break(shell: Shell, args: list[str]) -> int:
    if shell.loops:
        raise Break(_number(args, 1), again=False)
    return 0


async def _continue(shell: Shell, args: list[str]) -> int:
    if shell.loops:
        raise Break(_number(args, 1), again=True)
    return 0


async def _eval(shell: Shell, args: list[str]) -> int:
    shell.status = 0
    return await shell.run_text(" ".join(args))


async def _source(shell: Shell, args: list[str]) -> int:
    if not args:
        return 2
    path, proc = args[0], shell.proc
    try:
        if "/" not in path:
            path = which(proc.system.mounts, path, shell.variables, proc.cwd, proc.who)
        text = decode(await proc.contents(path))
    except Fault:
        await shell.complain(f".: can't open '{args[0]}': No such file or directory")
        raise Exit(2) from None
    try:
        return await shell.run_text(text)
    except Return as back:
        return back.code


async def _exec(shell: Shell, args: list[str]) -> int:
    if not args:
        return 0
    env = shell.environment()
    try:
        main, argv = shell.proc.program(tuple(args))
    except Fault as fault:
        missing = fault.name == "ENOENT"
        text = "not found" if missing else "Permission denied"
        await shell.complain(f"exec: {args[0]}: {text}")
        raise Exit(127 if missing else 126) from None
    raise Exit(await shell.replace(main, argv, env))


async def _trap(shell: Shell, args: list[str]) -> int:
    words = [word for word in args if word != "--"]
    if not words:
        for name, action in shell.traps.items():
            await shell.proc.out(f"trap -- {quoted(action)} {name}\n")
        return 0
    if len(words) == 1 or words[0].isdigit():
        action, names = "-", words
    else:
        action, names = words[0], words[1:]
    for given in names:
        name = "ERR" if shell.bash and given == "ERR" else signal_name(given)
        if name is None:
            await shell.complain(f"trap: {given}: invalid signal specification")
            return 1
        _set_trap(shell, name, action)
    return 0


def _set_trap(shell: Shell, name: str, action: str) -> None:
    if action == "-":
        shell.traps.pop(name, None)
        shell.proc.traps.pop(name, None)
        return
    shell.traps[name] = action
    if name in ("EXIT", "ERR"):
        return
    if action == "":
        shell.proc.traps[name] = None
    else:
        shell.proc.traps[name] = lambda: shell.pending.append(name)


def signal_name(given: str) -> str | None:
    """`TERM` of `15`, `TERM`, `SIGTERM`; `EXIT` of 0; None where there is no such signal."""
    text = given.upper().removeprefix("SIG")
    if text.isdigit():
        return "EXIT" if text == "0" else _SIGNAL_NAMES.get(int(text))
    return text if text == "EXIT" or text in SIGNALS else None


async def _wait(shell: Shell, args: list[str]) -> int:
    if not args:
        while shell.jobs:
            code = await _wait_for(shell, next(iter(shell.jobs.values())))
            if code is not None and shell.pending:
                return code
        return 0
    status = 0
    for word in args:
        job = _job(shell, word)
        if job is None:
            status = 127
            continue
        status = await _wait_for(shell, job) or 0
    return status


def _job(shell: Shell, word: str) -> Proc | None:
    if word.startswith("%"):
        numbers = list(shell.jobs)
        index = int(word[1:]) - 1 if word[1:].isdigit() else len(numbers) - 1
        return shell.jobs[numbers[index]] if 0 <= index < len(numbers) else None
    if word.isdigit() and int(word) in shell.jobs:
        return shell.jobs[int(word)]
    last = shell.last_job
    return last if last is not None and str(last.pid) == word else None


async def _wait_for(shell: Shell, job: Proc) -> int | None:
    while not job.exited.done():
        await shell.proc.pause(job.exited)
        if shell.pending:
            code = 128 + SIGNALS[shell.pending[0]]
            await shell.run_traps()
            return code
    shell.jobs.pop(job.pid, None)
    return job.exited.result()


async def _jobs(shell: Shell, args: list[str]) -> int:
    del args
    for number, job in enumerate(shell.jobs.values(), 1):
        state = "Done" if job.exited.done() else "Running"
        await shell.proc.out(f"[{number}] {'+' if job is shell.last_job else ' '} {state}\n")
    return 0


async def _kill(shell: Shell, args: list[str]) -> int:
    changed = [
        str(job.pid) if word.startswith("%") and (job := _job(shell, word)) else word
        for word in args
    ]
    return await kill(shell.proc, changed)


async def kill(proc: Proc, args: list[str]) -> int:
    """`kill [-SIGNAL] pids`."""
    name = "TERM"
    if args[:1] in (["-l"], ["-L"]):
        await proc.out("\n".join(SIGNALS) + "\n")
        return 0
    if args and args[0] == "-s" and len(args) > 1:
        args = ["-" + args[1], *args[2:]]
    if args and args[0].startswith("-") and len(args[0]) > 1:
        given, args = args[0][1:], args[1:]
        if given == "0":
            name = ""
        else:
            found = signal_name(given)
            if found is None:
                return await proc.complain(f"bad signal name '{given}'")
            name = found
    if args[:1] == ["--"]:
        args = args[1:]
    if not args:
        return await proc.complain("you need to specify whom to kill")
    status = 0
    for word in args:
        target = proc.system.processes.get(int(word)) if re.fullmatch(r"\d+", word) else None
        if word == "-1":
            for other in list(proc.system.processes.values()):
                if other is not proc and other.pid != 1:
                    other.signal(name or "CONT")
        elif target is None:
            await proc.err(f"{proc.name}: can't kill pid {word}: No such process\n")
            status = 1
        elif name and target.pid == 1 and name == "KILL":
            continue
        elif name:
            target.signal(name)
    return status


async def _read(shell: Shell, args: list[str]) -> int:
    raw, array, prompt, timeout, at = False, False, "", None, 0
    while at < len(args) and args[at].startswith("-") and len(args[at]) > 1:
        word = args[at]
        at += 1
        for letter in word[1:]:
            raw = raw or letter == "r"
            array = array or letter == "a"
            if letter in "pt":
                value = args[at] if at < len(args) else ""
                at += 1
                prompt, timeout = (value, timeout) if letter == "p" else (prompt, value)
    names = args[at:] or ["REPLY"]
    if prompt:
        await shell.proc.err(prompt)
    line = await _line(shell, timeout)
    complete = line.endswith("\n")
    text = line.removesuffix("\n")
    while not raw and text.endswith("\\") and complete:
        more = await _line(shell, timeout)
        complete = more.endswith("\n")
        text = text[:-1] + more.removesuffix("\n")
    if not raw:
        text = re.sub(r"\\(.)", r"\1", text)
    if array:
        blank = shell.ifs == " \t\n"
        pieces = text.split() if blank else re.split(f"[{re.escape(shell.ifs)}]", text)
        shell.assign_all(names[0], enumerate(pieces))
    else:
        _assign_fields(shell, names, text)
    return 0 if complete else 1


def _assign_fields(shell: Shell, names: list[str], text: str) -> None:
    ifs = shell.ifs
    blanks = "".join(c for c in ifs if c in " \t\n")
    text = text.strip(blanks) if blanks else text
    for number, name in enumerate(names):
        if number == len(names) - 1:
            shell.assign(name, text)
            break
        end = next((i for i, c in enumerate(text) if c in ifs), len(text))
        shell.assign(name, text[:end])
        rest = text[end:]
        rest = rest.lstrip(blanks)
        if rest[:1] and rest[0] in ifs and rest[0] not in blanks:
            rest = rest[1:].lstrip(blanks)
        text = rest


async def _line(shell: Shell, patience: str | None) -> str:
    """A line of standard input with its newline, or what there is before the end."""
    handle = shell.proc.handle(0)
    if isinstance(handle, OpenFile):
        pieces: list[bytes] = []
        while byte := await handle.read(1):
            pieces.append(byte)
            if byte == b"\n":
                break
        return decode(b"".join(pieces))
    if isinstance(handle, ReadEnd):
        if patience is None:
            return decode(await handle.pipe.read_until(b"\n"))
        task = shell.proc.fork(_reader(handle))
        if await shell.proc.pause(task.exited, timeout_ns=int(float(patience) * 1e9)):
            return decode(handle.pipe.read_nowait())
        task.signal("KILL")
        return ""
    return decode(await handle.read(65_536))


def _reader(handle: ReadEnd):  # noqa: ANN202 - a program
    async def main(proc: Proc) -> int:
        del proc
        line = await handle.pipe.read_until(b"\n")
        handle.pipe.write(line)
        return 0

    return main


async def _command(shell: Shell, args: list[str]) -> int:
    if args[:1] in (["-v"], ["-V"]):
        return await _describe(shell, args[1:], verbose=args[0] == "-V")
    if not args:
        return 0
    builtin = BUILTINS.get(args[0])
    if builtin is not None:
        return await builtin(shell, args[1:])
    env = shell.environment()
    found = await shell.find(tuple(args), env)
    if found is None:
        return shell.status
    child = shell.proc.fork(found[0], found[1], env=env)
    return await child.exited


async def _describe(shell: Shell, names: list[str], *, verbose: bool) -> int:
    status = 0
    proc = shell.proc
    for name in names:
        if name in BUILTINS or name in shell.functions:
            kind = "function" if name in shell.functions else "shell builtin"
            await proc.out(f"{name} is a {kind}\n" if verbose else f"{name}\n")
            continue
        try:
            path = which(proc.system.mounts, name, shell.variables, proc.cwd, proc.who)
            await proc.out(f"{name} is {path}\n" if verbose else f"{path}\n")
        except Fault:
            if verbose:
                await proc.out(f"{name}: not found\n")
            status = 127
    return status


async def _type(shell: Shell, args: list[str]) -> int:
    return await _describe(shell, args, verbose=True)


async def _umask(shell: Shell, args: list[str]) -> int:
    if args:
        shell.proc.umask = int(args[0], 8)
    else:
        await shell.proc.out(f"{shell.proc.umask:04o}\n")
    return 0


async def _let(shell: Shell, args: list[str]) -> int:
    value = 0
    try:
        for word in args:
            value = evaluate(word, shell.get_number, shell.assign)
    except ArithmeticFault as fault:
        await shell.complain(str(fault))
        return 2
    return int(value == 0)


async def _getopts(shell: Shell, args: list[str]) -> int:
    spec, name = args[0], args[1]
    words = args[2:] or shell.positional
    index = int(shell.variables.get("OPTIND") or 1)
    place = int(shell.variables.get("_OPTPLACE") or 1)
    word = words[index - 1] if index <= len(words) else ""
    if word == "--" or len(word) < 2 or word[0] != "-":
        shell.assign("OPTIND", str(index + (word == "--")))
        shell.assign(name, "?")
        return 1
    letter = word[place]
    takes = f"{letter}:" in spec
    following = place + 1
    if following >= len(word) or takes:
        index, following_place = index + 1, 1
    else:
        following_place = following
    if letter not in spec or letter == ":":
        if not spec.startswith(":"):
            await shell.proc.err(f"Illegal option -{letter}\n")
        shell.assign("OPTARG", letter)
        letter = "?"
    elif takes:
        value = word[following:]
        if not value:
            value = words[index - 1] if index <= len(words) else ""
            index += 1
        shell.assign("OPTARG", value)
    shell.variables["_OPTPLACE"] = str(following_place)
    shell.assign("OPTIND", str(index))
    shell.assign(name, letter)
    return 0


async def _nothing(shell: Shell, args: list[str]) -> int:
    del shell, args
    return 0


async def _fails(shell: Shell, args: list[str]) -> int:
    del shell, args
    return 1


async def _echo(shell: Shell, args: list[str]) -> int:
    return await printing.echo(shell.proc, args)


async def _printf(shell: Shell, args: list[str]) -> int:
    if shell.bash and args[:1] == ["-v"] and len(args) > 2:
        shell.assign(args[1], decode(printing.formatted(args[2:])[0]))
        return 0
    return await printing.printf(shell.proc, args)


async def _test(shell: Shell, args: list[str]) -> int:
    return await printing.test(shell.proc, args)


async def _bracket(shell: Shell, args: list[str]) -> int:
    return await printing.bracket(shell.proc, args)


BUILTINS: dict[str, Builtin] = {
    ":": _nothing, "true": _nothing, "false": _fails, "set": _set, "export": _export,
    "readonly": _readonly, "local": _local, "unset": _unset, "shift": _shift, "cd": _cd,
    "pwd": _pwd, "exit": _exit, "return": _return, "break": _break, "continue": _continue,
    "eval": _eval, ".": _source, "source": _source, "exec": _exec, "trap": _trap, "wait": _wait,
    "jobs": _jobs, "kill": _kill, "read": _read, "command": _command, "type": _type,
    "umask": _umask, "let": _let, "getopts": _getopts, "echo": _echo, "printf": _printf,
    "test": _test, "[": _bracket,
    "declare": _declare, "typeset": _declare, "mapfile": _mapfile, "readarray": _mapfile,
    "shopt": _nothing, "hash": _nothing, "alias": _nothing, "unalias": _nothing,
    "times": _nothing, "ulimit": _nothing,
}

SPECIAL = frozenset({
    ":", ".", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return", "set",
    "shift", "times", "trap", "unset", "source",
})
"""Those of which an error ends the shell, and whose assignments stay."""
