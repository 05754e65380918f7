"""What all tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

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
