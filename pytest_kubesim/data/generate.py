"""Writes the generated files of a Kubernetes version, from the module ``k8s.io/kubernetes``.

Run by hand when a version is added::

    go mod download k8s.io/kubernetes@v1.37.2     # and k8s.io/api and its siblings at v0.37.2
    python -m pytest_kubesim.data.generate --module DIRECTORY

The law: equal sources give equal content, whatever the machine. Nothing is filtered by taste; what
a default API server does not serve is kept and marked. What each file holds is told in
``load.py``, which reads them back.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import yaml

from pytest_kubesim.data.go_source import LEAVES, GoTypes

_ZERO_DEFAULTS: tuple[Any, ...] = ({}, "", 0, False, None)
QUICK = ("schemas", "discovery", "feature_gates")
"""The files that every run opens: packed so that they open fast. The others are packed small."""
_GATES = "test/compatibility_lifecycle/reference/versioned_feature_list.yaml"
_CBOR = re.compile(r"application/(apply-patch\+)?cbor")
_LOGS = "logs"
"""Kubernetes serves ``/logs`` only where a flag asks for it."""
_UNLISTED_STORAGE_VERSIONS = {"jfWCUB31mvA=": "apiextensions.k8s.io/v1beta1"}
"""CustomResourceDefinitions are hashed under a version that is not served any more."""
_SHORT = {
    "x-kubernetes-list-type": "l",
    "x-kubernetes-list-map-keys": "k",
    "x-kubernetes-map-type": "m",
    "x-kubernetes-patch-merge-key": "y",
}


def compact(module: Path) -> dict[str, Any]:
    """Everything that is written, by file name without ending, as JSON values."""
    go_types = GoTypes(module)
    enums = dict(_enums(module, go_types))
    documents = _documents(module)
    swagger = json.loads((module / "api/openapi-spec/swagger.json").read_text())
    for document in documents.values():
        _as_served(document, document.get("components", {}).get("schemas", {}), enums)
        document["info"]["version"] = _minor(module)
    _as_served(swagger, swagger["definitions"], enums)
    schemas = _merged_schemas(documents)
    discovery = _discovery(module, go_types)
    return {
        "schemas": {
            name: _compact_schema(name, schema, go_types, enums.get(name, {}))
            for name, schema in sorted(schemas.items())
        },
        "descriptions": {
            name: [
                schema.get("description", ""),
                {key: field.get("description", "") for key, field in _properties(schema)},
            ]
            for name, schema in sorted(schemas.items())
        },
        "discovery": discovery,
        "protobuf": _protobuf(go_types),
        "openapi_v3": documents,
        "openapi_v2": _only_served(swagger, discovery, _minor(module)),
        "feature_gates": _feature_gates(module),
    }


def write(content: dict[str, Any], directory: Path) -> None:
    """Writes the files: what every run needs is quick to open, what few need is small."""
    directory.mkdir(exist_ok=True)
    for name, value in content.items():
        raw = encode(value)
        if name in QUICK:
            (directory / f"{name}.json.z").write_bytes(zlib.compress(raw, 9))
        else:
            (directory / f"{name}.json.xz").write_bytes(lzma.compress(raw, preset=9))


def encode(value: Any) -> bytes:
    """The bytes of a file before they are packed."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _documents(module: Path) -> dict[str, Any]:
    """The OpenAPI v3 documents by path: ``apis__apps__v1_openapi.json`` is ``apis/apps/v1``."""
    found: dict[str, Any] = {}
    for file in sorted((module / "api/openapi-spec/v3").glob("*_openapi.json")):
        path = file.name.removesuffix("_openapi.json").replace("__", "/")
        if path != _LOGS:
            found[path] = json.loads(file.read_text())
    return found


def _as_served(document: Any, schemas: dict[str, Any], enums: dict[str, dict[str, _Enum]]) -> None:
    """Makes a published document what a default API server answers: no CBOR, but enums."""
    _drop_cbor(document)
    for name, schema in schemas.items():
        for key, enum in enums.get(name, {}).items():
            if (field := schema.get("properties", {}).get(key)) is not None:
                inner = field.get("items") or field.get("additionalProperties")
                (inner if enum.of_items else field)["enum"] = list(enum.values)
                field["description"] = enum.description


