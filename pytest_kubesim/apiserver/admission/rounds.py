"""Second rounds: who among webhooks or policies is to see later changes of an object.

Follows `webhook/mutating/reinvocationcontext.go` and `policy/mutating/reinvocationcontext.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


@attrs.define
class Rounds:
    """What one plugin's first round over a request left for the second."""

    output: Object | None = None
    called: dict[str, None] = attrs.field(factory=dict[str, None])
    """Those that want to see later changes."""
    again: dict[str, None] = attrs.field(factory=dict[str, None])
    """Those of them that there were later changes for."""

    def changed(self) -> None:
        """The object has changed: who has seen it is to see it again."""
        self.again |= self.called
        self.called = {}
