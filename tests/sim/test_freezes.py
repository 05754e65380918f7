"""The clocks of user code, switched to virtual time and back."""

from __future__ import annotations

import datetime as module  # noqa: ICN001 - under this name, too
import sys
import time
import types
from datetime import date, datetime, timezone
from time import monotonic, sleep
from time import time as clock

import pytest

from pytest_kubesim.sim.freezes import Freezes

pytest.importorskip("freezegun")

START_NS = 1_767_225_600_000_000_000


class Virtual:
    def __init__(self):
        self.now_ns = START_NS
        self.slept = []

    def __call__(self):
        return self.now_ns


@pytest.fixture
def virtual():
    return Virtual()


@pytest.fixture
def freezes(virtual):
    made = Freezes(virtual, {sleep: virtual.slept.append})
    made.start()
    yield made
    made.stop()


def test_all_clocks_show_the_same(freezes, virtual):
    assert (time.time(), clock(), time.time_ns()) == (START_NS / 1e9, START_NS / 1e9, START_NS)
    assert datetime.now() == module.datetime.utcnow() == module.datetime(2026, 1, 1)
    assert datetime.now(timezone.utc) == module.datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert date.today() == module.date(2026, 1, 1)
    before = monotonic()
    virtual.now_ns += 90_000_000_000
    assert monotonic() - before == 90
    assert datetime.now().minute == 1


def test_further_functions_are_replaced_under_any_name(freezes, virtual):
    sleep(5)
    assert virtual.slept == [5]


def test_off_means_off(freezes):
    freezes.stop()
    assert module.datetime is not None
    assert datetime is module.datetime
    assert type(datetime) is type
    assert clock is time.time
    assert abs(datetime.now().timestamp() - time.time()) < 5
    freezes.start()
    assert datetime.now().year == 2026


def test_modules_imported_meanwhile_get_the_real_clocks_back(freezes):
    made = types.ModuleType("imported_meanwhile")
    sys.modules["imported_meanwhile"] = made
    try:
        exec("from time import time\nfrom datetime import datetime", made.__dict__)
        assert made.time() == START_NS / 1e9
        freezes.stop()
        assert made.time is time.time
        assert made.datetime is module.datetime
        freezes.start()
        assert made.datetime.now().year == 2026
    finally:
        del sys.modules["imported_meanwhile"]


def test_types_are_found_whichever_class_was_met_first(freezes):
    fake = datetime
    freezes.stop()
    handlers = {datetime: "moment", date: "day"}
    assert (handlers[fake], fake == datetime, datetime == fake) == ("moment", True, True)
    assert fake != date
    freezes.start()
    assert handlers[module.datetime] == "moment"
    assert isinstance(datetime(2026, 1, 1), module.datetime)


def test_pydantic_models_made_before_and_meanwhile(freezes):
    pydantic = pytest.importorskip("pydantic")

    class Meanwhile(pydantic.BaseModel):
        at: module.datetime
        day: module.date

    assert Meanwhile(at="2026-01-01T00:00:00Z", day="2026-01-01").at.year == 2026
    freezes.stop()

    class Afterwards(pydantic.BaseModel):
        at: module.datetime

    assert Afterwards(at=datetime.now()).at
    freezes.start()
    assert Afterwards(at=datetime.now()).at.year == 2026


def test_freezegun_of_the_user_wins_inside(freezes):
    from freezegun import freeze_time

    with freeze_time("2030-05-05"):
        assert datetime.now().year == 2030
    assert datetime.now().year == 2026
