"""What the Go types say that the published specs leave out.

The OpenAPI documents do not tell which fields are printed though they are empty, how a type is
called in a decoding error, or in which order an object is written. The struct declarations of the
modules beside ``k8s.io/kubernetes`` do. This file reads just as much Go as those declarations
need: ``type X struct {...}``, ``type X Y``, imports, and ``json`` tags. Only the generator uses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

_IMPORT = re.compile(r'^\s*(?:import\s+)?(?:(\w+)\s+)?"([^"]+)"\s*$')
_STRUCT = re.compile(r"^type (\w+) struct\s*\{\s*(\})?\s*(?://.*)?$")
_NAMED = re.compile(r"^(?:type |\t)(\w+) (?:= )?([\w.\[\]*]+)\s*(?://.*)?$")
_FIELD = re.compile(r"^\t(?:([A-Z]\w*)\s+)?([\w.*\[\]]+)(?:\s+`([^`]*)`)?\s*(?://.*)?$")
_TAG = re.compile(r'json:"([^"]*)"')
_GROUP_NAME = re.compile(r'GroupName\s*=\s*"([^"]*)"')
_PRIMITIVES = frozenset(
    {"string", "bool", "byte", "uint8", "int32", "int64", "uint32", "float32", "float64", "any"}
)

LEAVES = frozenset(
    {
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    }
)
"""The types that decode and encode themselves; their struct fields do not matter."""


@attrs.frozen
class Field:
    """One key of an object, as the Go struct declares it."""

    name: str
    type: str
    omit_empty: bool
    omit_zero: bool
    embedded: tuple[str, ...]
    """The inlined structs on the way, by field name: a decoding error's path shows them."""


@attrs.frozen
class _Struct:
    lines: tuple[tuple[str, str, str], ...]
    imports: dict[str, str]


@attrs.frozen
class _Package:
    structs: dict[str, _Struct]
    named: dict[str, tuple[str, dict[str, str]]]
    group: str | None


class GoTypes:
    """Struct declarations of the Kubernetes modules, read a package at a time.

    Types are written in a small grammar of this project: ``*T``, ``[]T``, ``map[K]T``, a primitive,
    a schema's full name for a struct, and ``v1.PullPolicy=string`` for a named type.
    """

    def __init__(self, module: Path) -> None:
        """``module`` is the directory of ``k8s.io/kubernetes``; its siblings lie beside it."""
        version = module.name.partition("@v1.")[2]
        self._root = module.parent
        self._suffix = f"@v0.{version}"
        self._packages: dict[str, _Package | None] = {}

    def group_of(self, import_path: str) -> str | None:
        """The API group that a package registers, from its ``GroupName`` constant."""
        package = self._package(import_path)
        return package.group if package else None

    def directory(self, import_path: str) -> Path:
        """Where the files of an import path such as ``k8s.io/api/core/v1`` are."""
        repository, _, rest = import_path.removeprefix("k8s.io/").partition("/")
        return self._root / f"{repository}{self._suffix}" / rest

    def fields(self, schema_name: str) -> list[Field] | None:
        """The keys of a struct in the order Go writes them, or None if there is no such struct."""
        import_path, _, name = schema_name.rpartition(".")
        return self._fields(_import_path(import_path), name, ())

    def _fields(self, import_path: str, name: str, embedded: tuple[str, ...]) -> list[Field] | None:
        package = self._package(import_path)
        if package and name in package.named:
            target, imports = package.named[name]
            return self._fields(*self._locate(target, import_path, imports), embedded)
        struct = package.structs.get(name) if package else None
        if struct is None:
            return None
        found: list[Field] = []
        for go_name, go_type, tag in struct.lines:
            key, *options = tag.split(",")
            if key == "-":
                continue
            if not go_name and not key:
                inner_path, inner = self._locate(go_type.lstrip("*"), import_path, struct.imports)
                found += self._fields(inner_path, inner, (*embedded, inner)) or []
                continue
            assert key, f"{schema_name_of(import_path, name)}.{go_name} has no json name"
            found.append(
                Field(
                    key,
                    self._render(go_type, import_path, struct.imports),
                    "omitempty" in options,
                    "omitzero" in options,
                    embedded,
                )
            )
        return found

    def _render(self, go_type: str, import_path: str, imports: dict[str, str]) -> str:
        if go_type.startswith("*"):
            return "*" + self._render(go_type[1:], import_path, imports)
        if go_type.startswith("[]"):
            return "[]" + self._render(go_type[2:], import_path, imports)
        if go_type.startswith("map["):
            key, _, value = go_type[4:].partition("]")
            key_name = self._render(key, import_path, imports).partition("=")[0]
            return f"map[{key_name}]{self._render(value, import_path, imports)}"
        if go_type in _PRIMITIVES:
            return "uint8" if go_type == "byte" else go_type
        path, name = self._locate(go_type, import_path, imports)
        full = schema_name_of(path, name)
        package = self._package(path)
        if full in LEAVES or package is None or name in package.structs:
            return full
        underlying, inner_imports = package.named[name]
        rendered = self._render(underlying, path, inner_imports)
        if rendered.startswith("io.k8s."):
            return full
        return f"{path.rpartition('/')[2]}.{name}={rendered}"

    def _locate(self, go_type: str, import_path: str, imports: dict[str, str]) -> tuple[str, str]:
        alias, _, name = go_type.rpartition(".")
        return (imports[alias] if alias else import_path), name

    def _package(self, import_path: str) -> _Package | None:
        if import_path not in self._packages:
            directory = self.directory(import_path)
            read = import_path.startswith("k8s.io/") and directory.is_dir()
            self._packages[import_path] = _read_package(directory) if read else None
        return self._packages[import_path]


