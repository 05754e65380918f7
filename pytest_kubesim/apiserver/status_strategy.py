"""The hooks of `/status` for a kind that has none of its own: status is taken, all else is kept.

Labels and annotations included, as most of upstream's status strategies do not reset metadata, yet
only spec is put back there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.registry.rest import Strategy

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.registry.rest import Context, Resource

_KEPT = frozenset({"status", "metadata", "kind", "apiVersion"})


class StatusStrategy(Strategy):
    """Takes over the status and the metadata of an update."""

    reset_fields = (("spec",),)

    def __init__(self, resource: Resource) -> None:
        self.allow_unconditional_update = resource.strategy.allow_unconditional_update
        self._main = resource.strategy

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """The old object with the new metadata and status."""
        del ctx
        kept = {key: value for key, value in obj.items() if key in _KEPT}
        rest = {key: value for key, value in old.items() if key not in _KEPT}
        return {**kept, **rest}

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """As the kind itself."""
        return self._main.validate_name(name, prefix)

    def decorate(self, obj: Object) -> Object:
        """As the kind itself."""
        return self._main.decorate(obj)
