"""What the tests of containers share."""

import pytest
from shell_world import Box


@pytest.fixture(autouse=True)
def _power_off():
    yield
    Box.close_all()
