"""The OpenAPI documents that an API server without CRDs publishes, as dicts and as bytes.

The documents are stored whole, since their paths are as much part of the answer as their schemas;
``kubectl explain``, ``kubectl apply`` and typed clients read them. They are unpacked at the first
request for any of them and then kept.

Follows ``kube-openapi/pkg/handler3`` (the index and its hashes) and ``pkg/handler``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pytest_kubesim.data import load


@functools.cache
def openapi_v3_documents(version: str = load.LATEST) -> Mapping[str, Mapping[str, Any]]:
    """Every document that is served by default, by path: ``apis/apps/v1``. Not to be changed."""
    off = {
        f"apis/{group.name}/{group_version}"
        for group in load.groups(version, served_only=False)
        for group_version in group.versions
    }
    for group in load.groups(version):
        off -= {f"apis/{group.name}/{group_version}" for group_version in group.versions}
    served_groups = {group.name for group in load.groups(version)}
    off |= {
        f"apis/{group.name}"
        for group in load.groups(version, served_only=False)
        if group.name not in served_groups
    }
    documents: dict[str, Any] = json.loads(load.read_bytes(version, "openapi_v3.json.xz"))
    return {path: document for path, document in documents.items() if path not in off}


def openapi_v3_document(version: str, path: str) -> Mapping[str, Any] | None:
    """One document, such as ``apis/apps/v1``, ``api/v1`` or ``version``; None if there is none."""
    return openapi_v3_documents(version).get(path)


@functools.cache
def openapi_v3_bytes(version: str, path: str) -> bytes | None:
    """A document as it is sent."""
    document = openapi_v3_document(version, path)
    return None if document is None else _encode(document)


@functools.cache
def openapi_v3_hash(version: str, path: str) -> str:
    """The hash of a document in the index and in its ``ETag``; its bytes decide."""
    body = openapi_v3_bytes(version, path)
    assert body is not None, path
    return hashlib.sha512(body).hexdigest().upper()


@functools.cache
def openapi_v3_index(version: str = load.LATEST) -> Mapping[str, Any]:
    """What ``/openapi/v3`` answers: where each document is."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={openapi_v3_hash(version, path)}"}
            for path in sorted(openapi_v3_documents(version))
        }
    }


@functools.cache
def openapi_v2(version: str = load.LATEST) -> Mapping[str, Any]:
    """What ``/openapi/v2`` answers. Not to be changed."""
    return json.loads(load.read_bytes(version, "openapi_v2.json.xz"))


@functools.cache
def openapi_v2_bytes(version: str = load.LATEST) -> bytes:
    """The v2 document as it is sent."""
    return _encode(openapi_v2(version))


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
