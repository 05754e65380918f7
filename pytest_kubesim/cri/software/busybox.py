"""busybox and alpine: a shell and small commands."""

from __future__ import annotations

from pytest_kubesim.cri.applets import (
    archive,
    awk,
    compressing,
    curl,
    editing,
    files,
    kernel,
    looking,
    network,
    printing,
    processes,
    rarer,
    sums,
    system,
    text,
)
from pytest_kubesim.cri.shell.builtins import kill
from pytest_kubesim.cri.shell.command import sh
from pytest_kubesim.cri.software.rootfs import Applet, Software, program

APPLETS: dict[str, Applet] = {
    **printing.APPLETS, **files.APPLETS, **looking.APPLETS, **text.APPLETS, **editing.APPLETS,
    **awk.APPLETS, **sums.APPLETS, **archive.APPLETS, **system.APPLETS, **network.APPLETS,
    **curl.APPLETS, **rarer.APPLETS, **kernel.APPLETS, **processes.APPLETS,
    **compressing.APPLETS,
    "kill": kill,
}

PROGRAMS = {name: program(applet) for name, applet in APPLETS.items()} | {"sh": sh}

_NOT_IN_BUSYBOX = frozenset({"curl", "dig", "getent", "stdbuf"})

PATHS = {f"bin/{name}": name for name in PROGRAMS if name not in _NOT_IN_BUSYBOX} | {
    "bin/ash": "sh"
}

BUSYBOX = Software(name="busybox", command=("sh",), programs=PROGRAMS, paths=PATHS)

ALPINE_RELEASE = (
    'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.21.3\nPRETTY_NAME="Alpine Linux v3.21"\n'
)

ALPINE = Software(
    name="alpine",
    command=("/bin/sh",),
    programs=PROGRAMS,
    paths={**PATHS, "usr/bin/getent": "getent"},
    texts={"etc/os-release": ALPINE_RELEASE, "etc/alpine-release": "3.21.3\n"},
)

_DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n'

DEBIAN_PATHS = {
    **{path: name for path, name in PATHS.items() if name not in ("wget", "nc", "nslookup")},
    "bin/bash": "sh", "usr/bin/getent": "getent", "usr/bin/env": "env",
    "usr/bin/stdbuf": "stdbuf",
}

DEBIAN = Software(
    name="debian",
    command=("bash",),
    programs=PROGRAMS,
    paths=DEBIAN_PATHS,
    texts={"etc/os-release": _DEBIAN, "etc/debian_version": "12.10\n"},
)

DNSUTILS = Software(
    name="dnsutils",
    command=("bash",),
    programs=PROGRAMS,
    paths={**DEBIAN_PATHS, "usr/bin/dig": "dig", "usr/bin/nslookup": "nslookup"},
)
