"""DeviceClasses: kinds of devices, by name.

Follows `pkg/registry/resource/deviceclass/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.resource import names, requests
from pytest_kubesim.registry.resource.generations import Generations
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, declared_long_name, semantically_equal


class DeviceClassStrategy(Generations):
    """`/deviceclasses`."""

    declares_name = True

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
        errors += names.each(
            given,
            32,
            lambda item, at: requests.configuration(item, at, stored=stored),
            SPEC.child("config"),
        )
        name: str | None = spec.get("extendedResourceName")
        return errors if name is None else errors + field.declared(_extended_resource(name))


def _extended_resource(name: str) -> ErrorList:
    """`ExtendedResourceName`."""
    where = SPEC.child("extendedResourceName")
    details: list[str] = []
    if "/" not in name:
        details.append("a name must be a domain-prefixed path, such as 'example.com/my-prop'")
    elif "kubernetes.io/" in name:
        details.append('must not have "kubernetes.io/" domain')
    if name.startswith("requests."):
        details.append('must not have "requests." prefix')
    details += formats.is_qualified_name(f"requests.{name}")
    return field.invalid_each(where, name, details)


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now_ns)]


KIND = Kind(strategy=DeviceClassStrategy(), printer=printer("DeviceClass", _row))
