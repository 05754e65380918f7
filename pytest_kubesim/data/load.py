"""Reads the generated files back: each at its first use, once, and never at import.

The law: what is handed out is shared and must not be changed.

========================  =====================================================================
``schemas.json.z``        a schema's keys with their Go types and merge rules
``descriptions.json.xz``  a schema's description, and those of its keys
``discovery.json.z``      groups, versions and resources in the order of discovery
``protobuf.json.xz``      message, field, number and type
``feature_gates.json.z``  a feature gate's default, and whether it is locked to that
``openapi_v*.json.xz``    the published documents (``openapi.py`` reads them)
========================  =====================================================================
"""

from __future__ import annotations

import functools
import json
import lzma
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources as package_files
from typing import Any

import attrs

from pytest_kubesim import errors

LATEST = "1.37"
VERSIONS = (LATEST,)
"""The Kubernetes versions whose data is here."""


@attrs.frozen
class Subresource:
    """A path below an object, such as ``pods/eviction``."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]
    schema_name: str | None


@attrs.frozen
class ResourceInfo:
    """A resource as discovery tells it, with the schema of its kind and how it is stored."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    subresources: tuple[Subresource, ...]
    storage_version_hash: str
    storage_version: str
    """The group version in which etcd holds it; empty where nothing is stored."""
    schema_name: str | None
    served: bool
    """Whether an API server without flags serves it."""

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


@attrs.frozen
class GroupInfo:
    """An API group with its versions, the preferred one first."""

    name: str
    versions: tuple[str, ...]

    @property
    def preferred_version(self) -> str:
        """The version that clients take unless they ask for another."""
        return self.versions[0]


def schemas(version: str = LATEST) -> Mapping[str, Mapping[str, Any]]:
    """Compact schemas by OpenAPI name; ``apimachinery.schema`` gives them a shape."""
    return _read(version, "schemas.json.z")


def descriptions(version: str = LATEST) -> Mapping[str, Sequence[Any]]:
    """By schema name: its description, and a dict of the descriptions of its keys."""
    return _read(version, "descriptions.json.xz")


def feature_gates(version: str = LATEST) -> Mapping[str, Sequence[bool]]:
    """By name of a feature gate: whether it is on by default, and whether that is so for good."""
    return _read(version, "feature_gates.json.z")


def protobuf(version: str = LATEST) -> Mapping[str, Mapping[str, Sequence[Any]]]:
    """By message (``k8s.io.api.core.v1.Pod``) and field: number, type, and perhaps a label.

    The type is a scalar's name or a full message name. The label is ``"r"`` for repeated fields
    and ``"m"`` for maps with string keys, whose type is that of the values. Structs that JSON
    inlines are messages of their own here: ``Volume`` has a field ``volumeSource``.
    """
    return _read(version, "protobuf.json.xz")


@functools.cache
def resources(version: str = LATEST, *, served_only: bool = True) -> tuple[ResourceInfo, ...]:
    """The resources in the order of discovery; all versions of them if not ``served_only``."""
    if served_only:
        return tuple(info for info in resources(version, served_only=False) if info.served)
    kinds = _schema_names(version)
    found: list[ResourceInfo] = []
    for group in _read(version, "discovery.json.z"):
        for entry in group["versions"]:
            found += _resources_of(group["group"], entry, kinds)
    return tuple(found)


@functools.cache
def groups(version: str = LATEST, *, served_only: bool = True) -> tuple[GroupInfo, ...]:
    """The API groups in the order of discovery, the core group ``""`` first."""
    found: list[GroupInfo] = []
    for group in _read(version, "discovery.json.z"):
        versions = tuple(
            entry["version"] for entry in group["versions"] if entry["served"] or not served_only
        )
        if versions:
            found.append(GroupInfo(group["group"], versions))
    return tuple(found)


@functools.cache
def api_resource_list(group: str, api_version: str, version: str = LATEST) -> list[dict[str, Any]]:
    """The ``resources`` of ``/apis/<group>/<version>``, subresources in their places.

    Empty for group versions that are not there. Follows ``meta/v1.APIResourceList``.
    """
    for entry in _read(version, "discovery.json.z"):
        for candidate in entry["versions"]:
            if (entry["group"], candidate["version"]) == (group, api_version):
                return [
                    {key: value for key, value in resource.items() if key != "storageVersion"}
                    for resource in candidate["resources"]
                ]
    return []


@functools.cache
def schema_name(group: str, api_version: str, kind: str, version: str = LATEST) -> str | None:
    """The OpenAPI name of a kind's schema, or None."""
    return _schema_names(version).get((group, api_version, kind))


@functools.cache
def _schema_names(version: str) -> dict[tuple[str, str, str], str]:
    return {
        (group, api_version, kind): name
        for name, schema in schemas(version).items()
        for group, api_version, kind in schema.get("g", ())
    }


def _resources_of(
    group: str, entry: Mapping[str, Any], kinds: Mapping[tuple[str, str, str], str]
) -> list[ResourceInfo]:
    below: dict[str, list[Subresource]] = {}
    for item in entry["resources"]:
        parent, slash, name = item["name"].partition("/")
        if slash:
            kind_group = item.get("group", group)
            kind_version = item.get("version", entry["version"])
            below.setdefault(parent, []).append(
                Subresource(
                    name,
                    item["kind"],
                    kind_group,
                    kind_version,
                    tuple(item["verbs"]),
                    kinds.get((kind_group, kind_version, item["kind"])),
                )
            )
    return [
        ResourceInfo(
            group=group,
            version=entry["version"],
            kind=item["kind"],
            plural=item["name"],
            singular=item["singularName"],
            namespaced=item["namespaced"],
            verbs=tuple(item["verbs"]),
            short_names=tuple(item.get("shortNames", ())),
            categories=tuple(item.get("categories", ())),
            subresources=tuple(below.get(item["name"], ())),
            storage_version_hash=item.get("storageVersionHash", ""),
            storage_version=item.get("storageVersion", ""),
            schema_name=kinds.get((group, entry["version"], item["kind"])),
            served=entry["served"],
        )
        for item in entry["resources"]
        if "/" not in item["name"]
    ]


@functools.cache
def _read(version: str, name: str) -> Any:
    return json.loads(read_bytes(version, name))


def read_bytes(version: str, name: str) -> bytes:
    """The content of a generated file, unpacked.

    Raises ``errors.UsageError`` for a version of Kubernetes that has no data here.
    """
    if version not in VERSIONS:
        raise errors.UsageError(
            f"There is no Kubernetes {version!r} here.",
            f"Choose one of: {', '.join(VERSIONS)}.",
        )
    file = package_files.files("pytest_kubesim.data").joinpath(
        f"v{version.replace('.', '_')}", name
    )
    packed = file.read_bytes()
    return zlib.decompress(packed) if name.endswith(".z") else lzma.decompress(packed)
