"""Cron schedules."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import cron, timestamps


def after(schedule, moment):
    found = cron.parse(schedule).next(timestamps.parse_time(moment))
    return None if found is None else timestamps.format_time(found)


@pytest.mark.parametrize(
    ("schedule", "moment", "expected"),
    [
        ("*/5 * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:05:00Z"),
        ("*/5 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 31 2 *", "2026-01-01T00:00:00Z", None),
        ("0 0 1 * 1", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("0 0 1 * ?", "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("15 10 1-3,5 jan-mar MON", "2026-01-05T10:15:00Z", "2026-01-12T10:15:00Z"),
        ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
        ("0 23 31 12 *", "2026-12-31T23:00:00Z", "2027-12-31T23:00:00Z"),
        ("TZ=America/New_York 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T13:00:00Z"),
        ("CRON_TZ=Asia/Kolkata 30 5 * * *", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        # Summer time begins at 2:00 on March 8th: 2:30 is left out.
        ("TZ=America/New_York 30 2 * * *", "2026-03-07T12:00:00Z", "2026-03-09T06:30:00Z"),
    ],
)
def test_the_next_time(schedule, moment, expected):
    assert after(schedule, moment) == expected


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("61 * * * *", "end of range (61) above maximum (59): 61"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
    ],
)
def test_what_is_no_schedule(schedule, message):
    with pytest.raises(ValueError) as caught:
        cron.parse(schedule)
    assert str(caught.value) == message


FIELDS = st.tuples(
    st.one_of(st.just("*"), st.integers(0, 59).map(str)),
    st.one_of(st.just("*"), st.integers(0, 23).map(str)),
    st.one_of(st.just("*"), st.integers(1, 28).map(str)),
    st.one_of(st.just("*"), st.integers(1, 12).map(str)),
)


@given(FIELDS, st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))
def test_the_next_time_is_later_and_matches(fields, moment):
    start = int(moment.replace(tzinfo=UTC).timestamp())
    found = cron.parse(" ".join([*fields, "*"])).next(start * cron.SECOND)
    assert found is not None
    assert found > start * cron.SECOND
    when = datetime.fromtimestamp(found // cron.SECOND, UTC)
    got = (when.minute, when.hour, when.day, when.month)
    assert all(want in {"*", str(have)} for want, have in zip(fields, got, strict=True))
    assert when.second == 0
