"""controller-runtime's own test suites, with our folder in the place of the real binaries."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

MODULE = "sigs.k8s.io/controller-runtime"
VERSION = "v0.25.2"

PACKAGES = (
    "builder", "cache", "client", "cluster", "controller", "controller/controllerutil", "handler",
    "internal/controller", "internal/recorder", "manager", "metrics/filters", "source", "webhook",
)
"""Those whose `*_suite_test.go` start envtest."""


@pytest.fixture(scope="module")
def module(toolchain):
    """The module's source, where its tests can be built."""
    toolchain.need("go")
    target = toolchain.cache / f"controller-runtime@{VERSION}"
    if not (target / "go.mod").exists():
        told = toolchain.run(toolchain.cache, "go", "mod", "download", "-json", f"{MODULE}@{VERSION}", GOFLAGS="-mod=mod")
        found = json.loads(told.stdout or "{}")
        if told.returncode or "Dir" not in found:
            pytest.skip(f"{MODULE} cannot be had here: {found.get('Error') or told.stderr[-300:]}")
        shutil.copytree(found["Dir"], target, dirs_exist_ok=True)
        for path in (target, *target.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return target


@pytest.mark.parametrize("package", PACKAGES)
def test_a_suite_passes(toolchain, module, assets, package):
    binary = toolchain.cache / "suites" / f"{package.replace('/', '_')}.test"
    if not binary.exists():
        toolchain.build(module, "go", "test", "-c", "-o", binary, f"./pkg/{package}")
    done = toolchain.run(
        module / "pkg" / package, binary, "--ginkgo.no-color", "--ginkgo.timeout=10m", timeout=660,
        KUBEBUILDER_ASSETS=assets,
    )
    assert done.returncode == 0, _failures(done.stdout) or (done.stdout + done.stderr)[-4000:]
    assert re.search(r"^SUCCESS!.* 0 Failed", done.stdout, re.MULTILINE), done.stdout[-2000:]


def _failures(output):
    return "\n".join(line for line in output.splitlines() if line.lstrip().startswith("[FAIL]"))


def test_the_list_of_suites_is_complete(module):
    starting = {
        str(path.parent.relative_to(module / "pkg"))
        for path in Path(module / "pkg").rglob("*_suite_test.go")
        if "envtest.Environment{" in path.read_text()
    }
    assert starting == set(PACKAGES)
