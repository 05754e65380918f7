"""How fast virtual time passes beside real time: instants in, durations out, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.transports.pacing import Pace

HOUR_NS = 3600 * NS


def passed_ns(pace, *instants_s):
    for now_s in instants_s:
        pace.passed(now_s)
    return pace.take(10**30)


def test_silence_makes_time_pass_faster_and_faster():
    assert passed_ns(Pace(0.0), 0.005) / NS == pytest.approx(0.05, rel=0.02)
    assert 60 < passed_ns(Pace(0.0), 1.0) / NS < 120
    assert passed_ns(Pace(0.0), 2.1) > HOUR_NS


def test_who_asks_for_something_ends_the_silence():
    pace = Pace(0.0)
    pace.passed(2.0)
    pace.asked()
    assert pace.take(HOUR_NS) == 0
    assert passed_ns(pace, 2.005) / NS == pytest.approx(0.05, rel=0.02)


def test_no_time_passes_while_somebody_has_something_to_do():
    pace = Pace(0.0)
    pace.stood(5.0)
    assert passed_ns(pace, 5.005) / NS == pytest.approx(0.05, rel=0.02)


def test_a_scale_is_a_steady_pace():
    pace = Pace(0.0)
    pace.scale = 60.0
    assert passed_ns(pace, 10.0) == 600 * NS
    assert pace.wait_s(60 * NS) == 1.0


def test_who_has_been_told_to_end_is_given_real_seconds():
    pace = Pace(0.0)
    pace.passed(3.0)
    pace.take(10**30)
    pace.farewell = True
    assert passed_ns(pace, 5.0) == 2 * NS


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=20), st.sampled_from([None, 0.5, 1000.0]))
def test_how_often_it_is_looked_makes_no_difference(durations, scale):
    often, once, now_s = Pace(0.0), Pace(0.0), 0.0
    often.scale = once.scale = scale
    for duration_s in durations:
        now_s += duration_s
        often.passed(now_s)
    once.passed(now_s)
    assert often.take(10**40) == pytest.approx(once.take(10**40), rel=1e-6)


@given(st.integers(1, 100 * HOUR_NS), st.sampled_from([None, 1.0, 1000.0]))
def test_a_wait_is_as_long_as_it_has_to_be(wanted_ns, scale):
    pace = Pace(0.0)
    pace.scale = scale
    pace.passed(pace.wait_s(wanted_ns) + 1e-9)
    assert pace.take(wanted_ns) == wanted_ns


class Slowly:
    """Somebody outside who lets a second pass at a time, and speaks once."""

    def __init__(self, kernel, at_ns, said):
        self.kernel, self.at_ns, self.said = kernel, at_ns, said

    def pace(self, until_ns):
        now_ns = self.kernel.now_ns
        if self.said is not None and now_ns >= self.at_ns:
            self.kernel.call_soon(self.said)
            self.said = None
            return now_ns
        return min(until_ns, now_ns + NS)


def test_what_comes_from_outside_happens_before_what_is_due_later():
    kernel, seen = Kernel(), []
    start_ns = kernel.now_ns
    kernel.outside = Slowly(kernel, start_ns + 3 * NS, lambda: seen.append(("said", kernel.elapsed_ns // NS)))
    kernel.call_later(10 * NS, lambda: seen.append(("due", kernel.elapsed_ns // NS)))
    assert not kernel.run(until_ns=start_ns + 20 * NS)
    assert seen == [("said", 3), ("due", 10)]
    assert kernel.elapsed_ns == 20 * NS


def test_a_condition_is_looked_at_while_time_passes_piece_by_piece():
    kernel = Kernel()
    kernel.outside = Slowly(kernel, 0, None)
    assert kernel.run(lambda: kernel.elapsed_ns >= 5 * NS, until_ns=kernel.now_ns + 20 * NS)
    assert kernel.elapsed_ns == 5 * NS
