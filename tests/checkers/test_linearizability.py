"""Histories that could have happened one operation after the other, and histories that could not."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.checkers.linearizability import NEVER, Operation, register, violations


def op(kind: str, called: int, returned: int, argument=None, answer=None, key: str = "x") -> Operation:
    return Operation(kind, key, argument, answer, called, returned)


def test_a_read_sees_a_write_that_overlaps_it_or_does_not() -> None:
    for seen in (None, 1):
        assert violations([op("put", 0, 10, 1), op("get", 5, 15, answer=seen)]) == []


def test_a_read_after_a_write_sees_it() -> None:
    assert violations([op("put", 0, 10, 1), op("get", 11, 15, answer=None)]) == ["x"]


def test_reads_do_not_go_back() -> None:
    history = [op("put", 0, 100, 1), op("get", 10, 20, answer=1), op("get", 30, 40, answer=None)]
    assert violations(history) == ["x"]


def test_what_never_returned_may_have_happened_at_any_time_or_never() -> None:
    lost = op("put", 0, NEVER, 1)
    assert violations([lost, op("get", 10, 20, answer=None), op("get", 30, 40, answer=1)]) == []
    assert violations([lost, op("get", 10, 20, answer=None)]) == []


def test_of_two_that_compare_and_write_one_wins() -> None:
    both = [op("cas", 0, 10, (None, 1), True), op("cas", 0, 10, (None, 2), True)]
    assert violations(both) == ["x"]
    assert violations([both[0], op("cas", 0, 10, (None, 2), False)]) == []


def test_keys_are_independent() -> None:
    assert violations([op("get", 0, 1, answer=7, key="b"), op("put", 0, 1, 1, key="a")]) == ["b"]


@st.composite
def histories(draw) -> list[Operation]:
    found = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["get", "put", "delete", "cas"]))
        called = draw(st.integers(0, 8))
        returned = draw(st.one_of(st.integers(called, 10), st.just(NEVER)))
        value = st.sampled_from([None, 1, 2])
        argument = (draw(value), draw(value)) if kind == "cas" else draw(value)
        answer = draw(st.booleans()) if kind == "cas" else draw(value)
        found.append(op(kind, called, returned, argument, answer))
    return found


@given(histories())
def test_it_finds_what_trying_all_orders_finds(history: list[Operation]) -> None:
    assert (violations(history) == []) == by_trying(history)


def by_trying(history: list[Operation]) -> bool:
    answered = [each for each in history if each.returned != NEVER]
    open_ = [each for each in history if each.returned == NEVER]
    for chosen in range(1 << len(open_)):
        part = answered + [each for i, each in enumerate(open_) if chosen >> i & 1]
        for order in permutations(part):
            if fits(order):
                return True
    return False


def fits(order) -> bool:
    state = None
    for place, each in enumerate(order):
        if any(later.returned < each.called for later in order[place + 1 :]):
            return False
        good, state = register(state, each)
        if not good:
            return False
    return True
