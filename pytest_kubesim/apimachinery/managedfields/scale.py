"""Managed fields seen through the scale subresource, where only the replicas are.

The law: who owns the replicas of the parent owns ``spec.replicas`` of its scale, and what a scale's
update takes is taken in the parent. Paths are given by the parent's ``apiVersion``; None stands for
a version that has no replicas.

Follows ``apimachinery/pkg/util/managedfields/scalehandler.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_kubesim.apimachinery import fieldpath
from pytest_kubesim.apimachinery.fieldpath import Path
from pytest_kubesim.apimachinery.managedfields import entries as managed
from pytest_kubesim.apimachinery.managedfields.entries import Managers, Owned
from pytest_kubesim.apimachinery.meta import Object

SCALE_VERSION = "autoscaling/v1"
REPLICAS: Path = ("f:spec", "f:replicas")

Mappings = Mapping[str, "Path | None"]


def to_subresource(parent: Sequence[Object] | None, mappings: Mappings) -> list[Object]:
    """The entries of the scale for those of its parent. Raises ``UndecodableEntry``."""
    found: Managers = {}
    for who, owned in managed.decode(parent, stored=True).items():
        path = mappings.get(owned.api_version)
        if path is not None and fieldpath.has(owned.fields, path):
            fields = fieldpath.of(REPLICAS)
            found[who] = Owned(fields, SCALE_VERSION, owned.applied, owned.time)
    return managed.encode(found)


def to_parent(
    parent: Sequence[Object] | None,
    scale: Sequence[Object] | None,
    *,
    api_version: str,
    mappings: Mappings,
) -> list[Object]:
    """The entries of the parent after its scale was written. Raises ``UndecodableEntry``."""
    before = managed.decode(parent, stored=True)
    scaled = managed.decode(scale, stored=True)
    found: Managers = {}
    for who, owned in before.items():
        if owned.api_version not in mappings:
            continue
        path = mappings[owned.api_version]
        if path is None or not fieldpath.has(owned.fields, path):
            found[who] = owned
            continue
        # An updater's identity has its version in it, so that it never meets itself in a scale:
        # its replicas come back below, as an entry of their own without a time.
        if who in scaled:
            found[who] = owned
            del scaled[who]
            continue
        left = fieldpath.difference(owned.fields, fieldpath.of(path))
        if left:
            found[who] = owned.with_fields(left)
    path = mappings.get(api_version)
    for who, owned in scaled.items():
        if path is not None and fieldpath.has(owned.fields, REPLICAS):
            time = before[who].time if who in before else None
            found[who] = Owned(fieldpath.of(path), api_version, owned.applied, time)
    return managed.encode(found)