def _drop_cbor(node: Any) -> None:
    for table in _tables(node):
        for key in [key for key in table if _CBOR.match(key)]:
            del table[key]
        for key in ("consumes", "produces"):
            if isinstance(types := table.get(key), list):
                table[key] = [name for name in cast("list[str]", types) if not _CBOR.match(name)]


def _tables(node: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a document, outer ones first."""
    if isinstance(node, dict):
        table = cast("dict[str, Any]", node)
        yield table
        for value in table.values():
            yield from _tables(value)
    elif isinstance(node, list):
        for value in cast("list[Any]", node):
            yield from _tables(value)


def _only_served(
    swagger: dict[str, Any], discovery: list[dict[str, Any]], minor: str
) -> dict[str, Any]:
    """The v2 document without what is off by default, and without what only that refers to."""
    off = [f"/{_LOGS}/"]
    for group in discovery:
        name, served = group["group"], [entry["served"] for entry in group["versions"]]
        if not any(served):
            off.append(f"/apis/{name}/")
        for entry in group["versions"]:
            if not entry["served"]:
                off.append(f"/apis/{name}/{entry['version']}/")
    paths = {
        path: item for path, item in swagger["paths"].items() if not path.startswith(tuple(off))
    }
    definitions: dict[str, Any] = swagger["definitions"]
    parameters: dict[str, Any] = swagger["parameters"]
    reached: dict[str, Any] = {}
    pending = _references(paths)
    while pending:
        reference = pending.pop()
        if reference not in reached:
            kind, _, name = reference[2:].partition("/")
            reached[reference] = (definitions if kind == "definitions" else parameters)[name]
            pending += _references(reached[reference])
    return {
        **swagger,
        "info": {**swagger["info"], "version": minor},
        "paths": paths,
        "definitions": {k: v for k, v in definitions.items() if f"#/definitions/{k}" in reached},
        "parameters": {k: v for k, v in parameters.items() if f"#/parameters/{k}" in reached},
    }


def _references(node: Any) -> list[str]:
    found = (table.get("$ref") for table in _tables(node))
    return [reference for reference in found if isinstance(reference, str)]


def _feature_gates(module: Path) -> dict[str, list[bool]]:
    """By name of a feature gate: whether it is on by default, and whether that is so for good."""
    at = [int(part) for part in _minor(module).split(".")]
    listed = yaml.safe_load((module / _GATES).read_text())
    found: dict[str, list[bool]] = {}
    for gate in cast("list[dict[str, Any]]", listed):
        for spec in gate["versionedSpecs"]:
            if [int(part) for part in spec["version"].split(".")] <= at:
                found[gate["name"]] = [spec["default"], spec["lockToDefault"]]
    return found


def _minor(module: Path) -> str:
    """``1.37`` of a directory ``kubernetes@v1.37.2``."""
    return ".".join(module.name.partition("@v")[2].split(".")[:2])


def _merged_schemas(documents: dict[str, Any]) -> dict[str, Any]:
    """Each schema once; the documents differ only in the group versions of DeleteOptions."""
    found: dict[str, Any] = {}
    for document in documents.values():
        for name, schema in document.get("components", {}).get("schemas", {}).items():
            if name in found:
                kinds = found[name].get("x-kubernetes-group-version-kind", [])
                for kind in schema.get("x-kubernetes-group-version-kind", []):
                    if kind not in kinds:
                        kinds.append(kind)
            else:
                found[name] = json.loads(json.dumps(schema))
    return found


def _properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(schema.get("properties", {}).items())


def _compact_schema(
    name: str, schema: dict[str, Any], go_types: GoTypes, enums: dict[str, _Enum]
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if kinds := schema.get("x-kubernetes-group-version-kind"):
        out["g"] = [[kind["group"], kind["version"], kind["kind"]] for kind in kinds]
    if map_type := schema.get("x-kubernetes-map-type"):
        out["m"] = map_type
    if unions := schema.get("x-kubernetes-unions"):
        out["u"] = unions
    if required := schema.get("required"):
        out["r"] = required
    if name in LEAVES:
        return out
    properties = schema.get("properties", {})
    fields = go_types.fields(name)
    assert fields is not None, f"no Go struct for {name}"
    assert {field.name for field in fields} == set(properties), name
    for field in fields:
        facts: dict[str, Any] = {}
        if not field.omit_empty and not field.omit_zero:
            facts["o"] = 1
        if field.omit_zero:
            facts["z"] = 1
        if field.embedded:
            facts["e"] = list(field.embedded)
        spec = properties[field.name]
        for long, short in _SHORT.items():
            if long in spec:
                facts[short] = spec[long]
        if strategy := spec.get("x-kubernetes-patch-strategy"):
            facts["s"] = strategy.split(",")
        if spec.get("default") not in _ZERO_DEFAULTS:
            facts["d"] = spec["default"]
        if enum := enums.get(field.name):
            facts["I" if enum.of_items else "E"] = enum.values
        out.setdefault("p", {})[field.name] = [field.type, facts] if facts else [field.type]
    return out


_PROPERTY = re.compile(r'^\t{5}"([\w$-]+)": \{$')
_PROPERTY_DEPTH = 7
_DESCRIPTION = re.compile(r'^\t{7}Description: (".*"),$')
_ENUM = re.compile(r"^(\t+)Enum:\s+\[\]interface\{\}\{(.*)\},$")
_GO_REF = re.compile(
    r'^\t+(?:"(io\.k8s[\w.-]+)"|([\w.]+)\{\}\.OpenAPIModelName\(\)): +(schema_\w+)\('
)


@attrs.frozen
class _Enum:
    values: tuple[str, ...]
    of_items: bool
    description: str


def _enums(module: Path, go_types: GoTypes) -> Iterator[tuple[str, dict[str, _Enum]]]:
    """Which strings a field may hold, by schema and field; the published specs leave them out."""
    sources = [module / "pkg/generated/openapi/zz_generated.openapi.go"]
    for owner in ("k8s.io/apiextensions-apiserver", "k8s.io/kube-aggregator"):
        sources.append(go_types.directory(owner) / "pkg/generated/openapi/zz_generated.openapi.go")
    for source in sources:
        text = source.read_text()
        imports = dict(re.findall(r'^\t(\w+) "(k8s\.io/[^"]+)"$', text, re.MULTILINE))
        names: dict[str, str] = {}
        for line in text.splitlines():
            if match := _GO_REF.match(line):
                literal, typed, function = match.groups()
                alias, _, kind = (typed or "").partition(".")
                if literal or alias in imports:
                    names[function] = literal or (
                        "io.k8s" + imports[alias][6:].replace("/", ".") + "." + kind
                    )
        yield from _enums_of(text, names)


def _enums_of(text: str, names: dict[str, str]) -> Iterator[tuple[str, dict[str, _Enum]]]:
    schema, key, description, found = "", "", "", dict[str, _Enum]()
    for line in text.splitlines():
        if line.startswith("func schema_"):
            if found and schema:
                yield schema, found
            found = {}
            schema = names.get(line[5 : line.index("(")], "")
        elif match := _PROPERTY.match(line):
            key, description = match.group(1), ""
        elif match := _DESCRIPTION.match(line):
            description = json.loads(match.group(1))
        elif match := _ENUM.match(line):
            of_items = len(match.group(1)) > _PROPERTY_DEPTH
            found[key] = _Enum(tuple(json.loads(f"[{match.group(2)}]")), of_items, description)
    if found and schema:
        yield schema, found


def _discovery(module: Path, go_types: GoTypes) -> list[dict[str, Any]]:
    """Groups in the order of ``/apis``, core first, each with its versions and their resources."""
    folder = module / "api/discovery"
    served = _served_by_default(module, go_types)
    groups = [{"name": "", "versions": [{"groupVersion": "v1", "version": "v1"}]}]
    groups += json.loads((folder / "apis.json").read_text())["groups"]
    found: list[dict[str, Any]] = []
    for group in groups:
        name = str(group["name"])
        versions: list[dict[str, Any]] = []
        for entry in group["versions"]:
            version = entry["version"]
            path = "api__v1.json" if not name else f"apis__{name}__{version}.json"
            resources = json.loads((folder / path).read_text())["resources"]
            for resource in resources:
                if digest := resource.get("storageVersionHash"):
                    resource["storageVersion"] = _storage_version(digest, resource["kind"], groups)
            versions.append(
                {
                    "version": version,
                    "served": (name, version) in served,
                    "resources": resources,
                }
            )
        found.append({"group": name, "versions": versions})
    return found


def _served_by_default(module: Path, go_types: GoTypes) -> set[tuple[str, str]]:
    """``DefaultAPIResourceConfigSource`` of ``pkg/controlplane/instance.go``."""
    text = (module / "pkg/controlplane/instance.go").read_text()
    imports = dict(re.findall(r'^\t(\w+) "(k8s\.io/[^"]+)"$', text, re.MULTILINE))
    served = {("apiextensions.k8s.io", "v1"), ("apiregistration.k8s.io", "v1")}
    for block in re.findall(
        r"tableAPIGroupVersionsEnabledByDefault = \[\]schema\.GroupVersion\{(.*?)\}",
        text,
        re.DOTALL,
    ):
        for alias in re.findall(r"(\w+)\.SchemeGroupVersion", block):
            path = imports[alias].replace("k8s.io/kubernetes/pkg/apis/", "k8s.io/api/")
            served.add((go_types.group_of(path) or "", path.rpartition("/")[2]))
    return served


def _storage_version(digest: str, kind: str, groups: list[dict[str, Any]]) -> str:
    """Which group version a storage version hash stands for: ``StorageVersionHash`` undone."""
    for group in groups:
        for entry in group["versions"]:
            text = f"{group['name']}/{entry['version']}/{kind}".encode()
            if base64.b64encode(hashlib.sha256(text).digest()[:8]).decode() == digest:
                return entry["groupVersion"]
    return _UNLISTED_STORAGE_VERSIONS[digest]


_MESSAGE = re.compile(r"^message (\w+) \{")
_MESSAGE_FIELD = re.compile(
    r"^  (?:(optional|repeated|required) )?(map<\s*(\w+),\s*([.\w]+)\s*>|[.\w]+) (\w+) = (\d+);"
)


def _protobuf(go_types: GoTypes) -> dict[str, dict[str, list[Any]]]:
    """Messages by full name: field name to number, type, and ``r`` repeated or ``m`` map."""
    roots = sorted(
        go_types.directory(f"k8s.io/{name}")
        for name in ("api", "apiextensions-apiserver", "apimachinery", "kube-aggregator", "metrics")
    )
    found: dict[str, dict[str, list[Any]]] = {}
    for root in roots:
        for file in sorted(root.rglob("generated.proto")):
            package, message = "", ""
            for line in file.read_text().splitlines():
                if line.startswith("package "):
                    package = line[8:].rstrip(";")
                elif match := _MESSAGE.match(line):
                    message = f"{package}.{match.group(1)}"
                    found[message] = {}
                elif match := _MESSAGE_FIELD.match(line):
                    label, kind, _, value, name, number = match.groups()
                    target = (value or kind).lstrip(".")
                    if target[0].isupper():
                        target = f"{package}.{target}"
                    facts: list[Any] = [int(number), target]
                    if value or label == "repeated":
                        facts.append("m" if value else "r")
                    found[message][name] = facts
    return dict(sorted(found.items()))


def main() -> None:
    """The command line: ``--module`` is the directory of ``k8s.io/kubernetes@v1.x.y``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", type=Path, required=True)
    module: Path = parser.parse_args().module
    write(compact(module), Path(__file__).parent / f"v{_minor(module).replace('.', '_')}")


if __name__ == "__main__":
    main()
