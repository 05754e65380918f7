"""paste, comm, fold, shuf, install, flock, watch and others that scripts seldom need.

Follows busybox 1.37, `coreutils/{paste,comm,fold,shuf,install,tty,usleep}.c`,
`util-linux/{flock,setsid}.c`, `procps/watch.c`.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.files import changed_mode, copy, into, make_directory
from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.applets.printing import unescape
from pytest_kubesim.cri.applets.system import run
from pytest_kubesim.cri.applets.text import inputs, lines_of
from pytest_kubesim.cri.linux.errors import Fault

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

FLOCK_NS = 100_000_000
"""How often a lock that is held is tried again."""


async def paste(proc: Proc, args: list[str]) -> int:
    """`paste [-s] [-d separators] files`."""
    given = await parse(proc, args, "sd:")
    texts, status = await inputs(proc, given.rest)
    marks = unescape(given.get("d", "\t"))[0].decode() or "\t"
    columns = [lines_of(text) for _, text in texts]
    rows = columns if "s" in given else zip_longest(*columns, fillvalue="")
    for row in rows:
        line = "".join(
            f"{marks[(at - 1) % len(marks)]}{piece}" if at else piece
            for at, piece in enumerate(row)
        )
        await proc.out(f"{line}\n")
    return status


async def comm(proc: Proc, args: list[str]) -> int:
    """`comm [-123] a b`: what sorted files have in common."""
    given = await parse(proc, args, "123")
    if len(given.rest) != 2:
        return await proc.complain("usage: comm [-123] FILE1 FILE2")
    texts, status = await inputs(proc, given.rest)
    if status:
        return status
    left, right = (lines_of(text) for _, text in texts)
    while left or right:
        if not right or (left and left[0] < right[0]):
            column, line = 1, left.pop(0)
        elif not left or right[0] < left[0]:
            column, line = 2, right.pop(0)
        else:
            column, line = 3, left.pop(0)
            right.pop(0)
        if str(column) not in given:
            indent = sum(str(n) not in given for n in range(1, column))
            await proc.out("\t" * indent + f"{line}\n")
    return 0


async def fold(proc: Proc, args: list[str]) -> int:
    """`fold [-s] [-w width] files`."""
    given = await parse(proc, args, "bsw:")
    width = int(given.get("w", "80"))
    texts, status = await inputs(proc, given.rest)
    for line in [line for _, text in texts for line in lines_of(text)]:
        rest = line
        while len(rest) > width:
            cut = rest.rfind(" ", 0, width) + 1 if "s" in given else width
            cut = cut or width
            await proc.out(f"{rest[:cut]}\n")
            rest = rest[cut:]
        await proc.out(f"{rest}\n")
    return status


async def shuf(proc: Proc, args: list[str]) -> int:
    """`shuf [-e words] [-i low-high] [-n count] file`."""
    given = await parse(proc, args, "ei:n:zr")
    status = 0
    if "e" in given:
        lines = given.rest
    elif "i" in given:
        low, _, high = given.get("i").partition("-")
        lines = [str(number) for number in range(int(low), int(high) + 1)]
    else:
        texts, status = await inputs(proc, given.rest)
        lines = [line for _, text in texts for line in lines_of(text)]
    keyed = sorted((proc.system.random(8), line) for line in lines)
    count = int(given.get("n", str(len(keyed))))
    await proc.out("".join(f"{line}\n" for _, line in keyed[:count]))
    return status


async def expand(proc: Proc, args: list[str]) -> int:
    """`expand [-t width] files`."""
    given = await parse(proc, args, "it:")
    texts, status = await inputs(proc, given.rest)
    for _, text in texts:
        await proc.out(text.expandtabs(int(given.get("t", "8"))))
    return status


async def pager(proc: Proc, args: list[str]) -> int:
    """`less`, `more`: all of it, for nobody turns pages."""
    texts, status = await inputs(proc, [word for word in args if not word.startswith("-")])
    for _, text in texts:
        await proc.out(text)
    return status


async def install(proc: Proc, args: list[str]) -> int:
    """`install [-D] [-m mode] sources target`, `install -d directories`."""
    given = await parse(proc, args, "cdDpsm:o:g:t:")
    mode = given.get("m", "755")
    try:
        if "d" in given:
            for path in given.rest:
                make_directory(proc, path, parents=True)
                proc.node(path).mode = changed_mode(proc.node(path), mode, 0)
            return 0
        *sources, target = [*given.rest, *given.all("t")[-1:]]
        if "D" in given and "/" in target:
            make_directory(proc, target.rpartition("/")[0] or "/", parents=True)
        for source in sources:
            there = into(proc, source, target)
            copy(proc, proc.node(source), there, keep="p" in given, follow=True)
            proc.node(there).mode = changed_mode(proc.node(there), mode, 0)
    except Fault as fault:
        return await proc.complain(f"can't install '{given.rest[0]}': {fault}")
    return 0


async def flock(proc: Proc, args: list[str]) -> int:
    """`flock [-nsxu] [-w seconds] file command`; a descriptor is locked at once."""
    given = await parse(
        proc, args, "sxnuw:E:c:",
        {"nonblock": "n", "exclusive": "x", "shared": "s", "unlock": "u", "timeout": "w",
         "wait": "w", "nb": "n"}, stop=True,
    )
    path, *command = given.rest or [""]
    if path.isdigit() and not command:
        return 0
    if command[:1] == ["-c"]:
        command = ["sh", "-c", *command[1:]]
    try:
        proc.save(path, b"", append=True)
        key = id(proc.node(path))
    except Fault as fault:
        return await proc.complain(f"can't open '{path}': {fault}")
    held, patience = proc.system.locks, given.get("w")
    until_ns = proc.system.now_ns() + int(float(patience) * 1e9) if patience else None
    while key in held and "s" not in given:
        if "n" in given or (until_ns is not None and proc.system.now_ns() >= until_ns):
            return int(given.get("E", "1"))
        await proc.system.sleep(FLOCK_NS)
    held.add(key)
    try:
        return await run(proc, tuple(command))
    finally:
        held.discard(key)


async def command_only(proc: Proc, args: list[str]) -> int:
    """`setsid command`, `nice -n 5 command`, `ionice -c 3 command`, `stdbuf -oL command`."""
    given = await parse(proc, args, "cfwn:p:i:o:e:", stop=True)
    rest = given.rest
    if proc.name == "ionice" and rest and rest[0].isdigit():
        rest = rest[1:]
    return await run(proc, tuple(rest)) if rest else 0


async def watch(proc: Proc, args: list[str]) -> int:
    """`watch [-n seconds] [-t] command`: again and again, for ever."""
    given = await parse(proc, args, "n:tde", stop=True)
    period_ns = int(float(given.get("n", "2")) * 1e9)
    command = " ".join(given.rest)
    while True:
        if "t" not in given:
            await proc.out(f"Every {given.get('n', '2')}.0s: {command}\n\n")
        main, argv = proc.program(("sh", "-c", command))
        await proc.fork(main, argv).exited
        await proc.system.sleep(period_ns)


async def tty(proc: Proc, args: list[str]) -> int:
    """`tty [-s]`."""
    del args
    if getattr(proc.handle(0), "leader", None) is None:
        await proc.out("not a tty\n")
        return 1
    await proc.out("/dev/pts/0\n")
    return 0


async def arch(proc: Proc, args: list[str]) -> int:
    """`arch`."""
    del args
    await proc.out("x86_64\n")
    return 0


async def usleep(proc: Proc, args: list[str]) -> int:
    """`usleep microseconds`."""
    await proc.system.sleep(int(args[0]) * 1000 if args and args[0].isdigit() else 0)
    return 0


APPLETS = {
    "paste": paste, "comm": comm, "fold": fold, "shuf": shuf, "expand": expand, "less": pager,
    "more": pager, "install": install, "flock": flock, "setsid": command_only,
    "nice": command_only, "ionice": command_only, "stdbuf": command_only, "watch": watch,
    "tty": tty, "arch": arch, "usleep": usleep,
}
