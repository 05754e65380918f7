"""Manifests in every form in which people have them, read into plain objects.

A path of a file or folder, YAML or JSON text, a dict, a list of them, or an object of a client
library (kubernetes, kubernetes_asyncio, kr8s, lightkube, pydantic models).  No client library is
imported: their objects are known by what they can do.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from pytest_kubesim.apiserver import yaml_syntax
from pytest_kubesim.errors import ManifestError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_SUFFIXES = (".yaml", ".yml", ".json")


def load(*manifests: Any) -> list[Object]:
    """All objects of `manifests`, in order; Lists are opened, folders read in order of names.

    Raises: `ManifestError` naming the file and document that does not parse or is no object.
    """
    return [obj for manifest in manifests for obj in _load(manifest)]


def _load(manifest: Any) -> Iterator[Object]:
    if isinstance(manifest, os.PathLike):
        yield from _path(Path(cast("os.PathLike[str]", manifest)))
    elif isinstance(manifest, str):
        if _is_path(manifest):
            yield from _path(Path(manifest))
        else:
            yield from _text(manifest, "the text given")
    elif isinstance(manifest, dict):
        yield from _object(cast("Object", manifest), "the object given")
    elif isinstance(manifest, list | tuple):
        for item in cast("list[Any]", manifest):
            yield from _load(item)
    else:
        yield from _object(plain(manifest), f"the {type(manifest).__name__} given")


def _is_path(text: str) -> bool:
    """Whether a text names a file or folder: one line, and there, or too plain to be YAML."""
    if "\n" in text:
        return False
    return ":" not in text.strip().replace(":\\", "", 1) or Path(text).exists()


def _path(path: Path) -> Iterator[Object]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file())
        if not files:
            raise ManifestError(
                f"{path}: the folder holds no manifest; files that end in "
                f"{', '.join(_SUFFIXES)} are read"
            )
        for file in files:
            yield from _path(file)
        return
    if not path.is_file():
        raise ManifestError(
            f"{path}: no such file or folder (seen from {Path.cwd()}); give a path, YAML text, a "
            "dict or an object of a client library"
        )
    yield from _text(path.read_text(encoding="utf-8"), str(path))


def _at_the_margin(text: str) -> str:
    """A text in a test stands as far to the right as the code around it; `---` must not."""
    return textwrap.dedent(text) if text.lstrip("\n").startswith(" ") else text


def _text(text: str, source: str) -> Iterator[Object]:
    try:
        documents = yaml_syntax.documents(_at_the_margin(text))
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestError(f"{source}: not YAML: {error}") from None
    for number, document in enumerate(documents, 1):
        if document is not None:
            where = source if len(documents) == 1 else f"{source}, document {number}"
            yield from _object(document, where)


def _object(obj: Any, source: str) -> Iterator[Object]:
    if not isinstance(obj, dict):
        raise ManifestError(
            f"{source}: a manifest is a mapping with apiVersion and kind, this is {obj!r:.60}"
        )
    manifest = cast("Object", obj)
    for field in ("apiVersion", "kind"):
        if not isinstance(manifest.get(field), str) or not manifest[field]:
            raise ManifestError(
                f"{source}: {field} is missing (or not a string); every manifest says its "
                "apiVersion and kind"
            )
    if manifest["kind"].endswith("List") and isinstance(manifest.get("items"), list):
        for number, item in enumerate(manifest["items"]):
            yield from _object(item, f"{source}, items[{number}]")
        return
    yield manifest


def plain(obj: Any) -> Object:
    """An object of a client library as a plain dict; fields that are None are left out.

    Raises: `ManifestError` when nothing is known of its type.
    """
    result = _plain(obj)
    if not isinstance(result, dict):
        raise ManifestError(
            f"{type(obj).__module__}.{type(obj).__name__} is not a manifest; give a path, YAML "
            "text, a dict or an object of a client library"
        )
    return cast("Object", result)


def _plain(obj: Any) -> Any:
    if obj is None or isinstance(obj, str | int | float | bool):
        return obj
    if isinstance(obj, dict):
        items = cast("dict[Any, Any]", obj).items()
        return {str(k): _plain(v) for k, v in items if v is not None}
    if isinstance(obj, list | tuple):
        return [_plain(item) for item in cast("list[Any]", obj)]
    attribute_map = getattr(obj, "attribute_map", None)
    if isinstance(attribute_map, dict):  # kubernetes, kubernetes_asyncio: OpenAPI models
        names = cast("dict[str, str]", attribute_map)
        values = {json: getattr(obj, python) for python, json in names.items()}
        return {k: _plain(v) for k, v in values.items() if v is not None}
    if hasattr(obj, "model_dump"):  # pydantic
        return _plain(obj.model_dump(by_alias=True, exclude_none=True, mode="json"))
    for method in ("to_dict", "as_dict"):  # lightkube, kr8s
        convert = getattr(obj, method, None)
        if callable(convert):
            return _plain(convert())
    if hasattr(obj, "isoformat"):
        text = str(obj.isoformat())
        return text.replace("+00:00", "Z")
    if hasattr(obj, "raw"):
        return _plain(obj.raw)
    if hasattr(obj, "items"):
        return {str(k): _plain(v) for k, v in obj.items()}
    return obj