def schema_name_of(import_path: str, name: str) -> str:
    """The name that the OpenAPI documents give to a Go type."""
    return "io.k8s" + import_path.removeprefix("k8s.io").replace("/", ".") + "." + name


def _import_path(schema_package: str) -> str:
    """The import path of the package of a schema name: ``io.k8s.api.core.v1`` has dots only."""
    return "k8s.io/" + schema_package.removeprefix("io.k8s.").replace(".", "/")


def _read_package(directory: Path) -> _Package:
    structs: dict[str, _Struct] = {}
    named: dict[str, tuple[str, dict[str, str]]] = {}
    group: str | None = None
    for file in sorted(directory.glob("*.go")):
        if file.name.endswith("_test.go") or "generated" in file.name:
            continue
        text = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        if match := _GROUP_NAME.search(text):
            group = match.group(1)
        imports = _imports(text)
        lines = iter(text.splitlines())
        for line in lines:
            if match := _STRUCT.match(line):
                body = () if match.group(2) else tuple(_struct_lines(lines))
                structs[match.group(1)] = _Struct(body, imports)
            elif (match := _NAMED.match(line)) and match.group(2) != "struct":
                named.setdefault(match.group(1), (match.group(2), imports))
    return _Package(structs, named, group)


def _struct_lines(lines: Iterator[str]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for line in lines:
        if line.startswith("}"):
            break
        if line.strip().startswith("//") or not line.strip():
            continue
        if match := _FIELD.match(line):
            go_name, go_type, tags = match.groups()
            tag = _TAG.search(tags or "")
            if go_name and not tag:
                continue
            found.append((go_name or "", go_type, tag.group(1) if tag else ""))
    return found


def _imports(text: str) -> dict[str, str]:
    block = re.search(r"^import \((.*?)^\)", text, re.DOTALL | re.MULTILINE)
    single = re.findall(r'^import .*"$', text, re.MULTILINE)
    lines = block.group(1).splitlines() if block else single
    found: dict[str, str] = {}
    for line in lines:
        if match := _IMPORT.match(line):
            alias, path = match.groups()
            found[alias or path.rpartition("/")[2]] = path
    return found
