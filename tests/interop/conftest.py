"""Tests with clients and operators in other languages: slow, and skipped where a toolchain is missing.

They build for minutes, so a run of all tests leaves them out: `python -m pytest tests/interop` runs them, or
`KUBESIM_INTEROP=1` in the environment.  What they build goes below `$KUBESIM_INTEROP_CACHE` (a folder of the user's below the system's temporary
one if unset), so that it is built once; nothing is written into the tree.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import served

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def pytest_collection_modifyitems(config, items):
    asked = "KUBESIM_INTEROP" in os.environ or any("interop" in str(arg) for arg in config.invocation_params.args)
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.interop)
            if not asked:
                item.add_marker(pytest.mark.skip(reason="builds for minutes: python -m pytest tests/interop"))


@pytest.fixture(scope="session")
def cache():
    """Where builds are kept."""
    default = Path(tempfile.gettempdir()) / f"kubesim-interop-{getpass.getuser()}"
    folder = Path(os.environ.get("KUBESIM_INTEROP_CACHE") or default)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def server():
    """A served cluster with controllers; it must have had nothing to complain of."""
    server = served.Served("--components", "controllers")
    yield server
    complaints = server.stderr()
    assert server.stop() == 0
    assert not complaints


class Toolchain:
    """Commands of a language, run outside the tree."""

    def __init__(self, cache):
        self.cache = cache

    def need(self, *tools):
        """Skip the test where one of the tools is missing."""
        for tool in tools:
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")

    def copy(self, source):
        """The source of a program, copied to where it may be built."""
        target = self.cache / source.relative_to(ROOT)
        shutil.copytree(source, target, dirs_exist_ok=True)
        return target

    def build(self, folder, *command, registry=True, **environment):
        """Run a build; where it fails for want of a registry, skip the test."""
        done = self.run(folder, *command, timeout=1500, **environment)
        told = done.stdout + done.stderr
        if done.returncode and registry and any(sign in told for sign in _NO_REGISTRY):
            pytest.skip(f"{command[0]}: packages cannot be had here: {told[-300:]}")
        assert done.returncode == 0, told[-4000:]

    def run(self, folder, *command, timeout=300, **environment):
        """Run a command in `folder`, niced: it shares the machine with what it talks to."""
        return subprocess.run(
            ["nice", "-n", "10", *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=timeout,
            check=False, env={**os.environ, **{k: str(v) for k, v in environment.items()}},
        )

    def check(self, folder, *command, timeout=300, **environment):
        """Run a program that ends with `OK`."""
        done = self.run(folder, *command, timeout=timeout, **environment)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        assert re.sub(r"\x1b\[\d*m", "", done.stdout).rstrip().endswith("OK"), done.stdout[-2000:]


_NO_REGISTRY = (
    "dial tcp", "no such host", "Could not resolve host", "Could not transfer artifact", "ENOTFOUND", "ETIMEDOUT",
    "ECONNREFUSED", "failed to download", "Couldn't resolve host", "module lookup disabled", "403 Forbidden",
)


@pytest.fixture(scope="session")
def toolchain(cache):
    return Toolchain(cache)


@pytest.fixture(scope="session")
def assets(cache):
    """A folder for KUBEBUILDER_ASSETS: API server alone."""
    folder = cache / "envtest"
    subprocess.run(
        [sys.executable, "-m", "pytest_kubesim.cli", "envtest", str(folder)], check=True, capture_output=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    return folder
