"""ls, stat, find, du, df, mount, basename, dirname: looking at files."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.cri.applets.files import name_of, place
from pytest_kubesim.cri.applets.options import Options, parse
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DEVICE, DIRECTORY, FIFO, FILE, LINK, SOCKET, Node, walk
from pytest_kubesim.cri.linux.mounts import READ, may

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


def _owner(proc: Proc, node: Node) -> tuple[str, str]:
    user = name_of(proc, "/etc/passwd", node.uid) or str(node.uid)
    group = name_of(proc, "/etc/group", node.gid) or str(node.gid)
    return user, group


async def ls(proc: Proc, args: list[str]) -> int:
    """`ls [-1AaCdFhiLlnRrStZ] files`."""
    given = await parse(
        proc, args, "1AaCdFghiklLnpRrStuxZ", {"all": "a", "almost-all": "A", "color": "C"}
    )
    status = 0
    singles: list[tuple[str, Node]] = []
    folders: list[tuple[str, Node]] = []
    for path in given.rest or ["."]:
        try:
            follow = not ("l" in given or "d" in given) or path.endswith("/")
            node = proc.node(path, follow=follow)
            if node.kind == LINK and "d" not in given:
                target = proc.node(path)
                node = target if target.kind == DIRECTORY and "l" not in given else node
        except Fault as fault:
            try:
                node = proc.node(path, follow=False)
            except Fault:
                status = await proc.complain(f"{path}: {fault}")
                continue
        is_folder = node.kind == DIRECTORY and "d" not in given
        (folders if is_folder else singles).append((path, node))
    await _list(proc, given, _sorted(given, singles))
    several = len(folders) + len(singles) > 1 or "R" in given
    first = not singles
    for path, node in folders:
        try:
            first = await _folder(proc, given, path, node, title=several, first=first)
        except Fault as fault:
            status = await proc.complain(f"can't open '{path}': {fault}")
    return status


async def _folder(
    proc: Proc, given: Options, path: str, node: Node, *, title: bool, first: bool
) -> bool:
    if not may(node, proc.who, READ):
        raise Fault("EACCES")
    if title:
        await proc.out(("" if first else "\n") + f"{path}:\n")
    listed = sorted(proc.system.mounts.listed(node).items())
    chosen = [(n, e) for n, e in listed if not n.startswith(".") or "a" in given or "A" in given]
    if "l" in given or "s" in given:
        await proc.out(f"total {sum(_blocks(e) for _, e in chosen) // 2}\n")
    if "a" in given:
        parent = place(proc, f"{path}/..").there()
        chosen = [(".", node), ("..", parent), *chosen]
    await _list(proc, given, _sorted(given, chosen), base=path)
    if "R" in given:
        for name, entry in listed:
            if entry.kind == DIRECTORY and not name.startswith("."):
                await _folder(proc, given, f"{path}/{name}", entry, title=True, first=False)
    return False


def _sorted(given: Options, found: list[tuple[str, Node]]) -> list[tuple[str, Node]]:
    if "t" in given:
        found = sorted(found, key=lambda entry: -entry[1].mtime_ns)
    elif "S" in given:
        found = sorted(found, key=lambda entry: -entry[1].size)
    else:
        found = sorted(found, key=lambda entry: entry[0]) if not _dotted(found) else found
    return found[::-1] if "r" in given else found


def _dotted(found: list[tuple[str, Node]]) -> bool:
    return bool(found) and found[0][0] == "."


def _blocks(node: Node) -> int:
    return (node.size + 4095) // 4096 * 8 if node.kind in (FILE, DIRECTORY) else 0


async def _list(
    proc: Proc, given: Options, found: list[tuple[str, Node]], base: str = ""
) -> None:
    rows: list[list[str]] = []
    lines: list[str] = []
    for name, node in found:
        shown = name
        if "F" in given or "p" in given:
            mark = {DIRECTORY: "/", LINK: "@" if "F" in given else "", FIFO: "|"}
            shown += mark.get(node.kind, "*" if node.mode & 0o111 and "F" in given else "")
        if "l" in given or "n" in given or "g" in given:
            user, group = _owner(proc, node)
            if "n" in given:
                user, group = str(node.uid), str(node.gid)
            if node.kind == LINK:
                shown = f"{shown} -> {node.target}"
            stamp = strftime("%b %e %H:%M", node.mtime_ns)
            rows.append([
                node.permissions, str(_links(node)), user, group, str(node.size), stamp, shown,
            ])
        else:
            lines.append(shown)
    if rows:
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        for row in rows:
            lines.append(
                f"{row[0]} {row[1]:>{max(4, widths[1])}} {row[2]:<{max(8, widths[2])}} "
                f"{row[3]:<{max(8, widths[3])}} {row[4]:>{max(9, widths[4])}} {row[5]} {row[6]}"
            )
    del base
    if lines:
        await proc.out("\n".join(lines) + "\n")


def _links(node: Node) -> int:
    if node.kind != DIRECTORY:
        return node.links
    return 2 + sum(entry.kind == DIRECTORY for entry in node.entries.values())


async def stat(proc: Proc, args: list[str]) -> int:
    """`stat [-L] [-c format] files`."""
    given = await parse(proc, args, "Lc:ft", {"format": "c", "printf": "c", "dereference": "L"})
    status = 0
    for path in given.rest:
        try:
            found = place(proc, path, follow="L" in given)
            node = found.there()
        except Fault as fault:
            status = await proc.complain(f"can't stat '{path}': {fault}")
            continue
        if "c" in given:
            await proc.out(_formatted(proc, path, node, given.get("c")) + "\n")
        elif "f" in given:
            kind = found.mount.filesystem.kind
            await proc.out(f'  File: "{path}"\n    ID: 0 Namelen: 255 Type: {kind}\n')
        else:
            await proc.out(_described(proc, path, node))
    return status


def _formatted(proc: Proc, path: str, node: Node, template: str) -> str:
    user, group = _owner(proc, node)
    is_link = node.kind == LINK
    kind = "regular empty file" if node.kind == FILE and not node.size else node.kind
    kind = "character special file" if node.kind == DEVICE else kind
    bits = {
        FILE: 0o100000, DIRECTORY: 0o40000, LINK: 0o120000, DEVICE: 0o20000, FIFO: 0o10000,
        SOCKET: 0o140000,
    }
    stamp = strftime("%Y-%m-%d %H:%M:%S", node.mtime_ns) + f".{node.mtime_ns % 10**9:09d} +0000"
    seconds = str(node.mtime_ns // 10**9)
    values = {
        "a": f"{node.mode:o}", "A": node.permissions, "b": str(_blocks(node)), "B": "512",
        "F": kind, "f": f"{bits[node.kind] | node.mode:x}", "g": str(node.gid), "G": group,
        "h": str(_links(node)), "n": path, "o": "4096", "s": str(node.size), "u": str(node.uid),
        "U": user, "x": stamp, "X": seconds, "y": stamp, "Y": seconds, "z": stamp, "Z": seconds,
        "N": f"'{path}' -> '{node.target}'" if is_link else path, "i": "1", "d": "1", "%": "%",
    }
    pieces: list[str] = []
    at = 0
    while at < len(template):
        char = template[at]
        following = template[at + 1 : at + 2]
        if char == "%" and following:
            pieces.append(values.get(following, "?"))
            at += 2
        else:
            pieces.append(char)
            at += 1
    return "".join(pieces)


def _described(proc: Proc, path: str, node: Node) -> str:
    text = _formatted(
        proc, path, node,
        "  File: %N\n  Size: %s\t\tBlocks: %b          IO Block: %o   %F\n"
        "Device: 1h/1d\tInode: %i           Links: %h\n"
        "Access: (0%a/%A)  Uid: (%u/%U)   Gid: (%g/%G)\n"
        "Access: %x\nModify: %y\nChange: %z\n",
    )
    return text.replace("(0", "(", 1) if node.mode > 0o777 else text


async def find(proc: Proc, args: list[str]) -> int:
    """`find paths [-name p] [-type t] [-maxdepth n] [-mindepth n] [-empty] [-print] [-delete]`."""
    paths: list[str] = []
    while args and not args[0].startswith(("-", "!", "(")):
        paths.append(args[0])
        args = args[1:]
    if args[:1] in (["-L"], ["-H"], ["-P"]):
        paths, args = args[1:2], args[2:]
    tests: list[tuple[str, str]] = []
    values = {"-name", "-iname", "-path", "-type", "-maxdepth", "-mindepth", "-user", "-perm"}
    at = 0
    while at < len(args):
        word = args[at]
        if word in values:
            tests.append((word, args[at + 1] if at + 1 < len(args) else ""))
            at += 2
        elif word in ("-print", "-empty", "-delete", "-print0", "!", "-not", "-o", "-follow"):
            tests.append((word, ""))
            at += 1
        else:
            return await proc.complain(f"unrecognized: {word}")
    status = 0
    for path in paths or ["."]:
        try:
            node = proc.node(path)
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
            continue
        await _search(proc, path, node, 0, tests)
    return status


async def _search(
    proc: Proc, path: str, node: Node, depth: int, tests: list[tuple[str, str]]
) -> None:
    limits = dict(tests)
    deepest = int(limits.get("-maxdepth", "999"))
    is_chosen = depth >= int(limits.get("-mindepth", "0")) and _chosen(path, node, tests)
    late = "-delete" in limits
    if is_chosen and not late:
        await proc.out(path + ("\0" if "-print0" in limits else "\n"))
    if node.kind == DIRECTORY and depth < deepest:
        for name, entry in sorted(proc.system.mounts.listed(node).items()):
            await _search(proc, f"{path.rstrip('/')}/{name}", entry, depth + 1, tests)
    if is_chosen and late:
        found = place(proc, path, follow=False)
        proc.system.mounts.remove(found, proc.who, is_directory=node.kind == DIRECTORY)


def _chosen(path: str, node: Node, tests: list[tuple[str, str]]) -> bool:
    name = path.rstrip("/").rsplit("/", 1)[-1] or path
    letters = {FILE: "f", DIRECTORY: "d", LINK: "l", DEVICE: "c", FIFO: "p", SOCKET: "s"}
    letter = letters[node.kind]
    negate, groups, current = False, [True], 0
    for test, value in tests:
        if test in ("!", "-not"):
            negate = not negate
            continue
        if test == "-o":
            groups.append(True)
            current += 1
            continue
        if test == "-name":
            holds = fnmatchcase(name, value)
        elif test == "-iname":
            holds = fnmatchcase(name.lower(), value.lower())
        elif test == "-path":
            holds = fnmatchcase(path, value)
        elif test == "-type":
            holds = letter == value
        elif test == "-empty":
            holds = not node.entries if node.kind == DIRECTORY else node.size == 0
        elif test == "-perm":
            holds = node.mode == int(value.lstrip("-/"), 8)
        else:
            continue
        groups[current] = groups[current] and holds != negate
        negate = False
    return any(groups)


async def du(proc: Proc, args: list[str]) -> int:
    """`du [-sh] files`."""
    given = await parse(proc, args, "shkmabd:")
    for path in given.rest or ["."]:
        try:
            node = proc.node(path)
        except Fault as fault:
            return await proc.complain(f"{path}: {fault}")
        total = sum(_blocks(entry) for _, entry in walk(node)) // 2
        await proc.out(f"{total}\t{path}\n")
    return 0


async def df(proc: Proc, args: list[str]) -> int:
    """`df [-hkmTP] paths`."""
    given = await parse(proc, args, "hkmTPia")
    mounts = proc.system.mounts
    try:
        chosen = [mounts.mount_at(path, proc.cwd) for path in given.rest] or mounts.all
    except Fault as fault:
        return await proc.complain(f"{given.rest[0]}: can't find mount point: {fault}")
    kind = "Type       " if "T" in given else ""
    unit = 1 << 20 if "m" in given else 1024
    blocks = "     Size" if "h" in given else "1M-blocks" if "m" in given else "1K-blocks"
    await proc.out(f"Filesystem           {kind}{blocks}      Used Available Use% Mounted on\n")
    for mount in chosen:
        system = mount.filesystem
        total, taken = system.whole_size or 100 << 30, system.used()
        share = -(-taken * 100 // total) if total else 0
        whole, used, free = (
            _human(size) if "h" in given else f"{size // unit:9d}"
            for size in (total, taken, total - taken)
        )
        kind = f"{system.kind:<10} " if "T" in given else ""
        await proc.out(
            f"{system.source:<20} {kind}{whole} {used} {free} {share:3d}% "
            f"{mount.path}\n"
        )
    return 0


def _human(size: int) -> str:
    """A size as `-h` shows it."""
    if size < 1024:
        return f"{size:9d}"
    value, letters = size / 1024, "KMGTP"
    while value >= 1024:
        value, letters = value / 1024, letters[1:]
    return f"{value:8.1f}{letters[0]}"


def mount_table(proc: Proc) -> str:
    """`/proc/mounts`."""
    return "".join(
        f"{m.filesystem.source} {m.path} {m.filesystem.kind} {'ro' if m.read_only else 'rw'},"
        "relatime 0 0\n"
        for m in proc.system.mounts.all
    )


async def mount(proc: Proc, args: list[str]) -> int:
    """`mount [-t type]`: what is mounted where."""
    given = await parse(proc, args, "t:o:arwfn")
    if given.rest:
        return await proc.complain("permission denied (are you root?)")
    for line in mount_table(proc).splitlines():
        source, path, kind, options, *_ = line.split()
        if "t" in given and kind != given.get("t"):
            continue
        await proc.out(f"{source} on {path} type {kind} ({options})\n")
    return 0


async def basename(proc: Proc, args: list[str]) -> int:
    """`basename path [suffix]`."""
    if not args:
        return await proc.complain("missing operand")
    name = args[0].rstrip("/").rsplit("/", 1)[-1] or "/"
    if len(args) > 1 and name != args[1]:
        name = name.removesuffix(args[1])
    await proc.out(f"{name}\n")
    return 0


async def dirname(proc: Proc, args: list[str]) -> int:
    """`dirname path`."""
    if not args:
        return await proc.complain("missing operand")
    path = args[0].rstrip("/")
    head, slash, _ = path.rpartition("/")
    await proc.out(f"{head.rstrip('/') or ('/' if slash or not path else '.')}\n")
    return 0


APPLETS = {
    "ls": ls, "stat": stat, "find": find, "du": du, "df": df, "mount": mount,
    "basename": basename, "dirname": dirname,
}
