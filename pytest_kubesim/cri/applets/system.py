"""sleep, date, env, hostname, id, uname, ps, timeout, time, xargs, which, nproc, uptime, free."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets import dates
from pytest_kubesim.cri.applets.files import entries, name_of
from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.process import SIGNALS, decode, outcome, which

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)")


def duration_ns(text: str) -> int | None:
    """A duration as `sleep` reads it, in nanoseconds; None where it is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return 1 << 62 if text in ("inf", "infinity") else None
    return int(float(match.group(1)) * _UNITS[match.group(2)] * 1e9)


async def sleep(proc: Proc, args: list[str]) -> int:
    """`sleep durations`."""
    total = 0
    if not args:
        return await proc.complain("missing operand")
    for text in args:
        length = duration_ns(text)
        if length is None:
            return await proc.complain(f"invalid number '{text}'")
        total += length
    if total >= 1 << 61:
        await proc.system.kernel.future()
    await proc.system.sleep(total)
    return 0


async def date(proc: Proc, args: list[str]) -> int:
    """`date [-u] [-d date] [-R] [-I[spec]] [+format]`."""
    given = await parse(
        proc, [a for a in args if not a.startswith("-I")], "ud:Rr:D:", {"utc": "u", "date": "d"}
    )
    moment = proc.system.now_ns()
    if "d" in given:
        found = dates.parse(given.get("d"), moment)
        if found is None:
            return await proc.complain(f"invalid date '{given.get('d')}'")
        moment = found
    if "r" in given:
        try:
            moment = proc.node(given.get("r")).mtime_ns
        except Fault as fault:
            return await proc.complain(f"{given.get('r')}: {fault}")
    template = next((word[1:] for word in given.rest if word.startswith("+")), "")
    iso = next((a[2:] or "date" for a in args if a.startswith("-I")), "")
    if iso:
        template = "%Y-%m-%d" if iso == "date" else "%Y-%m-%dT%H:%M:%S+00:00"
    elif "R" in given:
        template = "%a, %d %b %Y %H:%M:%S +0000"
    await proc.out(dates.strftime(template or "%a %b %e %H:%M:%S UTC %Y", moment) + "\n")
    return 0


async def env(proc: Proc, args: list[str]) -> int:
    """`env [-i] [-u name] [name=value] [command]`."""
    variables, at = dict(proc.env), 0
    while at < len(args) and (args[at].startswith("-") or "=" in args[at]):
        word = args[at]
        at += 1
        if word in ("-i", "-", "--ignore-environment"):
            variables = {}
        elif word == "-u":
            variables.pop(args[at], None)
            at += 1
        elif "=" in word:
            name, _, text = word.partition("=")
            variables[name] = text
    if at < len(args):
        return await run(proc, tuple(args[at:]), variables)
    await proc.out("".join(f"{name}={text}\n" for name, text in variables.items()))
    return 0


async def run(proc: Proc, argv: tuple[str, ...], variables: dict[str, str] | None = None) -> int:
    """Go on as another command; 127 or 126, with the complaint made, where there is none."""
    if variables is not None:
        proc.env = variables
    try:
        main, argv = proc.program(argv)
    except Fault as fault:
        await proc.err(f"{proc.name}: can't execute '{argv[0]}': {fault}\n")
        return 127 if fault.name == "ENOENT" else 126
    proc.argv = argv
    return await outcome(proc, main)


async def printenv(proc: Proc, args: list[str]) -> int:
    """`printenv [names]`."""
    if not args:
        return await env(proc, [])
    status = 0
    for name in args:
        if name in proc.env:
            await proc.out(f"{proc.env[name]}\n")
        else:
            status = 1
    return status


async def hostname(proc: Proc, args: list[str]) -> int:
    """`hostname [-isfd]`."""
    given = await parse(proc, args, "isfdI")
    name = proc.system.hostname
    if "i" in given or "I" in given:
        await proc.out(f"{proc.system.address}\n")
        return 0
    if "f" in given or "d" in given:
        full = _full_name(proc) or name
        name = full if "f" in given else full.partition(".")[2]
    elif "s" in given:
        name = name.partition(".")[0]
    await proc.out(f"{name}\n")
    return 0


