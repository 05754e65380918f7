"""Makes `columns.json`: the columns of every built-in kind's Table, with their descriptions.

Run as `python -m pytest_kubesim.registry.generate_columns MODCACHE`, MODCACHE being a Go module
cache.  It reads `pkg/printers/internalversion/printers.go` and the descriptions that the versioned
types carry in `types_swagger_doc_generated.go`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

VERSIONS = ("kubernetes@v1.37.2", "api@v0.37.2", "apimachinery@v0.37.2")
_LIST = re.compile(r"(\w+) := \[\]metav1\.TableColumnDefinition\{\n(.*?)\n\t\}", re.DOTALL)
_MORE = re.compile(
    r"\t(\w+) = append\(\w+, \[\]metav1\.TableColumnDefinition\{\n(.*?)\n\t\}\.\.\.\)", re.DOTALL
)
_HANDLER = re.compile(r"h\.TableHandler\((\w+), print(\w+)\)")
_COLUMN = re.compile(r"\{(Name: .*)\},?")
_PART = re.compile(r'(\w+): ("(?:[^"\\]|\\.)*"|[^,]+(?:\[[^\]]*\])?)')
_IMPORT = re.compile(r'^\t(\w+) "k8s\.io/api/([^"]+)"', re.MULTILINE)
_DOC = re.compile(r"var map_(\w+) = map\[string\]string\{\n(.*?)\n\}", re.DOTALL)
_ENTRY = re.compile(r'^\t("(?:[^"\\]|\\.)*"):\s*("(?:[^"\\]|\\.)*"),$', re.MULTILINE)

_FIELD_TYPES = {"InvolvedObject": "ObjectReference"}


def _docs(path: Path) -> dict[str, dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    return {
        name: {json.loads(key): json.loads(value) for key, value in _ENTRY.findall(body)}
        for name, body in _DOC.findall(text)
    }


def make(cache: Path) -> dict[str, list[list[object]]]:
    """Columns as [name, type, format, description, priority], by kind."""
    kubernetes, api, machinery = (cache / "k8s.io" / name for name in VERSIONS)
    source = kubernetes / "pkg/printers/internalversion/printers.go"
    text = source.read_text(encoding="utf-8")
    packages = {
        alias: _docs(api / place / "types_swagger_doc_generated.go")
        for alias, place in _IMPORT.findall(text)
        if (api / place / "types_swagger_doc_generated.go").exists()
    }
    packages["metav1"] = _docs(
        machinery / "pkg/apis/meta/v1/types_swagger_doc_generated.go"
    )
    lists = {name: _columns(body, packages) for name, body in _LIST.findall(text)}
    for name, body in _MORE.findall(text):
        lists[name] += _columns(body, packages)
    return {
        kind: lists[name]
        for name, kind in _HANDLER.findall(text)
        if name in lists and not kind.endswith("List")
    }


def _columns(body: str, packages: dict[str, dict[str, dict[str, str]]]) -> list[list[object]]:
    found: list[list[object]] = []
    for line in _COLUMN.findall(body):
        parts = dict(_PART.findall(line))
        description = parts.get("Description", '""')
        if description.startswith('"'):
            shown = json.loads(description)
        else:
            match = re.match(
                r'(\w+)\.(\w+)\{\}(?:\.(\w+))?\.SwaggerDoc\(\)\["(\w*)"\]', description
            )
            assert match is not None, description
            kind = _FIELD_TYPES[match[3]] if match[3] else match[2]
            shown = packages[match[1]].get(kind, {}).get(match[4], "")
        found.append(
            [
                json.loads(parts["Name"]),
                json.loads(parts.get("Type", '""')),
                json.loads(parts.get("Format", '""')),
                shown,
                int(parts.get("Priority", "0")),
            ]
        )
    return found


if __name__ == "__main__":
    target = Path(__file__).with_name("columns.json")
    table = make(Path(sys.argv[1]))
    lines = ",\n".join(f"{json.dumps(kind)}:{json.dumps(table[kind])}" for kind in sorted(table))
    target.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
