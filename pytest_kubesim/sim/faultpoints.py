"""Where faults can strike: named points that the simulator's parts consult as they go.

A part asks `faultpoints.consult(name, **attributes)` at the place where production fails.  While
no fault is armed for that name the answer costs one dictionary look-up.  What an armed fault
answers is an *effect*, and its meaning belongs to the point (`apiserver.request` understands
`Respond`, `Drop`, `Delay` ...; see `faults/`).  This file knows no fault and no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Handler = Callable[[dict[str, Any]], Any]


class FaultPoints:
    """The points of one run and the handlers armed at them."""

    __slots__ = ("_handlers",)

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}

    def armed(self, name: str) -> bool:
        """Whether anything is armed at `name`: ask before building costly attributes."""
        return name in self._handlers

    def arm(self, name: str, handler: Handler) -> Callable[[], None]:
        """Let `handler(attributes)` decide at `name`; returns what disarms it.

        A handler answers None (nothing happens here) or an effect; the first effect wins, in the
        order of arming.
        """
        self._handlers.setdefault(name, []).append(handler)

        def disarm() -> None:
            handlers = self._handlers.get(name, [])
            if handler in handlers:
                handlers.remove(handler)
                if not handlers:
                    del self._handlers[name]

        return disarm

    def consult(self, name: str, /, **attributes: Any) -> Any:
        """The effect at `name` for this occurrence, or None."""
        handlers = self._handlers.get(name)
        if not handlers:
            return None
        for handler in list(handlers):
            effect = handler(attributes)
            if effect is not None:
                return effect
        return None