def _full_name(proc: Proc) -> str:
    try:
        text = decode(proc.system.mounts.lookup("/etc/hosts").read())
    except Fault:
        return ""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if proc.system.hostname in words[1:]:
            return words[1]
    return ""


async def identity(proc: Proc, args: list[str]) -> int:
    """`id [-ugGn]`."""
    given = await parse(proc, args, "ugGnr")
    who = proc.who
    user = name_of(proc, "/etc/passwd", who.uid)
    group = name_of(proc, "/etc/group", who.gid)
    groups = list(dict.fromkeys((who.gid, *who.groups)))
    names = [name_of(proc, "/etc/group", number) or str(number) for number in groups]
    named = "n" in given
    if "u" in given:
        text = (user or str(who.uid)) if named else str(who.uid)
    elif "G" in given:
        text = " ".join(names if named else map(str, groups))
    elif "g" in given:
        text = (group or str(who.gid)) if named else str(who.gid)
    else:
        shown = [
            f"{number}({name})" if name != str(number) else str(number)
            for number, name in zip(groups, names, strict=True)
        ]
        text = (
            f"uid={who.uid}{f'({user})' if user else ''} "
            f"gid={who.gid}{f'({group})' if group else ''}"
        )
        if len(groups) > 1 or who.groups:
            text += f" groups={','.join(shown)}"
    await proc.out(f"{text}\n")
    return 0


async def whoami(proc: Proc, args: list[str]) -> int:
    """`whoami`."""
    del args
    name = name_of(proc, "/etc/passwd", proc.who.uid)
    if not name:
        return await proc.complain(f"unknown uid {proc.who.uid}")
    await proc.out(f"{name}\n")
    return 0


async def uname(proc: Proc, args: list[str]) -> int:
    """`uname [-amnrspv]`."""
    given = await parse(proc, args, "amnrspvoi")
    fields = {
        "s": "Linux", "n": proc.system.hostname, "r": "6.8.0-85-generic",
        "v": "#85-Ubuntu SMP PREEMPT_DYNAMIC", "m": "x86_64", "p": "unknown", "o": "GNU/Linux",
    }
    chosen = "snrvmo" if "a" in given else "".join(k for k in fields if k in given) or "s"
    await proc.out(" ".join(fields[letter] for letter in chosen) + "\n")
    return 0


async def ps(proc: Proc, args: list[str]) -> int:
    """`ps`."""
    del args
    await proc.out("PID   USER     TIME  COMMAND\n")
    for other in proc.system.processes.values():
        user = name_of(proc, "/etc/passwd", other.who.uid) or str(other.who.uid)
        await proc.out(f"{other.pid:5d} {user:<8}  0:00 {' '.join(other.argv)}\n")
    return 0


async def timeout(proc: Proc, args: list[str]) -> int:
    """`timeout [-s signal] [-k seconds] duration command`."""
    given = await parse(proc, args, "s:k:t:", {"signal": "s", "kill-after": "k"}, stop=True)
    rest = given.rest if "t" not in given else [given.get("t"), *given.rest]
    length = duration_ns(rest[0]) if rest else None
    if length is None:
        return await proc.complain(f"invalid number '{rest[0] if rest else ''}'")
    argv = tuple(rest[1:])
    try:
        main, argv = proc.program(argv)
    except Fault as fault:
        await proc.err(f"{proc.name}: can't execute '{argv[0]}': {fault}\n")
        return 127
    child = proc.fork(main, argv)
    if await proc.pause(child.exited, timeout_ns=length):
        return child.exited.result() if child.exited.done() else 143
    name = given.get("s", "TERM").upper().removeprefix("SIG")
    if name.isdigit():
        name = next((n for n, number in SIGNALS.items() if number == int(name)), "TERM")
    child.signal(name)
    if not child.exited.done() and "k" in given:
        later = duration_ns(given.get("k")) or 0
        if not await proc.pause(child.exited, timeout_ns=later):
            child.signal("KILL")
    return await child.exited


