"""agnhost's command line: subcommands by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.cri.applets import curl
from pytest_kubesim.cri.software.agnhost import (
    dns,
    external_metrics,
    files,
    identity,
    listeners,
    load,
    netexec,
    nettest,
    registry,
    servers,
    signer,
    small,
    webhooks,
)
from pytest_kubesim.cri.software.agnhost.flags import go_program
from pytest_kubesim.cri.software.busybox import ALPINE_RELEASE, PATHS, PROGRAMS
from pytest_kubesim.cri.software.rootfs import GROUP, PASSWD, Software, program

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.cri.software.rootfs import Applet

COMMANDS: dict[str, Applet] = {
    **small.COMMANDS, **files.COMMANDS, **netexec.COMMANDS, **servers.COMMANDS, **dns.COMMANDS,
    **nettest.COMMANDS, **webhooks.COMMANDS, **identity.COMMANDS, **listeners.COMMANDS,
    **load.COMMANDS, **registry.COMMANDS, **external_metrics.COMMANDS,
    **signer.COMMANDS,
}


NOT_SIMULATED = {
    "h2c-server": "nobody speaks HTTP/2 in the pods' network",
}
"""What the real one can do besides, and why not here."""


async def agnhost(proc: Proc) -> int:
    """`agnhost subcommand [flags]`."""
    args = list(proc.argv[1:])
    if not args:
        await proc.out(
            "Usage:\n  app [command]\n\nAvailable Commands:\n"
            + "".join(f"  {name}\n" for name in sorted(COMMANDS))
        )
        return 0
    if args[0] == "--version":
        await proc.out("app version 2.66.0\n")
        return 0
    if args[0] in NOT_SIMULATED:
        await proc.err(f"Error: agnhost {args[0]} is not simulated: {NOT_SIMULATED[args[0]]}\n")
        return 1
    command = COMMANDS.get(args[0])
    if command is None:
        problem = f'Error: unknown command "{args[0]}" for "app"'
        await proc.err(f"{problem}\nRun 'app --help' for usage.\n")
        return 1
    go_program(proc)
    return await command(proc, args[1:])


_TEXTS = {
    "etc/passwd": PASSWD + "user-defined-in-image:x:1000:1000::/home/u:/bin/sh\n",
    "etc/group": GROUP
    + "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
    "etc/os-release": ALPINE_RELEASE,
    "localhost.crt": "",
    "localhost.key": "",
    "uploads/.keep": "",
}

AGNHOST = Software(
    name="agnhost",
    entrypoint=("/agnhost",),
    command=("pause",),
    programs={**PROGRAMS, "agnhost": agnhost, "curl": program(curl.curl)},
    paths={
        **PATHS, "agnhost": "agnhost", "agnhost-2": "agnhost", "usr/bin/dig": "dig",
        "usr/bin/curl": "curl", "usr/bin/getent": "getent",
    },
    texts={**_TEXTS, **registry.TEXTS},
)


def _picture(name: str) -> Software:
    """An image of the update demo: agnhost that shows a picture."""
    texts = {**_TEXTS, "data.json": f'{{\n  "image": "{name}.jpg"\n}}\n', f"{name}.jpg": name}
    return attrs.evolve(AGNHOST, name=name, command=("test-webserver",), texts=texts)


KITTEN, NAUTILUS = _picture("kitten"), _picture("nautilus")
