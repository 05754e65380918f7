"""Times and durations read and print as Go's."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import timestamps as t

INSTANTS = st.integers(0, 253_402_300_799)


@given(INSTANTS)
def test_times_are_those_of_the_calendar(seconds):
    text = t.format_time(seconds * t.SECOND)
    assert text == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    assert t.parse_time(text) == seconds * t.SECOND


@given(INSTANTS, st.integers(0, 999_999))
def test_micro_times_have_six_digits(seconds, micros):
    instant = seconds * t.SECOND + micros * 1000
    text = t.format_micro_time(instant)
    assert len(text) == 27
    assert t.parse_micro_time(text) == instant


def test_offsets_and_fractions_are_understood():
    noon = calendar.timegm((2026, 1, 31, 12, 0, 0)) * t.SECOND
    assert t.parse_time("2026-01-31T13:30:00+01:30") == noon
    assert t.parse_time("2026-01-31T12:00:00.25Z") == noon + t.SECOND // 4
    assert t.format_time(noon + 999_999_999) == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "soon",
            'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"',
        ),
        ("2026-13-01T00:00:00Z", 'parsing time "2026-13-01T00:00:00Z": month out of range'),
        ("2026-02-29T00:00:00Z", 'parsing time "2026-02-29T00:00:00Z": day out of range'),
        ("2026-01-01T00:00:00Zx", 'parsing time "2026-01-01T00:00:00Zx": extra text: "x"'),
        (
            "2026-01-01 00:00:00Z",
            (
                'parsing time "2026-01-01 00:00:00Z" as "2006-01-02T15:04:05Z07:00": '
                'cannot parse " 00:00:00Z" as "T"'
            ),
        ),
    ],
)
def test_a_malformed_time_is_refused_in_gos_words(text, message):
    with pytest.raises(ValueError) as caught:
        t.parse_time(text)
    assert str(caught.value) == message


def test_a_micro_time_without_its_six_digits_is_refused():
    with pytest.raises(ValueError, match='cannot parse "Z" as ".000000"'):
        t.parse_micro_time("2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "nanoseconds", "printed"),
    [
        ("0", 0, "0s"),
        ("1h30m", 5400 * t.SECOND, "1h30m0s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        ("90s", 90 * t.SECOND, "1m30s"),
        ("300ms", 300_000_000, "300ms"),
        ("1us", 1000, "1\u00b5s"),
        ("-2h", -7200 * t.SECOND, "-2h0m0s"),
        (".5h", 1800 * t.SECOND, "30m0s"),
    ],
)
def test_durations_read_and_print(text, nanoseconds, printed):
    assert t.parse_duration(text) == nanoseconds
    assert t.format_duration(nanoseconds) == printed


@given(st.integers(-(2**62), 2**62))
def test_a_printed_duration_reads_back(nanoseconds):
    assert t.parse_duration(t.format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("5", 'time: missing unit in duration "5"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("s", 'time: invalid duration "s"'),
    ],
)
def test_a_malformed_duration_is_refused_in_gos_words(text, message):
    with pytest.raises(ValueError) as caught:
        t.parse_duration(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("seconds", "age", "short"),
    [
        (-5, "<invalid>", "<invalid>"),
        (-1, "0s", "0s"),
        (119, "119s", "1m"),
        (125, "2m5s", "2m"),
        (600, "10m", "10m"),
        (3 * 3600, "3h", "3h"),
        (7 * 3600 + 300, "7h5m", "7h"),
        (50 * 3600, "2d2h", "2d"),
        (30 * 86400, "30d", "30d"),
        (800 * 86400, "2y70d", "2y"),
        (3000 * 86400, "8y", "8y"),
    ],
)
def test_ages_are_kubectls(seconds, age, short):
    assert t.human_duration(seconds * t.SECOND) == age
    assert t.short_human_duration(seconds * t.SECOND) == short
