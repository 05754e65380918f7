"""Kinds without a status whose generation counts changes of their spec."""

from __future__ import annotations

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.rest import Context
from pytest_kubesim.registry.strategies import Plain, raised, semantically_equal, with_generation


class Generations(Plain):
    """What device classes and slices share."""

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        return with_generation(obj, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the spec has changed."""
        del ctx
        return obj if semantically_equal(obj.get("spec"), old.get("spec")) else raised(obj, old)
