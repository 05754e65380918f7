"""DeviceClasses: kinds of devices, by name.

Follows `pkg/registry/resource/deviceclass/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.resource import names, requests
from pytest_kubesim.registry.resource.generations import Generations
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, declared_long_name, semantically_equal


class DeviceClassStrategy(Generations):
    """`/deviceclasses`."""

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """By a declared rule."""
        return declared_long_name(name, prefix)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`validateDeviceClassSpec`: what is as it was stored is not looked at again."""
        spec, before = parts.spec(obj), parts.spec(old)
        given = parts.structs(spec, "selectors")
        where = SPEC.child("selectors")
        stored = old is not None and semantically_equal(given, parts.structs(before, "selectors"))
        errors = [] if stored else requests.selectors(given, where)
        given = parts.structs(spec, "config")
        stored = old is not None and semantically_equal(given, parts.structs(before, "config"))
        return errors + names.each(
            given,
            32,
            lambda item, at: requests.configuration(item, at, stored=stored),
            SPEC.child("config"),
        )


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now_ns)]


KIND = Kind(strategy=DeviceClassStrategy(), printer=printer("DeviceClass", _row))
