from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), (2.5, 2.5), (timedelta(minutes=1), 60), ("1d", 86400), ("0s", 0)],
)
def test_durations_as_people_write_them(written: object, seconds: float) -> None:
    assert durations.to_ns(written) == seconds * NS


@pytest.mark.parametrize("written", ["90", "5 minutes", "", "-5s", -1, None, True, "1h-5m", "s"])
def test_what_is_no_duration_is_refused_with_the_remedy(written: object) -> None:
    with pytest.raises(UsageError, match="within: .*(write it like|only moves forwards)"):
        durations.to_ns(written, "within")


@given(st.integers(0, 10**6))
def test_the_text_of_whole_seconds_reads_back(seconds: int) -> None:
    assert durations.to_ns(durations.text(seconds * NS)) == seconds * NS
