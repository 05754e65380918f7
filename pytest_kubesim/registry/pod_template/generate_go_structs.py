"""Makes `go_structs.json`: the fields of Kubernetes' internal structs in their order.

Run as `python -m pytest_kubesim.registry.pod_template.generate_go_structs MODCACHE` where MODCACHE
is the Go module cache that holds `k8s.io/kubernetes` and `k8s.io/api`.  Internal types have no JSON
tags, so Go prints them under their Go names; the versioned types tell which JSON key each has.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

VERSIONS = ("kubernetes@v1.37.2", "api@v0.37.2")
ROOTS = {
    "core": ("PodTemplateSpec", "PersistentVolumeClaimSpec", "PersistentVolumeSource", "Taint",
             "EphemeralContainer", "NodeAddress", "VolumeNodeAffinity", "PersistentVolumeClaim",
             "ServicePort", "NodeConfigSource", "ScopeSelector", "EventSource"),
    "apps": ("DeploymentStrategy", "DaemonSetUpdateStrategy", "StatefulSetUpdateStrategy",
             "RollingUpdateDaemonSet", "RollingUpdateStatefulSetStrategy"),
    "batch": ("PodFailurePolicy", "SuccessPolicy", "UncountedTerminatedPods"),
    "resource": ("ResourceClaimTemplateSpec",),
}  # fmt: skip
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(
    r"^\t(\w[\w, ]*?)\s+([\w.\[\]*{}]+)(?:\s+`json:\"([^\"]*)\"[^`]*`)?", re.MULTILINE
)
_EMBEDDED = re.compile(r"^\t([\w.]+)(?:\s+`json:\"([^\"]*)\"[^`]*`)?$")
_NAMED = re.compile(
    r"^type (\w+) (string|int32|int64|int|bool|map\[\w+\]\S+|\[\]\w+)$", re.MULTILINE
)

Fields = list[list[str]]


def _structs(text: str) -> dict[str, Fields]:
    text = re.sub(r"//[^\n]*", "", text)
    found: dict[str, Fields] = {}
    for name, body in _STRUCT.findall(text):
        fields: Fields = []
        for line in body.split("\n"):
            line = line.rstrip()
            if embedded := _EMBEDDED.match(line):
                fields.append(["", "", embedded[1]])
            elif match := _FIELD.match(line):
                key = (match[3] or "").partition(",")[0]
                fields += [[each.strip(), key, match[2]] for each in match[1].split(",")]
        found[name] = fields
    return found


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def make(cache: Path) -> dict[str, Fields]:
    """The table: name of the struct, its fields as [Go name, JSON key, Go type].

    Of two groups that have a struct of one name, the first counts.
    """
    kubernetes, api = (cache / "k8s.io" / name for name in VERSIONS)
    internal: dict[str, Fields] = {}
    versioned: dict[str, Fields] = {}
    aliases: dict[str, str] = {}
    for group in ROOTS:
        for path in sorted((kubernetes / "pkg" / "apis" / group).glob("*.go")):
            if path.name.startswith(("types", "annotation", "resource", "taint", "toleration")):
                internal = _structs(_read(path)) | internal
                aliases |= dict(_NAMED.findall(_read(path)))
        versioned = _structs(_read(api / group / "v1" / "types.go")) | versioned
    out: dict[str, Fields] = {}
    todo = [name for names in ROOTS.values() for name in names]
    while todo:
        name = todo.pop()
        if name in out or name not in internal:
            continue
        keys = {field: key for field, key, _ in versioned.get(name, [])}
        fields: Fields = []
        for field, _, kind in internal[name]:
            bare = kind.split(".")[-1].lstrip("*")
            todo += re.findall(r"\w+", kind)
            known = aliases.get(bare)
            if known and not kind.startswith(("[", "map")):
                kind = ("*" if kind.startswith("*") else "") + known
            guess = field[:1].lower() + field[1:]
            fields.append([field, keys.get(field) or guess if field else "", kind])
        out[name] = fields
    return dict(sorted(out.items()))


if __name__ == "__main__":
    target = Path(__file__).with_name("go_structs.json")
    table = make(Path(sys.argv[1]))
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(f, separators=(',', ':'))}" for name, f in table.items()
    )
    target.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
