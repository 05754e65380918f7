"""A fresh control plane for each test of custom resources."""

from __future__ import annotations

import pytest
from crd_world import World


@pytest.fixture
def world() -> World:
    """A fresh control plane."""
    return World()
