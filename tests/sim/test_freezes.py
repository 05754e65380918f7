"""The clocks of user code, switched to virtual time and back."""

from __future__ import annotations

import datetime as module  # noqa: ICN001 - under this name, too
import importlib
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


def written(folder, name, text, monkeypatch):
    """A module in a folder, imported."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


TYPES = """
from datetime import date, datetime

KNOWN = (datetime, date)
BORN = datetime.now()

class Model:
    at: datetime
"""


def test_what_is_installed_is_imported_with_the_real_classes(freezes, tmp_path, monkeypatch):
    made = written(tmp_path / "site-packages", "installed_meanwhile", TYPES, monkeypatch)
    assert type(made.KNOWN[0]) is type
    assert type(made.Model.__annotations__["at"]) is type
    assert made.datetime.now() == module.datetime(2026, 1, 1)
    freezes.stop()
    assert made.datetime is made.KNOWN[0]
    freezes.start()
    assert made.datetime.now() == module.datetime(2026, 1, 1)


def test_user_code_is_imported_with_virtual_time(freezes, tmp_path, monkeypatch):
    code = tmp_path / "code"
    monkeypatch.setitem(sys.modules, "user_code_meanwhile", None)
    made = written(code, "user_code_meanwhile", TYPES, monkeypatch)
    assert module.datetime(2026, 1, 1) == made.BORN
    assert made.KNOWN[0] is module.datetime


def test_installed_code_that_imports_user_code(freezes, tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "user_plugin_meanwhile.py").write_text(TYPES)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    text = f"import user_plugin_meanwhile as plugin\n{TYPES}"
    made = written(tmp_path / "site-packages", "installed_loader_meanwhile", text, monkeypatch)
    assert module.datetime(2026, 1, 1) == made.plugin.BORN
    assert type(made.KNOWN[0]) is type
    assert made.datetime is module.datetime


def test_an_import_that_fails_leaves_virtual_time(freezes, tmp_path, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        written(tmp_path / "site-packages", "installed_broken_meanwhile", "1 / 0", monkeypatch)
    assert datetime.now() == module.datetime.now() == module.datetime(2026, 1, 1)
