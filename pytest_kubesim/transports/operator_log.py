"""What operators say: their log records and what they print go to `operator.log` as well."""

from __future__ import annotations

import builtins
import logging
import sys
from typing import Any

from pytest_kubesim.transports import addresses
from pytest_kubesim.transports.actors import WORLD

QUIET = ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "aiohttp", "asyncio")
"""Loggers that tell of every request: while nobody sets their level, they give warnings only."""

_real_print = builtins.print


class OperatorHandler(logging.Handler):
    """Gives a record to the operator that is running."""

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler.emit`."""
        actor = WORLD.actor
        if actor is None or actor.dead or not WORLD.inside():
            return
        try:
            actor.operator.record(addresses.anywhere(self.format(record)), record.levelname)
        except Exception:  # noqa: BLE001 - logging's own rule: never raise
            self.handleError(record)


def _print(*values: Any, **options: Any) -> None:
    _real_print(*values, **options)
    actor = WORLD.actor
    if actor is None or actor.dead or not WORLD.inside():
        return
    if options.get("file") in (None, sys.stdout, sys.stderr):
        separator = options.get("sep")
        text = (" " if separator is None else separator).join(str(v) for v in values)
        actor.operator.record(addresses.anywhere(text), "PRINT")


class OperatorLogs:
    """The switch."""

    def __init__(self) -> None:
        self._handler = OperatorHandler(logging.NOTSET)
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self._level: int | None = None
        self._quieted: list[logging.Logger] = []

    def install(self) -> None:
        """Listen.  A root logger that nobody has configured lets INFO through meanwhile."""
        root = logging.getLogger()
        root.addHandler(self._handler)
        if root.level == logging.WARNING:
            self._level = root.level
            for logger in map(logging.getLogger, QUIET):
                if logger.level == logging.NOTSET:
                    logger.level = logging.WARNING
                    self._quieted.append(logger)
            root.setLevel(logging.INFO)  # forgets what all loggers remember of their levels
        builtins.print = _print

    def uninstall(self) -> None:
        """Listen no longer."""
        builtins.print = _real_print
        root = logging.getLogger()
        root.removeHandler(self._handler)
        if self._level is not None:
            while self._quieted:
                self._quieted.pop().level = logging.NOTSET
            root.setLevel(self._level)
            self._level = None
