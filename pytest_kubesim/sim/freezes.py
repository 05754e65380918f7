"""The clocks of user code: `time.time()`, `datetime.now()` ... read virtual time while a run holds.

freezegun's stand-ins are used, but not its `start()`: that looks through every module each time
(4 to 40 ms).  Here a module is looked through once, and what holds a clock of its own is
remembered; from then on switching is a few hundred assignments.  Nobody moves the frozen time: the
stand-ins ask for it when they are asked (`now_ns`).

Law: off means off.  Between runs nothing of freezegun is in place, and modules imported during a
run get the real clocks back.  What is installed is imported with the real classes, during a run
too: models and tables that know types by identity are made of them; only then do the names that the
module holds show virtual time.  User code is imported with virtual time.
"""

from __future__ import annotations

import sys
import time
from base64 import b64decode
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from pathlib import PurePath
from types import ModuleType
from typing import Any

from freezegun import api

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - freezegun's frozen time is naive and means UTC

UNTOUCHED = (
    "pytest_kubesim",
    "_pytest",
    "pytest",
    "pluggy",
    "pytest_asyncio",
    "pytest_benchmark",
    "pytest_timeout",
    "xdist",
    "execnet",
    "coverage",
    "hypothesis",
    "freezegun",
    "dateutil",
    "pydevd",
)
"""Modules that keep the real clocks they hold by name: they time the real world, or are ours."""

WAITING = ("threading", "queue", "sched")
"""Modules of the standard library that reckon with the clock how long they still wait; all others
keep the real clocks they hold by name (what they take from `time` itself is virtual)."""

REAL_MODELS = ("lightkube.models",)
"""Modules of declared types, which keep the real classes for good: msgspec, which reads their
annotations when it first meets one, knows those by identity and nothing else."""

INSTALLED = ("site-packages", "dist-packages")
"""Folders of what is not user code."""

_CERTIFICATE = (
    "MIHDMHegAwIBAgIBATAFBgMrZXAwDDEKMAgGA1UEAwwBeDAeFw0yNjAxMDEwMDAwMDBaFw0yNjAxMDEwMDAwMDBa"
    "MAwxCjAIBgNVBAMMAXgwKjAFBgMrZXADIQB2lo/yj6FMJyA7mIp39Yzd5iCFE+UzyxNzHzlBxe3+/zAFBgMrZXAD"
    "QQCxv54oFi3FRUtseqQVykc6PCJh2fmhhetNmW628X+6qj4/HqtEXBEHbvF5NdgwUMDSXa5TBqsExoShM7t7REcI"
)
"""The smallest there is; it is only asked for its date."""

REAL_TIME = ("hypothesis.", "execnet.", "xdist.", "coverage.", "pytest_timeout", "prompt_toolkit")
"""Callers that get real time even from `time.time` itself (freezegun looks at five frames)."""


class _Factory:
    """What freezegun asks for the frozen time: naive, UTC."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns

    def __call__(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self._now_ns() // 1_000)

    @property
    def time_to_freeze(self) -> datetime:
        """As freezegun's own factories have it."""
        return self()


