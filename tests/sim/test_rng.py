from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.sim.rng import Rng


def test_a_draw_depends_on_its_key_and_on_no_other_draw() -> None:
    one, other = Rng(7), Rng(7)
    one.bits("a", 1)
    assert one.bits("b", 2) == other.bits("b", 2)
    assert one.bits("b", 2) != one.bits("b", 3)
    assert Rng(8).bits("b", 2) != one.bits("b", 2)


def test_draws_are_the_same_on_every_machine() -> None:
    assert Rng(0).bits("uid", "pods", 1) == 0x2af5375a977a25d
    assert [Rng(1).below(10, "x", n) for n in range(8)] == [4, 0, 7, 3, 8, 5, 4, 4]


@given(st.integers(), st.integers(1, 10**12), st.text())
def test_below_stays_below(seed: int, bound: int, event: str) -> None:
    assert 0 <= Rng(seed).below(bound, "s", event) < bound


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_between_includes_its_ends_and_nothing_outside(low: int, width: int) -> None:
    assert low <= Rng(3).between_ns(low, low + width, "s") <= low + width
