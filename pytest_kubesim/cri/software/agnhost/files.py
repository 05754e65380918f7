"""mounttest: what it finds of mounted files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, mode_string
from pytest_kubesim.cri.linux.process import decode
from pytest_kubesim.cri.software.agnhost.flags import go_quote, parse

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.files import Node
    from pytest_kubesim.cri.linux.process import Proc

NEW_CONTENT = "mount-tester new file\n"
_MAGIC = {"overlay": "2035054128", "ext4": "61267", "proc": "40864"}
_FLAGS = {
    "fs_type": "", "file_mode": "", "file_perm": "", "file_owner": "", "new_file_0644": "",
    "new_file_0666": "", "new_file_0660": "", "new_file_0777": "", "file_content": "",
    "file_content_in_loop": "", "retry_time": "180", "break_on_expected_content": "true",
}


async def mounttest(proc: Proc, args: list[str]) -> int:
    """`mounttest`: the steps in the order of upstream's program."""
    flags = await parse(proc, args, _FLAGS, ("break_on_expected_content",))
    proc.umask = 0
    failed = False
    if path := flags["fs_type"]:
        failed |= await _fs_type(proc, path)
    for mode in (0o644, 0o666, 0o660, 0o777):
        if path := flags[f"new_file_{mode:04o}"]:
            failed |= await _new_file(proc, path, mode)
    for name, word in (("file_mode", "mode"), ("file_perm", "perms"), ("file_owner", "")):
        if path := flags[name]:
            failed |= await _look(proc, path, word)
    if path := flags["file_content"]:
        failed |= await _content(proc, path)
    if path := flags["file_content_in_loop"]:
        failed |= await _loop(
            proc, path, flags.number("retry_time"), flags.truth("break_on_expected_content")
        )
    return int(failed)


async def _fs_type(proc: Proc, path: str) -> bool:
    try:
        kind = proc.system.mounts.mount_at(path, proc.cwd).filesystem.kind
    except Fault as fault:
        await proc.out(f"error from statfs({go_quote(path)}): {str(fault).lower()}\n")
        return True
    await proc.out(f"mount type of {go_quote(path)}: {_MAGIC.get(kind, kind)}\n")
    return False


async def _new_file(proc: Proc, path: str, mode: int) -> bool:
    try:
        handle = proc.open(path, "w", mode=mode)
        await handle.write(NEW_CONTENT.encode())
    except Fault as fault:
        problem = f"open {path}: {str(fault).lower()}"
        await proc.out(f"error writing new file {go_quote(path)}: {problem}\n")
        return True
    return await _content(proc, path)


async def _content(proc: Proc, path: str) -> bool:
    try:
        data = await proc.contents(path)
    except Fault as fault:
        problem = f"open {path}: {str(fault).lower()}"
        await proc.out(f"error reading file content for {go_quote(path)}: {problem}\n")
        return True
    await proc.out(f"content of file {go_quote(path)}: {decode(data)}\n")
    return False


def go_mode(node: Node) -> str:
    """A mode as Go prints it."""
    text = "d" if node.kind == DIRECTORY else ""
    text += "u" if node.mode & 0o4000 else ""
    text += "g" if node.mode & 0o2000 else ""
    text += "t" if node.mode & 0o1000 else ""
    return (text or "-") + mode_string(node.mode & 0o777)


async def _look(proc: Proc, path: str, word: str) -> bool:
    try:
        node = proc.node(path)
    except Fault as fault:
        call = "Stat" if word else "stat"
        problem = f"stat {path}: {str(fault).lower()}"
        await proc.out(f"error from {call}({go_quote(path)}): {problem}\n")
        return True
    if word == "mode":
        await proc.out(f"mode of file {go_quote(path)}: {go_mode(node)}\n")
    elif word == "perms":
        await proc.out(f"perms of file {go_quote(path)}: -{mode_string(node.mode & 0o777)}\n")
    else:
        await proc.out(f"owner UID of {go_quote(path)}: {node.uid}\n")
        await proc.out(f"owner GID of {go_quote(path)}: {node.gid}\n")
    return False


async def _loop(proc: Proc, path: str, seconds: int, stop: bool) -> bool:
    end_ns = proc.system.now_ns() + seconds * 1_000_000_000
    failed = False
    while proc.system.now_ns() < end_ns:
        try:
            text = decode(await proc.contents(path))
            failed = False
        except Fault as fault:
            failed = True
            problem = f"open {path}: {str(fault).lower()}"
            await proc.out(f"Error reading file {path}: {problem}, retrying\n")
        else:
            await proc.out(f"content of file {go_quote(path)}: {text}\n")
            if stop:
                if text == NEW_CONTENT:
                    break
                await proc.out(f"Unexpected content. Expected: {NEW_CONTENT}. Retrying\n")
        await proc.system.sleep(2_000_000_000)
    return failed


COMMANDS = {"mounttest": mounttest}
