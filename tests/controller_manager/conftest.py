"""A control plane without nodes: the tests play the kubelet."""

from __future__ import annotations

import pytest
from controller_world import World


@pytest.fixture
def world() -> type[World]:
    return World
