"""The files of images, and what a software family is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import attrs

from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.files import FileSystem, Node
from pytest_kubesim.cri.linux.process import DEFAULT_PATH, MAGIC

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Main, Proc

Applet: TypeAlias = "Callable[[Proc, list[str]], Awaitable[int]]"

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "bin:x:2:2:bin:/bin:/bin/false\n"
    "sys:x:3:3:sys:/dev:/bin/false\n"
    "sync:x:4:100:sync:/bin:/bin/sync\n"
    "mail:x:8:8:mail:/var/spool/mail:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\n"
    "operator:x:37:37:Operator:/var:/bin/false\n"
    "nobody:x:65534:65534:nobody:/home:/bin/false\n"
)
GROUP = (
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nwheel:x:10:root\n"
    "mail:x:8:\nwww-data:x:33:\nusers:x:100:\nnobody:x:65534:\n"
)


@attrs.frozen(slots=True, kw_only=True)
class Software:
    """What is in an image.

    `entrypoint` and `command` as in the image's configuration; `programs` by their name in
    executables; `paths`, where executables are, by their path; `texts`, other files; `dormant`:
    started without arguments it sleeps until somebody connects to one of `ports`.
    """

    name: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict[str, str])
    working_dir: str = "/"
    user: int = 0
    programs: Mapping[str, Main] = attrs.field(factory=dict[str, "Main"])
    paths: Mapping[str, str] = attrs.field(factory=dict[str, str])
    texts: Mapping[str, str] = attrs.field(factory=dict[str, str])
    modes: Mapping[str, int] = attrs.field(factory=dict[str, int])
    folders: tuple[str, ...] = ()
    wakened_by: tuple[str, ...] = ()
    """Where a mount, or a root that is read-only or another's, says how it starts: it does so at
    once then.  With a slash at the end: there and below; every pod has a mount below `/var/run`."""
    dormant: bool = False
    sigterm: int | None = None
    """While it sleeps: with which code SIGTERM ends it."""


def program(applet: Applet) -> Main:
    """A command as a program."""

    async def main(proc: Proc) -> int:
        return await applet(proc, list(proc.argv[1:]))

    return main


def executable(name: str) -> Node:
    """The file of a program."""
    return files.regular(MAGIC + name.encode(), 0o755)


def build(software: Software, now_ns: int) -> FileSystem:
    """The root file system of a new container of an image."""
    system = FileSystem("overlay")
    root = system.root
    for path, mode in (
        ("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o555),
        ("root", 0o700), ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777), ("usr/bin", 0o755),
        ("usr/sbin", 0o755), ("var/log", 0o755), ("var/lib", 0o755), ("mnt", 0o755), ("opt", 0o755),
        ("sbin", 0o755), ("dev/shm", 0o1777),
    ):
        files.put(root, path, files.directory(mode))
    for path in software.folders:
        files.put(root, path, files.directory())
    files.put(root, "var/run", files.link("/run"))
    files.put(root, "etc/passwd", files.regular(PASSWD.encode()))
    files.put(root, "etc/group", files.regular(GROUP.encode()))
    for path, name in software.paths.items():
        files.put(root, path, executable(name))
    for path, text in software.texts.items():
        mode = 0o755 if text.startswith("#!") else 0o644
        files.put(root, path, files.regular(text.encode(), software.modes.get(path, mode)))
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        files.put(root, f"dev/{name}", files.device(name))
    for name, target in (
        ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
        ("fd", "/proc/self/fd"),
    ):
        files.put(root, f"dev/{name}", files.link(target))
    for _, node in files.walk(root):
        node.mtime_ns = now_ns
    return system


SEARCHED = tuple(DEFAULT_PATH.split(":"))
