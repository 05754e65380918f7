"""Operators written with kopf: a module that registers handlers, or a registry of them.

A module's handlers are picked out of kopf's default registry, so that tests of several operators do
not meet each other's, and a module need not be imported anew for each test.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import zlib
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_kubesim.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable


def understands(target: Any) -> bool:
    """Whether `target` is a kopf registry or a module (which then must have handlers)."""
    kopf: Any = sys.modules.get("kopf")
    if kopf is None:
        return False
    return isinstance(target, ModuleType | kopf.OperatorRegistry)


class _InOrder:
    """`asyncio` as kopf's discovery sees it: what is done side by side begins in a fixed order.

    It puts coroutines into sets, which order them by their addresses in memory.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    def as_completed(coros: Iterable[Any]) -> Any:
        """As asyncio's."""
        ordered = sorted(coros, key=lambda c: (c.__qualname__, c.cr_frame.f_locals.get("url", "")))
        return asyncio.as_completed([asyncio.ensure_future(coro) for coro in ordered])


def make_deterministic() -> None:
    """Let equal runs of kopf be equal: its sets of resources and selectors hash by content.

    Python's own hashes of strings differ from process to process, and with them the order in which
    kopf lists and watches.
    """
    references: Any = sys.modules.get("kopf._cogs.structs.references")
    scanning: Any = sys.modules.get("kopf._cogs.clients.scanning")
    if references is None or scanning is None or isinstance(scanning.asyncio, _InOrder):
        return

    def of_resource(self: Any) -> int:
        return zlib.crc32(f"{self.group}/{self.version}/{self.plural}".encode())

    def of_selector(self: Any) -> int:
        return zlib.crc32(repr(self).encode())

    references.Resource.__hash__ = of_resource
    references.Selector.__hash__ = of_selector
    scanning.asyncio = _InOrder()


def main_of(target: Any, name: str) -> Callable[[], Coroutine[Any, Any, None]]:
    """The coroutine function that runs `target`.  Raises: `UsageError` where it has no handlers."""
    kopf: Any = import_module("kopf")
    peering: Any = import_module("kopf._core.engines.peering")
    make_deterministic()
    registry = _complete(_of_module(kopf, target) if isinstance(target, ModuleType) else target)

    async def main() -> None:
        await kopf.operator(
            registry=registry,
            settings=kopf.OperatorSettings(),
            identity=peering.Identity(name),
            clusterwide=True,
        )

    return main


def _of_module(kopf: Any, target: ModuleType) -> Any:
    default = kopf.get_default_registry()
    registry = kopf.OperatorRegistry()
    found = 0
    for part, handlers in default.__dict__.items():
        chosen: Any = getattr(registry, part)
        for handler in handlers.get_all_handlers():
            module = _module_of(handler.fn)
            if module == target.__name__ or module.startswith(target.__name__ + "."):
                found += 1
                chosen.append(handler)
    if not found:
        raise UsageError(
            f"run: the module {target.__name__!r} has registered no kopf handlers; give the module "
            "(or package) whose functions have the @kopf.on... decorators, or a registry"
        )
    return registry


def _module_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(inspect.unwrap(function), "__module__", None) or ""


def _complete(registry: Any) -> Any:
    """The registry with kopf's own login where it has none; the one given is not changed."""
    causes: Any = import_module("kopf._core.intents.causes")
    registries: Any = import_module("kopf._core.intents.registries")
    login = (None, causes.Activity.AUTHENTICATION)
    activities = registry._activities  # noqa: SLF001 - kopf offers no other way to look
    if any(handler.activity in login for handler in activities.get_all_handlers()):
        return registry
    complete = registries.SmartOperatorRegistry()
    for part, handlers in registry.__dict__.items():
        for handler in handlers.get_all_handlers():
            getattr(complete, part).append(handler)
    return complete
