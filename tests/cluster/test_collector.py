"""Python's collector while time passes, and afterwards."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from pytest_kubesim.cluster import collector
from pytest_kubesim.cluster.cluster import Cluster


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_full_collections_wait_until_as_much_was_made_as_there_is() -> None:
    gc.set_threshold(700, 10, 10)
    with collector.rarely():
        young, middle, full = gc.get_threshold()
    assert (young, middle) == (700, 10)
    assert full * 7000 == pytest.approx(sys.getallocatedblocks(), rel=0.5)


@pytest.mark.parametrize("theirs", [(700, 10, 10), (0, 10, 10), (50_000, 20, 100_000)])
def test_the_users_settings_come_back_also_when_something_raises(
    theirs: tuple[int, int, int],
) -> None:
    gc.set_threshold(*theirs)

    def work() -> None:
        with collector.rarely(), collector.rarely():
            assert gc.get_threshold()[:2] == theirs[:2]
            assert gc.get_threshold()[2] >= theirs[2]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert gc.get_threshold() == theirs


def test_what_the_user_sets_meanwhile_stays() -> None:
    with collector.rarely():
        gc.set_threshold(123, 4, 5)
        gc.collect()
        assert gc.get_threshold() == (123, 4, 5)
    assert gc.get_threshold() == (123, 4, 5)


def test_cycles_of_an_operator_are_found_while_time_passes() -> None:
    cluster = Cluster()
    knots: list[weakref.ref[Knot]] = []
    kept: list[list[object]] = []

    def tick() -> None:
        knots.append(weakref.ref(Knot()))
        kept.extend([] for _ in range(100))
        cluster.kernel.call_later(1_000_000, tick)

    tick()
    cluster.advance("1s")
    assert sum(knot() is not None for knot in knots) < len(knots) / 2


def test_a_cluster_that_runs_leaves_the_settings_as_they_were() -> None:
    gc.set_threshold(701, 11, 12)
    seen: list[tuple[int, int, int]] = []
    cluster = Cluster()
    cluster.kernel.call_later(5, lambda: seen.append(gc.get_threshold()))
    cluster.advance("1s")
    assert seen[0][2] > 12
    assert gc.get_threshold() == (701, 11, 12)
