"""The words of `kubesim ctl`; apart from what does it, so that every command starts fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `kubesim ctl`."""
    command.add_argument("--kubeconfig", metavar="FILE", help="whose cluster ($KUBECONFIG)")
    command.add_argument("--server", metavar="URL", help="another server than the kubeconfig's")
    command.add_argument("--token", metavar="T", help="another token than the kubeconfig's")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")

    faults = actions.add_parser("faults", help="list, add, remove, clear faults")
    which = faults.add_subparsers(dest="verb", required=True, metavar="VERB")
    which.add_parser("list", help="every fault that was armed")
    add = which.add_parser("add", help="arm a fault")
    add.add_argument("fault", help="as Python: kubesim.faults.api(client='manager').reset()")
    which.add_parser("remove", help="end a fault").add_argument(
        "id", type=int, help="its number in the list"
    )
    which.add_parser("clear", help="end all faults")

    clock = actions.add_parser("clock", help="get, advance, freeze, thaw, scale the clock")
    which = clock.add_subparsers(dest="verb", required=True, metavar="VERB")
    which.add_parser("get", help="what time it is")
    which.add_parser("advance", help="let time pass").add_argument("duration", help="90s, 1h30m")
    which.add_parser("freeze", help="have it stand")
    which.add_parser("thaw", help="have it go on")
    which.add_parser("scale", help="have it go faster").add_argument(
        "scale", type=float, help="virtual seconds per real second, such as 60"
    )

    settle = actions.add_parser("settle", help="let time pass until nothing changes any more")
    settle.add_argument("--timeout", default="10m", help="virtual time at most (10m)")

    journal = actions.add_parser("journal", help="what happened")
    journal.add_argument("--since", type=int, default=0, metavar="N", help="from that entry on (0)")
    journal.add_argument("--limit", type=int, default=1000, metavar="N", help="at most (1000)")
    journal.add_argument("--kind", help="only entries of that kind, such as fault")
    journal.add_argument("--actor", help="only entries of that actor")

    snapshot = actions.add_parser("snapshot", help="keep all that is stored")
    snapshot.add_argument("name", nargs="?", help="under that name, in the server")
    snapshot.add_argument("--file", metavar="FILE", help="in a file here")
    restore = actions.add_parser("restore", help="store what was kept, and nothing else")
    restore.add_argument("name", nargs="?", help="under that name, in the server")
    restore.add_argument("--file", metavar="FILE", help="in a file here")