class Freezes:
    """The switch.

    Parameters: `now_ns`, asked for virtual time while it is on; `replaced`, further functions that
    modules may hold under names of their own (`from time import sleep`), with what stands in;
    `monotonic_ns`, asked for what `time.monotonic` and its like show (default: `now_ns`).
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        replaced: Mapping[Any, Any],
        monotonic_ns: Callable[[], int] | None = None,
    ) -> None:
        self._api: Any = api
        self._monotonic = _monotonic_of(monotonic_ns or now_ns)
        self._real_monotonic = {name: getattr(api, name) for name in self._monotonic}
        self._factory = _Factory(now_ns)
        self._time_names = _time_names(api)
        self._fakes: dict[int, tuple[Any, Any]] = {}
        for real, fake in (*_clocks(api), *replaced.items()):
            self._fakes[id(real)] = (real, fake)
        self._reals = {id(fake): (real, fake) for real, fake in self._fakes.values()}
        self._seen: dict[str, ModuleType] = {}
        self._held: list[tuple[dict[str, Any], str, Any, Any]] = []
        """(a module's names, name, real, stand-in)"""
        self.on = False
        self._taught = False
        self._finder: Any = _Imports(api, self._imported)
        _make_twins(api)
        _for_asyncio(api.real_monotonic)

    def start(self) -> None:
        """Let user code see virtual time."""
        if self.on:
            return
        self.on = True
        api = self._api
        self._look(self._fakes)
        self._teach_cryptography()
        api.freeze_factories.append(self._factory)
        api.tz_offsets.append(timedelta(0))
        api.ignore_lists.append(REAL_TIME)
        api.tick_flags.append(False)
        for name, function in self._monotonic.items():
            setattr(api, name, function)
        for name, _, fake in self._time_names:
            setattr(time, name, fake)
        _set_datetime(api.FakeDatetime, api.FakeDate)
        sys.meta_path.insert(0, self._finder)
        for names, name, real, fake in self._held:
            if names.get(name) is real:
                names[name] = fake

    def stop(self) -> None:
        """Let user code see real time."""
        if not self.on:
            return
        self.on = False
        api = self._api
        for stack in (api.freeze_factories, api.tz_offsets, api.ignore_lists, api.tick_flags):
            stack.pop()
        for name, function in self._real_monotonic.items():
            setattr(api, name, function)
        for name, real, _ in self._time_names:
            setattr(time, name, real)
        _set_datetime(api.real_datetime, api.real_date)
        sys.meta_path.remove(self._finder)
        self._look(self._fakes, self._reals)
        for names, name, real, fake in self._held:
            if names.get(name) is fake:
                names[name] = real

    def _look(self, *tables: dict[int, tuple[Any, Any]]) -> None:
        """Remember which modules that are new hold a clock of their own."""
        modules, seen = sys.modules, self._seen
        if len(modules) == len(seen):
            return
        # A copy is made at once; of a list of pairs the collector may import in the middle.
        for module_name, module in modules.copy().items():
            if seen.get(module_name) is module:
                continue
            self._remember(module_name, module, tables)

    def _remember(
        self, module_name: str, module: ModuleType, tables: tuple[dict[int, tuple[Any, Any]], ...]
    ) -> None:
        self._seen[module_name] = module
        package = module_name.partition(".")[0]
        if package in sys.stdlib_module_names:
            if module_name in WAITING:
                self._hold(module, {"_time", "time"}, tables)
        elif not (
            module_name.startswith(REAL_MODELS)
            or package in UNTOUCHED
            or not isinstance(module, ModuleType)  # pyright: ignore[reportUnnecessaryIsInstance] - six puts others there
        ):
            self._hold(module, None, tables)

    def _imported(self, modules: list[ModuleType]) -> None:
        """Modules that were imported with the real classes show virtual time from here on."""
        self._teach_cryptography()
        before = len(self._held)
        for module in modules:
            self._remember(module.__name__, module, (self._fakes, self._reals))
        for names, name, real, fake in self._held[before:]:
            if self.on and names.get(name) is real:
                names[name] = fake

    def _teach_cryptography(self) -> None:
        """Its compiled part keeps for good the class that it finds when it first needs a date."""
        module: Any = sys.modules.get("cryptography.x509")
        if module is None or self._taught:
            return
        self._taught = True
        with real_classes():
            certificate = module.load_der_x509_certificate(b64decode(_CERTIFICATE))
            getattr(certificate, "not_valid_before_utc", None)

    def _hold(
        self, module: ModuleType, only: set[str] | None, tables: tuple[Any, ...]
    ) -> None:
        names = module.__dict__
        for table in tables:
            if table.keys().isdisjoint(map(id, names.values())):
                continue
            for name, value in list(names.items()):
                found = table.get(id(value))
                if found is not None and (only is None or name in only):
                    self._held.append((names, name, *found))


def _set_datetime(datetime_class: type, date_class: type) -> None:
    module: Any = sys.modules["datetime"]
    module.datetime = datetime_class
    module.date = date_class


@contextmanager
def real_classes() -> Generator[None]:
    """The module `datetime` as it really is, for code that must not meet the stand-ins."""
    module: Any = sys.modules["datetime"]
    held = module.datetime, module.date
    _set_datetime(api.real_datetime, api.real_date)
    try:
        yield
    finally:
        _set_datetime(*held)


def _monotonic_of(now_ns: Callable[[], int]) -> dict[str, Callable[[], Any]]:
    """The monotonic time as freezegun asks for it: a clock that nobody sets."""

    def microseconds() -> int:
        return now_ns() // 1_000

    return {
        "_get_fake_monotonic": lambda: microseconds() / 1e6,
        "_get_fake_monotonic_ns": lambda: microseconds() * 1_000,
    }


_NAMES = (
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "localtime",
    "gmtime",
    "strftime",
)


def _time_names(api: Any) -> list[tuple[str, Any, Any]]:
    return [(n, getattr(api, f"real_{n}"), getattr(api, f"fake_{n}")) for n in _NAMES]


def _clocks(api: Any) -> list[tuple[Any, Any]]:
    return [
        *((real, fake) for _, real, fake in _time_names(api)),
        (datetime, api.FakeDatetime),
        (date, api.FakeDate),
    ]


def _make_twins(api: Any) -> None:
    """Let a stand-in class be equal to the real one, and have its hash.

    Libraries look types up (`klass == datetime.datetime`, `handlers[datetime.datetime]`) that they
    have met before or after the switch; either way the look-up must succeed.
    """
    twins = {api.FakeDatetime: api.real_datetime, api.FakeDate: api.real_date}
    of = {id(fake): real for fake, real in twins.items()}

    def equal(cls: Any, other: Any) -> bool:
        return cls is other or of.get(id(cls), cls) is other

    def hashed(cls: type) -> int:
        return type.__hash__(of.get(id(cls), cls))

    api.FakeDateMeta.__eq__ = equal
    api.FakeDateMeta.__hash__ = hashed
    _teach_pydantic(api)


def _teach_pydantic(api: Any) -> None:
    """Pydantic asks types that it does not know by identity for their schema."""
    for fake, name in ((api.FakeDatetime, "datetime_schema"), (api.FakeDate, "date_schema")):
        fake.__get_pydantic_core_schema__ = _schema_hook(name)


def _schema_hook(name: str) -> Any:
    def hook(_source: Any, _handler: Any) -> Any:
        # Who asks has it; it may have been imported only now.
        return dict(getattr(sys.modules["pydantic_core.core_schema"], name)())

    return staticmethod(hook)


class _Imports:
    """A finder that lets installed modules be imported with the real classes.

    Parameters: `api`, freezegun's; `imported`, called with those that have been, once the outermost
    of them is.
    """

    def __init__(self, api: Any, imported: Callable[[list[ModuleType]], object]) -> None:
        self._real = (api.real_datetime, api.real_date)
        self._fake = (api.FakeDatetime, api.FakeDate)
        self._imported = imported
        self._depth = 0
        self._modules: list[ModuleType] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As `importlib.abc.MetaPathFinder.find_spec`: what the other finders find."""
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._surround(spec)
                return spec
        return None

    def _surround(self, spec: Any) -> None:
        loader: Any = spec.loader
        if not isinstance(loader, SourceFileLoader | SourcelessFileLoader | ExtensionFileLoader):
            return
        exec_module, installed = loader.exec_module, _is_installed(spec)

        def execute(module: ModuleType) -> None:
            held = sys.modules["datetime"].__dict__
            before = held["datetime"], held["date"]
            _set_datetime(*(self._real if installed else self._fake))
            self._depth += 1
            try:
                exec_module(module)
            finally:
                self._depth -= 1
                _set_datetime(*before)
            if installed:
                self._modules.append(module)
            if not self._depth:
                modules, self._modules = self._modules, []
                self._imported(modules)

        loader.exec_module = execute  # pyright: ignore[reportAttributeAccessIssue]


def _is_installed(spec: Any) -> bool:
    """Whether a module is no user code: of the standard library, or installed."""
    if spec.name.partition(".")[0] in sys.stdlib_module_names:
        return True
    return not _FOLDERS.isdisjoint(PurePath(spec.origin or "").parts)


_FOLDERS = frozenset(INSTALLED)


def _for_asyncio(real_monotonic: Callable[[], float]) -> None:
    """Event loops of the real world keep real time."""
    from asyncio import base_events

    def now(self: object) -> float:
        del self
        return real_monotonic()

    base_events.BaseEventLoop.time = now


