"""What a controller waits for."""

import pytest

from pytest_kubesim.controller_manager.expectations import TIMEOUT_NS, Expectations


@pytest.fixture
def clock():
    return [0]


@pytest.fixture
def expectations(clock):
    return Expectations(lambda: clock[0])


def test_nothing_expected_is_satisfied(expectations):
    assert expectations.satisfied("a")


def test_creations_are_waited_for(expectations):
    expectations.expect_creations("a", 2)
    expectations.creation_observed("a")
    assert not expectations.satisfied("a")
    expectations.creation_observed("a")
    assert expectations.satisfied("a")


def test_a_deletion_is_counted_once(expectations):
    expectations.expect_deletions("a", ["ns/p", "ns/q"])
    expectations.deletion_observed("a", "ns/p")
    expectations.deletion_observed("a", "ns/p")
    expectations.deletion_observed("a", "ns/other")
    assert not expectations.satisfied("a")
    expectations.deletion_observed("a", "ns/q")
    assert expectations.satisfied("a")


def test_what_never_comes_is_waited_for_five_minutes(expectations, clock):
    expectations.expect_creations("a", 1)
    clock[0] = TIMEOUT_NS
    assert not expectations.satisfied("a")
    clock[0] += 1
    assert expectations.satisfied("a")
