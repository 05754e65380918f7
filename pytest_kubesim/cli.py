"""The command `kubesim`.

`demo` shows the main job, `serve` opens a cluster to kubectl and all, `envtest` makes a folder for
test suites in Go, `ctl` is the remote control of what `serve` has opened.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pytest_kubesim import __version__
from pytest_kubesim.transports import ctl_arguments


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="kubesim", description="A whole Kubernetes, simulated.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"kubesim {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="an operator heals its database after a node is lost")
    demo.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the run (0)")

    serve = commands.add_parser(
        "serve", help="a cluster on HTTPS loopback, for kubectl and operators in any language"
    )
    serve.add_argument("--port", type=int, default=0, metavar="N", help="port (0: a free one)")
    serve.add_argument("--token", metavar="T", help="the admin's bearer token (made if absent)")
    serve.add_argument("--kubeconfig", metavar="FILE", help="write a kubeconfig there")
    serve.add_argument(
        "--audit-policy-file", metavar="FILE", help="an audit policy, as kube-apiserver's"
    )
    serve.add_argument(
        "--audit-log-path", metavar="FILE", help="where audit events go, a line of JSON each (-)"
    )
    serve.add_argument(
        "--enable-admission-plugins", metavar="NAMES", default="",
        help="admission plugins that run besides the default ones, with commas between",
    )
    serve.add_argument(
        "--disable-admission-plugins", metavar="NAMES", default="",
        help="admission plugins of the default ones that don't run",
    )
    _of_clusters(serve)

    envtest = commands.add_parser(
        "envtest", help="a folder for KUBEBUILDER_ASSETS: etcd, kube-apiserver, kubectl"
    )
    envtest.add_argument("folder", metavar="DIR", help="where to write the executables")
    _of_clusters(envtest, components="apiserver")
    ctl_arguments.add_arguments(
        commands.add_parser(
            "ctl", help="remote control of what is served: faults, clock, journal, snapshots"
        )
    )
    apiserver = commands.add_parser("kube-apiserver")  # what the folder's executable calls
    _of_clusters(apiserver, components="apiserver")
    apiserver.add_argument("flags", nargs="*", help="the flags of kube-apiserver, after --")
    return top


def _of_clusters(command: argparse.ArgumentParser, components: str = "all") -> None:
    """The options that say which cluster is served."""
    command.add_argument(
        "--components", choices=("apiserver", "controllers", "all"), default=components,
        help="API server alone; with controllers and scheduler; with kubelets too "
        f"({components})",
    )
    command.add_argument(
        "--nodes", type=int, default=0, metavar="N", help="nodes to begin with (0)"
    )
    command.add_argument(
        "--manage-all-nodes", action="store_true",
        help="give a simulated kubelet to every Node object that anyone creates",
    )
    command.add_argument(
        "--clock-scale", type=float, default=1.0, metavar="X",
        help="virtual seconds per real second (1)",
    )
    command.add_argument("--instant", action="store_true", help="no simulated latencies")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the run (0)")
    command.add_argument("--version", dest="kubernetes_version", default="1.37", metavar="V",
                         help="Kubernetes version (1.37)")
    command.add_argument("--scheduler-config", metavar="FILE",
                         help="a KubeSchedulerConfiguration, as kube-scheduler's --config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    options = parser().parse_args(arguments)
    from pytest_kubesim.errors import KubesimError

    try:
        if options.command == "demo":
            from pytest_kubesim import demo

            return demo.run(options.seed, sys.stdout)
        if options.command == "envtest":
            from pytest_kubesim.transports import envtest

            return envtest.run(options, sys.stdout)
        if options.command == "ctl":
            from pytest_kubesim.transports import ctl

            return ctl.run(options, sys.stdout)
        if options.command == "kube-apiserver":
            return _kube_apiserver(options)
        from pytest_kubesim.transports import serve

        return serve.run(options)
    except KubesimError as error:
        print(f"kubesim: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _kube_apiserver(options: argparse.Namespace) -> int:
    from pytest_kubesim.errors import KubesimError
    from pytest_kubesim.transports import apiserver_flags

    try:
        flags = apiserver_flags.parse(options.flags)
        told = apiserver_flags.told(flags)
        if told:
            sys.stdout.write(told)
            return 0
        from pytest_kubesim.transports import kube_apiserver

        return kube_apiserver.run(options, flags)
    except KubesimError as error:
        sys.stderr.write(f"Error: {error}\n")  # as kube-apiserver says it
        return 1


if __name__ == "__main__":
    sys.exit(main())
