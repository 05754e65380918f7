"""What all tests share."""

from __future__ import annotations

import importlib
import os
import pkgutil
from typing import TYPE_CHECKING

import pytest

import pytest_kubesim

# Pytest parses each module of a plugin when it is imported first.  CPython 3.11 may fail at that ("AST
# constructor recursion depth mismatch") while a hook on garbage collection runs, and Hypothesis has one.
for _module in pkgutil.walk_packages(pytest_kubesim.__path__, "pytest_kubesim."):
    importlib.import_module(_module.name)

from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster

pytest_plugins = ["pytester"]

settings.register_profile(
    "default", deadline=None, max_examples=50, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _no_surprises(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig of the person who runs the tests is ever read."""
    monkeypatch.delenv("KUBECONFIG", raising=False)


def pytest_kubesim_cluster_made(cluster: Cluster) -> None:
    """Every test with a cluster is a test of the laws that no cluster breaks."""
    from pytest_kubesim.checkers.checkers import Checkers

    Checkers(cluster)
