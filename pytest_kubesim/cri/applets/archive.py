"""tar: what `kubectl cp` speaks."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.files import make_directory, place, remove
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, FILE, LINK, Node

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


async def tar(proc: Proc, args: list[str]) -> int:
    """`tar c|x|t [-f file] [-C directory] [-z] [-m] files`."""
    if args and not args[0].startswith("-"):
        args = ["-" + args[0], *args[1:]]
    flags, paths, target, folder = _read(args)
    base = proc.cwd
    if folder:
        try:
            found = place(proc, folder)
            if found.there().kind != DIRECTORY:
                raise Fault("ENOTDIR")
        except Fault as fault:
            return await proc.complain(f"can't change directory to '{folder}': {fault}")
        base = found.path if found.name else "/"
    stream = target in ("", "-")
    if "c" in flags:
        return await _create(proc, flags, paths, "" if stream else target, base)
    try:
        data = await proc.contents("-" if stream else target)
    except Fault as fault:
        return await proc.complain(f"can't open '{target}': {fault}")
    return await _extract(proc, flags, paths, data, base)


def _read(args: list[str]) -> tuple[set[str], list[str], str, str]:
    flags: set[str] = set()
    paths: list[str] = []
    target, folder, at = "", "", 0
    while at < len(args):
        word = args[at]
        at += 1
        if word == "--":
            paths += args[at:]
            break
        if word.startswith("--"):
            if word == "--directory" and at < len(args):
                folder, at = args[at], at + 1
            continue
        if not word.startswith("-") or word == "-":
            paths.append(word)
            continue
        for letter in word[1:]:
            if letter in "fC" and at < len(args):
                if letter == "f":
                    target = args[at]
                else:
                    folder = args[at]
                at += 1
            else:
                flags.add(letter)
    return flags, paths, target, folder


async def _create(
    proc: Proc, flags: set[str], paths: list[str], target: str, base: str
) -> int:
    buffer = io.BytesIO()
    status = 0
    mode = "w:gz" if "z" in flags else "w"
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as archive:
        for path in paths:
            try:
                node = proc.system.mounts.lookup(path, base, proc.who, follow="h" in flags)
            except Fault as fault:
                status = await proc.complain(f"{path}: {fault}")
                continue
            if path.startswith("/"):
                await proc.err(f"{proc.name}: removing leading '/' from member names\n")
            _add(proc, archive, path.lstrip("/"), node)
    data = buffer.getvalue()
    if target:
        proc.save(target, data)
    else:
        await proc.out(data)
    return status and await proc.complain("error exit delayed from previous errors")


def _add(proc: Proc, archive: tarfile.TarFile, path: str, node: Node) -> None:
    info = tarfile.TarInfo(path or ".")
    info.mode, info.uid, info.gid = node.mode, node.uid, node.gid
    info.mtime = node.mtime_ns // 10**9
    if node.kind == DIRECTORY:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
        for name, entry in sorted(proc.system.mounts.listed(node).items()):
            _add(proc, archive, f"{path}/{name}" if path else name, entry)
    elif node.kind == LINK:
        info.type, info.linkname = tarfile.SYMTYPE, node.target
        archive.addfile(info)
    elif node.kind == FILE:
        data = node.read()
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


async def _extract(
    proc: Proc, flags: set[str], paths: list[str], data: bytes, base: str
) -> int:
    cwd, proc.cwd = proc.cwd, base
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            return await _unpack(proc, flags, paths, archive)
    except tarfile.TarError:
        return await proc.complain("invalid tar magic" if data else "short read")
    finally:
        proc.cwd = cwd


async def _unpack(
    proc: Proc, flags: set[str], paths: list[str], archive: tarfile.TarFile
) -> int:
    for member in archive:
        name = member.name.lstrip("/")
        if paths and not any(name == p or name.startswith(f"{p}/") for p in paths):
            continue
        if "t" in flags:
            await proc.out(f"{name}{'/' if member.isdir() else ''}\n")
            continue
        body = archive.extractfile(member) if member.isfile() else None
        try:
            _make(proc, member, name, body.read() if body is not None else b"")
        except Fault as fault:
            return await proc.complain(f"can't open '{name}': {fault}")
        if "v" in flags:
            await proc.out(f"{name}\n")
    return 0


def _make(proc: Proc, member: tarfile.TarInfo, name: str, body: bytes) -> None:
    mounts = proc.system.mounts
    parent = name.rstrip("/").rpartition("/")[0]
    if parent:
        make_directory(proc, parent, parents=True)
    if member.isdir():
        make_directory(proc, name, parents=True)
        if name not in (".", ""):
            proc.node(name).mode = member.mode
        return
    found = place(proc, name, follow=False)
    if found.node is not None:
        remove(proc, name)
        found = place(proc, name, follow=False)
    if member.issym():
        mounts.add(found, files.link(member.linkname), proc.who)
        return
    made = mounts.add(found, files.regular(body, member.mode), proc.who)
    if proc.who.uid == 0:
        made.uid, made.gid = member.uid, member.gid


APPLETS = {"tar": tar}
