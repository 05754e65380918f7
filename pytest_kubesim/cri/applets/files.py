"""cat, cp, mv, rm, mkdir, rmdir, ln, touch, chmod, chown, readlink, realpath, mktemp, tee, dd."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, FILE, LINK, Node

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.files import FileSystem, Handle
    from pytest_kubesim.cri.linux.mounts import Place
    from pytest_kubesim.cri.linux.process import Proc


async def cat(proc: Proc, args: list[str]) -> int:
    """`cat [-nu] files`."""
    given = await parse(proc, args, "nuevtAb")
    status, number = 0, 0
    for path in given.rest or ["-"]:
        try:
            if path == "-" and "n" not in given:
                while piece := await proc.read():
                    await proc.out(piece)
                continue
            data = await proc.contents(path)
        except Fault as fault:
            if fault.name == "EPIPE":
                raise
            verb = "read error" if fault.name == "EISDIR" else f"can't open '{path}'"
            status = await proc.complain(f"{verb}: {fault}")
            continue
        if "n" in given:
            for line in data.splitlines(keepends=True):
                number += 1
                await proc.out(f"{number:6d}\t".encode() + line)
        else:
            await proc.out(data)
    return status


def place(proc: Proc, path: str, *, follow: bool = True) -> Place:
    """Where a path leads."""
    return proc.system.mounts.walk(path, proc.cwd, proc.who, follow=follow)


def into(proc: Proc, source: str, target: str) -> str:
    """The path of a target that may be a directory."""
    try:
        if proc.node(target).kind == DIRECTORY:
            return f"{target.rstrip('/')}/{source.rstrip('/').rsplit('/', 1)[-1]}"
    except Fault:
        pass
    return target


async def cp(proc: Proc, args: list[str]) -> int:
    """`cp [-raLpf] sources target`."""
    given = await parse(proc, args, "raRLpfdPinsTuv", {"recursive": "r"})
    if len(given.rest) < 2:
        return await proc.complain("missing file operand")
    recursive = any(letter in given for letter in "raR")
    follow = not (("a" in given or "d" in given or "P" in given) and "L" not in given)
    *sources, target = given.rest
    if len(sources) > 1 and not _is_directory(proc, target):
        return await proc.complain(f"target '{target}' is not a directory")
    status = 0
    for source in sources:
        try:
            node = proc.node(source, follow=follow or not recursive)
        except Fault as fault:
            status = await proc.complain(f"can't stat '{source}': {fault}")
            continue
        if node.kind == DIRECTORY and not recursive:
            status = await proc.complain(f"omitting directory '{source}'")
            continue
        keep = "a" in given or "p" in given
        try:
            copy(proc, node, into(proc, source, target), keep=keep, follow=follow)
        except Fault as fault:
            status = await proc.complain(f"can't create '{into(proc, source, target)}': {fault}")
        else:
            if "v" in given:
                await proc.out(f"'{source}' -> '{into(proc, source, target)}'\n")
    return status


def _is_directory(proc: Proc, path: str) -> bool:
    try:
        return proc.node(path).kind == DIRECTORY
    except Fault:
        return False


def copy(proc: Proc, node: Node, target: str, *, keep: bool, follow: bool) -> None:
    """Copy a file or a tree.  Raises `Fault`."""
    mounts = proc.system.mounts
    where = place(proc, target)
    if node.kind == DIRECTORY:
        made = where.node
        if made is None:
            made = mounts.add(where, files.directory(node.mode & ~proc.umask | 0o700), proc.who)
        for name, entry in sorted(mounts.listed(node).items()):
            real = entry
            if entry.kind == LINK and follow:
                real = proc.system.mounts.lookup(entry.target, proc.cwd, proc.who)
            copy(proc, real, f"{target}/{name}", keep=keep, follow=follow)
    elif node.kind == LINK:
        if where.node is None:
            made = mounts.add(where, files.link(node.target), proc.who)
        else:
            made = where.node
    else:
        mode = node.mode if keep else node.mode & ~proc.umask
        fresh = where.node is None
        made = mounts.open(target, proc.cwd, proc.who, "w", mode=mode)
        if made.kind == FILE and isinstance(made.content, bytearray):
            made.content += node.read()
        if fresh:
            made.mode = mode
    if keep:
        made.mode, made.mtime_ns = node.mode, node.mtime_ns
        if proc.who.uid == 0:
            made.uid, made.gid = node.uid, node.gid


async def mv(proc: Proc, args: list[str]) -> int:
    """`mv [-fnT] sources target`."""
    given = await parse(proc, args, "finTv")
    if len(given.rest) < 2:
        return await proc.complain("missing file operand")
    *sources, target = given.rest
    status = 0
    for source in sources:
        path = target if "T" in given else into(proc, source, target)
        try:
            old = place(proc, source, follow=False)
            old.there()
            new = place(proc, path, follow=False)
            if "n" in given and new.node is not None:
                continue
            try:
                proc.system.mounts.rename(old, new, proc.who)
            except Fault as fault:
                if fault.name != "EXDEV":
                    raise
                copy(proc, old.there(), path, keep=True, follow=False)
                remove(proc, source)
        except Fault as fault:
            status = await proc.complain(f"can't rename '{source}': {fault}")
        else:
            if "v" in given:
                await proc.out(f"'{source}' -> '{path}'\n")
    return status


def remove(proc: Proc, path: str) -> None:
    """Remove a file or a tree.  Raises `Fault`."""
    found = place(proc, path, follow=False)
    node = found.there()
    if node.kind == DIRECTORY:
        for name in sorted(proc.system.mounts.listed(node)):
            remove(proc, f"{path.rstrip('/')}/{name}")
    proc.system.mounts.remove(found, proc.who, is_directory=node.kind == DIRECTORY)


async def rm(proc: Proc, args: list[str]) -> int:
    """`rm [-rf] files`."""
    given = await parse(proc, args, "rfRiv", {"recursive": "r", "force": "f"})
    recursive, force = "r" in given or "R" in given, "f" in given
    status = 0
    for path in given.rest:
        if path.rstrip("/").rsplit("/", 1)[-1] in (".", ".."):
            status = await proc.complain(f"can't remove '{path}': Invalid argument")
            continue
        try:
            node = proc.node(path, follow=False)
            if node.kind == DIRECTORY and not recursive:
                status = await proc.complain(f"'{path}' is a directory")
                continue
            remove(proc, path)
        except Fault as fault:
            if not (force and fault.name in ("ENOENT", "ENOTDIR")):
                status = await proc.complain(f"can't remove '{path}': {fault}")
    return status


async def mkdir(proc: Proc, args: list[str]) -> int:
    """`mkdir [-p] [-m mode] directories`."""
    given = await parse(proc, args, "pm:v", {"parents": "p", "mode": "m"})
    status = 0
    for path in given.rest:
        try:
            make_directory(proc, path, parents="p" in given)
            if "m" in given:
                node = proc.node(path)
                node.mode = changed_mode(node, given.get("m"), proc.umask)
        except Fault as fault:
            status = await proc.complain(f"can't create directory '{path}': {fault}")
    return status


def make_directory(proc: Proc, path: str, *, parents: bool = False) -> None:
    """Make a directory, with those above it.  Raises `Fault`."""
    mounts = proc.system.mounts
    parts = [part for part in path.split("/") if part]
    start = "/" if path.startswith("/") else ""
    for count in range(1 if parents else len(parts), len(parts) + 1):
        found = place(proc, start + "/".join(parts[:count]))
        if found.node is not None:
            if not parents:
                raise Fault("EEXIST")
            if found.node.kind != DIRECTORY:
                raise Fault("ENOTDIR" if count < len(parts) else "EEXIST")
            continue
        mounts.add(found, files.directory(0o777 & ~proc.umask), proc.who)


async def rmdir(proc: Proc, args: list[str]) -> int:
    """`rmdir directories`."""
    given = await parse(proc, args, "p")
    status = 0
    for path in given.rest:
        try:
            found = place(proc, path, follow=False)
            proc.system.mounts.remove(found, proc.who, is_directory=True)
        except Fault as fault:
            status = await proc.complain(f"'{path}': {fault}")
    return status


async def ln(proc: Proc, args: list[str]) -> int:
    """`ln [-sfnT] target link`."""
    given = await parse(proc, args, "sfnTv", {"symbolic": "s", "force": "f"})
    if not given.rest:
        return await proc.complain("missing file operand")
    targets = given.rest[:-1] or given.rest
    last = given.rest[-1] if len(given.rest) > 1 else "."
    status, mounts = 0, proc.system.mounts
    for target in targets:
        path = last if "n" in given or "T" in given else into(proc, target, last)
        try:
            where = place(proc, path, follow=False)
            if where.node is not None and "f" in given:
                mounts.remove(where, proc.who)
                where = place(proc, path, follow=False)
            if "s" in given:
                mounts.add(where, files.link(target), proc.who)
            else:
                node = proc.node(target)
                mounts.check_writable(where, proc.who)
                if where.node is not None:
                    raise Fault("EEXIST")
                node.links += 1
                where.parent.entries[where.name] = node
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
    return status


async def touch(proc: Proc, args: list[str]) -> int:
    """`touch [-c] [-d date] files`."""
    given = await parse(proc, args, "cd:r:t:amh")
    status = 0
    for path in given.rest:
        try:
            found = place(proc, path)
            if found.node is None:
                if "c" not in given:
                    proc.save(path, b"", append=True)
            elif found.mount.read_only:
                raise Fault("EROFS")
            else:
                found.node.mtime_ns = proc.system.now_ns()
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
    return status


def changed_mode(node: Node, text: str, umask: int) -> int:
    """The mode after `chmod text`.  Raises `ValueError`."""
    if re.fullmatch(r"[0-7]+", text):
        return int(text, 8) & 0o7777
    mode = node.mode
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)([-+=])([rwxXst]*)", clause)
        if match is None:
            raise ValueError(text)
        who, operator, letters = match.groups()
        bits = 0
        for letter in letters:
            bits |= {"r": 4, "w": 2, "x": 1}.get(letter, 0)
            if letter == "X" and (node.kind == DIRECTORY or mode & 0o111):
                bits |= 1
        mask, special = 0, 0
        for person in who or "ugo":
            for one in "ugo" if person == "a" else person:
                mask |= bits << {"u": 6, "g": 3, "o": 0}[one]
                if "s" in letters and one in "ug":
                    special |= 0o4000 if one == "u" else 0o2000
        special |= 0o1000 if "t" in letters else 0
        if not who:
            mask &= ~umask
        cleared = 0
        for person in who or "ugo":
            for one in "ugo" if person == "a" else person:
                cleared |= 7 << {"u": 6, "g": 3, "o": 0}[one]
        if operator == "+":
            mode |= mask | special
        elif operator == "-":
            mode &= ~(mask | special)
        else:
            mode = mode & ~cleared | mask | special
    return mode


async def chmod(proc: Proc, args: list[str]) -> int:
    """`chmod [-R] mode files`."""
    recursive = False
    while args and args[0] in ("-R", "-v", "-f", "-c"):
        recursive = recursive or args[0] == "-R"
        args = args[1:]
    if len(args) < 2:
        return await proc.complain("usage: chmod [-R] MODE[,MODE]... FILE...")
    status = 0
    for path in args[1:]:
        try:
            found = place(proc, path)
            nodes = [found.there()]
            if found.mount.read_only:
                raise Fault("EROFS")
            if recursive:
                nodes = [node for _, node in files.walk(found.there())]
            for node in nodes:
                if proc.who.uid not in (0, node.uid):
                    raise Fault("EPERM")
                node.mode = changed_mode(node, args[0], proc.umask)
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
        except ValueError:
            return await proc.complain(f"invalid mode '{args[0]}'")
    return status


async def chown(proc: Proc, args: list[str]) -> int:
    """`chown [-R] owner[:group] files`, and `chgrp`."""
    recursive = args[:1] == ["-R"]
    rest = [word for word in args if not word.startswith("-")]
    owner, _, group = rest[0].partition(":")
    if proc.name == "chgrp":
        owner, group = "", rest[0]
    status = 0
    for path in rest[1:]:
        try:
            found = place(proc, path)
            if proc.who.uid != 0:
                raise Fault("EPERM")
            if found.mount.read_only:
                raise Fault("EROFS")
            nodes = [found.there()]
            if recursive:
                nodes = [node for _, node in files.walk(found.there())]
            for node in nodes:
                if owner:
                    node.uid = number_of(proc, "/etc/passwd", owner)
                if group:
                    node.gid = number_of(proc, "/etc/group", group)
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
        except ValueError as error:
            return await proc.complain(str(error))
    return status


def entries(proc: Proc, path: str) -> list[list[str]]:
    """The lines of `/etc/passwd` or `/etc/group`, split."""
    try:
        text = proc.system.mounts.lookup(path).read().decode(errors="replace")
    except Fault:
        return []
    return [line.split(":") for line in text.splitlines() if ":" in line]


def number_of(proc: Proc, path: str, name: str) -> int:
    """The id of a user or group.  Raises `ValueError`."""
    if name.isdigit():
        return int(name)
    for entry in entries(proc, path):
        if entry[0] == name:
            return int(entry[2])
    raise ValueError(f"unknown {'user' if 'passwd' in path else 'group'} {name}")


def name_of(proc: Proc, path: str, number: int) -> str:
    """The name of an id, empty where it has none."""
    for entry in entries(proc, path):
        if len(entry) > 2 and entry[2] == str(number):
            return entry[0]
    return ""


async def readlink(proc: Proc, args: list[str]) -> int:
    """`readlink [-f] file`."""
    given = await parse(proc, args, "fnv")
    end = "" if "n" in given else "\n"
    for path in given.rest:
        try:
            if "f" in given:
                await proc.out(place(proc, path).path + end)
            else:
                node = proc.node(path, follow=False)
                if node.kind != LINK:
                    return 1
                await proc.out(node.target + end)
        except Fault:
            return 1
    return 0


async def realpath(proc: Proc, args: list[str]) -> int:
    """`realpath files`."""
    status = 0
    for path in args:
        try:
            found = place(proc, path)
            found.there()
            await proc.out(f"{found.path}\n")
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
    return status


async def mktemp(proc: Proc, args: list[str]) -> int:
    """`mktemp [-d] [template]`."""
    given = await parse(proc, args, "dp:tqu")
    folder = given.get("p") or proc.env.get("TMPDIR") or "/tmp"  # noqa: S108 - a simulated one
    template = given.rest[0] if given.rest else f"{folder}/tmp.XXXXXX"  # noqa: S108
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    drawn = "".join(letters[byte % len(letters)] for byte in proc.system.random(6))
    path = template.replace("XXXXXX", drawn)
    try:
        if "d" in given:
            make_directory(proc, path)
            proc.node(path).mode = 0o700
        else:
            proc.save(path, b"")
            proc.node(path).mode = 0o600
    except Fault as fault:
        return await proc.complain(f"{path}: {fault}")
    await proc.out(f"{path}\n")
    return 0


async def tee(proc: Proc, args: list[str]) -> int:
    """`tee [-a] files`."""
    given = await parse(proc, args, "ai")
    status = 0
    handles: list[Handle] = []
    for path in given.rest:
        try:
            handles.append(proc.open(path, "a" if "a" in given else "w"))
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
    while piece := await proc.read():
        await proc.out(piece)
        for handle in handles:
            await handle.write(piece)
    return status


_UNITS = {"": 1, "c": 1, "w": 2, "b": 512, "k": 1024, "K": 1024, "M": 1 << 20, "G": 1 << 30}


def size_of(text: str) -> int:
    """A number with a unit of `dd`, `head`, `truncate`.  Raises `ValueError`."""
    match = re.fullmatch(r"(\d+)([cwbkKMG]?)B?", text)
    if match is None:
        raise ValueError(text)
    return int(match.group(1)) * _UNITS[match.group(2)]


async def dd(proc: Proc, args: list[str]) -> int:
    """`dd if= of= bs= count= skip= seek= conv=notrunc`."""
    given = dict(word.split("=", 1) for word in args if "=" in word)
    try:
        block = size_of(given.get("bs", "512"))
        count = size_of(given["count"]) if "count" in given else None
        skip, seek = size_of(given.get("skip", "0")), size_of(given.get("seek", "0"))
    except ValueError as error:
        return await proc.complain(f"invalid number '{error}'")
    source = given.get("if")
    try:
        handle = proc.open(source) if source else proc.handle(0)
    except Fault as fault:
        return await proc.complain(f"can't open '{source}': {fault}")
    data = bytearray()
    wanted = None if count is None else (count + skip) * block
    while wanted is None or len(data) < wanted:
        size = 65_536 if wanted is None else min(65_536, wanted - len(data))
        piece = await handle.read(size)
        if not piece:
            break
        data += piece
    body = bytes(data[skip * block :])
    target = given.get("of")
    status, written = 0, len(body)
    try:
        if target:
            written = await _dd_write(proc, target, body, seek * block, given.get("conv", ""))
            if written < len(body):
                raise Fault("ENOSPC")
        else:
            await proc.out(body)
    except Fault as fault:
        if fault.name != "ENOSPC":
            return await proc.complain(f"can't open '{target}': {fault}")
        await proc.complain(f"error writing '{target}': {fault}")
        status = 1
    came, went = divmod(len(body), block), divmod(written, block)
    text = "".join(
        f"{full}+{1 if part else 0} records {way}\n"
        for (full, part), way in ((came, "in"), (went, "out"))
    )
    await proc.err(f"{text}{written} bytes ({_human(written)}) copied, 0.000 seconds\n")
    return status


def _human(size: int) -> str:
    value, number = float(size), 0
    while value >= 1024:
        value, number = value / 1024, number + 1
    return f"{value:.1f}{'BKMGT'[number]}"


async def _dd_write(proc: Proc, target: str, body: bytes, at: int, conversion: str) -> int:
    """Write; how many bytes there was room for.  Raises `Fault`."""
    handle = proc.open(target, "w" if "notrunc" not in conversion and not at else "a")
    node = getattr(handle, "node", None)
    if node is None:
        await handle.write(body)
        return len(body)
    content: bytearray = node.content
    filesystem: FileSystem | None = getattr(handle, "filesystem", None)
    more = at + len(body) - len(content)
    if filesystem is not None and more > 0:
        body = body[: max(0, len(body) - more + filesystem.grant(more))]
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(body)] = body
    node.mtime_ns = proc.system.now_ns()
    return len(body)


async def truncate(proc: Proc, args: list[str]) -> int:
    """`truncate -s size files`."""
    given = await parse(proc, args, "cs:")
    size = size_of(given.get("s", "0"))
    for path in given.rest:
        try:
            node = proc.system.mounts.open(path, proc.cwd, proc.who, "a")
        except Fault as fault:
            return await proc.complain(f"{path}: {fault}")
        content = node.content
        if isinstance(content, bytearray):
            content[size:] = b""
            content.extend(bytes(size - len(content)))
    return 0


async def sync(proc: Proc, args: list[str]) -> int:
    """Everything is on disk already."""
    del proc, args
    return 0


APPLETS = {
    "cat": cat, "cp": cp, "mv": mv, "rm": rm, "mkdir": mkdir, "rmdir": rmdir, "ln": ln,
    "touch": touch, "chmod": chmod, "chown": chown, "chgrp": chown, "readlink": readlink,
    "realpath": realpath, "mktemp": mktemp, "tee": tee, "dd": dd, "truncate": truncate,
    "sync": sync,
}
