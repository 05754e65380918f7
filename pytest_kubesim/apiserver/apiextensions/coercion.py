"""What a custom resource's body is brought to: known fields, well-formed metadata.

The root's metadata is decoded as Go decodes an ObjectMeta; fields that the schema of the object's
own version does not know are dropped, and told of.

The law: nothing is changed in place.

Follows `unstructuredSchemaCoercer` and the decoders in `apiextensions-apiserver/pkg/apiserver/
customresource_handler.go`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import attrs

from pytest_kubesim.apimachinery.meta import Object, parse_api_version
from pytest_kubesim.apimachinery.schema import Schema
from pytest_kubesim.apimachinery.structural import defaulting, objectmeta, pruning


@attrs.frozen(eq=False)
class Schemas:
    """The schemas of a definition by version; the group and kind that they are for."""

    group: str
    kind: str
    by_version: Mapping[str, Schema | None]
    preserve_unknown: bool = False
    """The definition keeps unknown fields everywhere (`spec.preserveUnknownFields`)."""

    def of(self, obj: Object) -> Schema | None:
        """The schema of the version that an object is in."""
        return self.by_version.get(parse_api_version(obj.get("apiVersion") or "").version)

    def describes(self, obj: Object) -> bool:
        """Whether the object is of this group and kind."""
        group = parse_api_version(obj.get("apiVersion") or "").group
        return group == self.group and obj.get("kind") == self.kind

    def default(self, obj: Object) -> Object:
        """The object with the defaults of its own version."""
        return defaulting.default(self.of(obj), obj) if self.describes(obj) else obj


def coerce(
    schemas: Schemas, obj: Object, *, drop_invalid: bool = False, repair_generation: bool = False
) -> tuple[Object, list[str]]:
    """The object with what may be in it, and the paths of what may not.

    `drop_invalid`: metadata of a wrong type is dropped instead of refused, for what is stored;
    `repair_generation` gives a generation to what has none.  Raises `ValueError`.
    """
    metadata: Object | None = None
    unknown: list[str] = []
    if "metadata" in obj:
        metadata, names = objectmeta.object_meta(obj["metadata"], drop_invalid=drop_invalid)
        unknown += [f"metadata.{name}" for name in names]
    if schemas.describes(obj):
        schema = schemas.of(obj)
        if not schemas.preserve_unknown:
            obj, paths = pruning.prune(schema, obj)
            unknown += paths
            obj = pruning.prune_nulls(schema, obj)
        if schema is not None and _embeds(schema):
            try:
                obj, paths = objectmeta.coerce(schema, obj, drop_invalid=drop_invalid)
            except objectmeta.CoercionError as error:
                raise ValueError(str(error)) from None
            unknown += paths
        if repair_generation and metadata is not None and not metadata.get("generation"):
            metadata = {**metadata, "generation": 1}
    if metadata is not None and metadata != obj.get("metadata"):
        obj = {**obj, "metadata": metadata}
    return obj, unknown


@functools.lru_cache(maxsize=4096)
def _embeds(schema: Schema) -> bool:
    """Whether there is an embedded resource at or below a place of a schema."""
    below = [*schema.properties.values(), schema.items, schema.additional_properties]
    return schema.embedded_resource or any(each is not None and _embeds(each) for each in below)
