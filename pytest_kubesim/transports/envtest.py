"""`kubesim envtest DIR`: executables `etcd`, `kube-apiserver`, `kubectl` for KUBEBUILDER_ASSETS.

Test suites written for controller-runtime's envtest start them as they start the real ones.  They
are short scripts that name this Python and this package, so they move neither to another machine
nor to another installation.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest_kubesim
from pytest_kubesim.errors import UsageError

if TYPE_CHECKING:
    import argparse

MINOR = "1.37"
_KUBECTL_MISSING = (
    "kubectl: kubesim has none of its own, and found none of version {version} when it made this "
    "folder; install one and run again: kubesim envtest {folder}"
)


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Make the folder as the command line says; gives the exit status.

    Raises: `UsageError` where it cannot be written.
    """
    from pytest_kubesim.transports import serve

    serve.check(options)
    folder = Path(options.folder).absolute()
    found = find_kubectl(folder)
    try:
        make(folder, serve_options(options), found)
    except OSError as error:
        raise UsageError(
            f"envtest: {folder} cannot be written: {error.strerror};",
            "name a folder that you may write to",
        ) from None
    if found is None:
        sys.stderr.write(
            f"kubesim: no kubectl of version {MINOR} (or one next to it) is on PATH: suites that "
            "call it will be told so\n"
        )
    out.write(f"export KUBEBUILDER_ASSETS={shlex.quote(str(folder))}\n")
    return 0


def serve_options(options: argparse.Namespace) -> list[str]:
    """The options as words again: they travel in the script."""
    words = ["--components", options.components]
    if options.nodes:
        words += ["--nodes", str(options.nodes)]
    if options.manage_all_nodes:
        words.append("--manage-all-nodes")
    if options.clock_scale != 1.0:
        words += ["--clock-scale", repr(options.clock_scale)]
    if options.instant:
        words.append("--instant")
    if options.seed:
        words += ["--seed", str(options.seed)]
    scheduler_config: str | None = getattr(options, "scheduler_config", None)
    if scheduler_config is not None:
        words += ["--scheduler-config", str(Path(scheduler_config).resolve())]
    return [*words, "--version", options.kubernetes_version]


def make(folder: Path, words: list[str], kubectl: str | None) -> None:
    """Write the executables.  Raises: `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    package = Path(pytest_kubesim.__file__).parent
    python = shlex.quote(sys.executable)
    etcd = shlex.quote(str(package / "transports" / "etcd_stand_in.py"))
    # -I -S: nothing of the environment, no site packages: it has to be there at once.
    _write(folder / "etcd", f'exec {python} -I -S {etcd} "$@"\n')
    path = ""
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    if package.parent not in installed:
        path = (
            f"PYTHONPATH={shlex.quote(str(package.parent))}${{PYTHONPATH:+:$PYTHONPATH}}\n"
            "export PYTHONPATH\n"
        )
    given = " ".join(shlex.quote(word) for word in words)
    _write(
        folder / "kube-apiserver",
        f'{path}exec {python} -m pytest_kubesim.cli kube-apiserver {given} -- "$@"\n',
    )
    if kubectl is not None:
        _write(folder / "kubectl", f'exec {shlex.quote(kubectl)} "$@"\n')
    else:
        text = _KUBECTL_MISSING.format(version=MINOR, folder=folder)
        _write(folder / "kubectl", f"echo {shlex.quote(text)} >&2\nexit 127\n")


def _write(path: Path, body: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(f"#!/bin/sh\n# Made by `kubesim envtest`.\n{body}", encoding="utf-8")
    temporary.chmod(0o755)
    temporary.replace(path)


def find_kubectl(folder: Path) -> str | None:
    """A kubectl on PATH that is at most one minor version away; None: there is none."""
    minor = int(MINOR.partition(".")[2])
    for place in os.get_exec_path():
        found = shutil.which("kubectl", path=place)
        if found is None or Path(found).parent.absolute() == folder:
            continue
        try:
            told = subprocess.run(  # noqa: S603 - the user's own kubectl
                [found, "version", "--client"],
                capture_output=True, text=True, timeout=30, check=False,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        version = told.partition("v1.")[2].partition(".")[0]
        if version.isdigit() and abs(int(version) - minor) <= 1:
            return os.path.abspath(found)
    return None
