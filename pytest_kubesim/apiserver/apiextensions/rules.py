"""`x-kubernetes-validations`: rules in CEL that a custom resource must obey.

Follows `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pytest_kubesim.errors import NotSimulated

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.apimachinery.structural.correlation import Correlation
    from pytest_kubesim.apimachinery.validation import ErrorList


@functools.lru_cache(maxsize=4096)
def has_rules(schema: Schema) -> bool:
    """Whether there is a rule at or below a place of a schema."""
    if schema.source is not None and schema.source.get("x-kubernetes-validations"):
        return True
    below = [*schema.properties.values(), schema.items, schema.additional_properties]
    return any(each is not None and has_rules(each) for each in below)


def validate(
    schema: Schema, obj: Object, old: Object | None, correlated: Correlation | None
) -> ErrorList:
    """The rules that an object breaks."""
    del schema, obj, old, correlated
    raise NotSimulated("Rules in CEL (x-kubernetes-validations) are not simulated.")