async def xargs(proc: Proc, args: list[str]) -> int:
    """`xargs [-0rt] [-n count] [-I mark] command`."""
    given = await parse(proc, args, "0rtn:I:s:d:P:L:", stop=True)
    data = decode(await proc.read_all())
    command = given.rest or ["echo"]
    mark = given.get("I")
    if "0" in given:
        items = data.rstrip("\0").split("\0") if data else []
    elif mark:
        items = [line.strip() for line in data.splitlines() if line.strip()]
    else:
        items = data.split()
    if mark:
        batches = [[word.replace(mark, item) for word in command] for item in items]
    elif "n" in given:
        size = int(given.get("n"))
        batches = [[*command, *items[i : i + size]] for i in range(0, len(items), size)]
    else:
        batches = [[*command, *items]] if items or "r" not in given else []
    status = 0
    for batch in batches:
        try:
            main, argv = proc.program(tuple(batch))
        except Fault as fault:
            await proc.err(f"{proc.name}: {batch[0]}: {fault}\n")
            return 127
        if await proc.fork(main, argv).exited:
            status = 123
    return status


async def which_(proc: Proc, args: list[str]) -> int:
    """`which commands`."""
    status = 0
    for name in args:
        try:
            path = which(proc.system.mounts, name, proc.env, proc.cwd, proc.who)
            await proc.out(f"{path}\n")
        except Fault:
            status = 1
    return status


async def nproc(proc: Proc, args: list[str]) -> int:
    """`nproc`."""
    del args
    await proc.out("4\n")
    return 0


async def time(proc: Proc, args: list[str]) -> int:
    """`time command`."""
    begun_ns = proc.system.now_ns()
    try:
        main, argv = proc.program(tuple(args))
    except Fault as fault:
        await proc.err(f"{proc.name}: can't execute '{args[0]}': {fault}\n")
        return 127
    code = await proc.fork(main, argv).exited
    seconds = (proc.system.now_ns() - begun_ns) / 1e9
    await proc.err(
        f"real\t{int(seconds // 60)}m {seconds % 60:.2f}s\nuser\t0m 0.00s\nsys\t0m 0.00s\n"
    )
    return code


async def pwd(proc: Proc, args: list[str]) -> int:
    """`pwd`."""
    del args
    await proc.out(f"{proc.cwd}\n")
    return 0


async def nothing(proc: Proc, args: list[str]) -> int:
    """A command without effect here."""
    del proc, args
    return 0


async def nohup(proc: Proc, args: list[str]) -> int:
    """`nohup command`."""
    proc.traps["HUP"] = None
    return await run(proc, tuple(args))


async def groups(proc: Proc, args: list[str]) -> int:
    """`groups`."""
    del args
    return await identity(proc, ["-Gn"])


async def getent(proc: Proc, args: list[str]) -> int:
    """`getent hosts name`, `getent passwd name`."""
    if len(args) < 2:
        return 1
    if args[0] in ("hosts", "ahosts"):
        from pytest_kubesim.cri.applets.names import resolve

        found = await resolve(proc, args[1])
        for address in found:
            await proc.out(f"{address:<15} {args[1]}  {args[1]}\n")
        return 0 if found else 2
    for entry in entries(proc, f"/etc/{args[0]}"):
        if args[1] in (entry[0], entry[2]):
            await proc.out(":".join(entry) + "\n")
            return 0
    return 2


APPLETS = {
    "sleep": sleep, "date": date, "env": env, "printenv": printenv, "hostname": hostname,
    "id": identity, "whoami": whoami, "uname": uname, "ps": ps, "timeout": timeout,
    "xargs": xargs, "which": which_, "nproc": nproc, "time": time, "pwd": pwd, "nohup": nohup,
    "groups": groups, "getent": getent, "clear": nothing,
}
