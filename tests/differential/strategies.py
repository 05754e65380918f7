"""Hypothesis strategies of request sequences: objects made from the schemas, valid and slightly wrong.

A case is plain JSON, so that it can be written down: ``{"kind": ..., "steps": [...]}``, each step a
request in which ``$ns`` and ``$id`` stand for the case's namespace and name.  A step with ``edits``
has no body: the last object that the server answered is sent back with those edits, so that a
request needs to know nothing of what a server made up.

An edit is ``[path, value]``, or ``[path]`` for a removal; it goes where the schema has a field, and
its value is what that field may hold, nearly may hold, or may not hold.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import Schema, from_structural, schema_for
from pytest_kubesim.builders import fake
from pytest_kubesim.data import load

Edit = list[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

JUNK = [None, "x", 1, True, [], {}, ["x"], {"a": "b"}, 1.5, -3, ""]
LONG = "x" * 64

STRINGS: list[tuple[str, list[str]]] = [
    (r"^image$", ["nginx", "", " nginx", "nginx:1"]),
    (r"(?i)path$", ["/a", "a", "../x", "/a/../b", "", "/", "/a:b", "b/c"]),
    (r"(?i)cidrs?$|^except$", ["10.0.0.0/8", "10.0.0.1/8", "fd00::/64", "10.0.0.0/33", "x"]),
    (r"(?i)ips?$|^nameservers$", ["10.0.0.1", "fd00::1", "1.2.3", "010.2.3.4", "", "x"]),
    (r"^schedule$", ["0 * * * *", "@hourly", "TZ=UTC 0 * * * *", "61 * * * *", "", "x"]),
    (r"^timeZone$", ["Europe/Berlin", "Etc/UTC", "", "Mars/X", "Local"]),
    (r"(?i)apiversion$", ["v1", "apps/v1", "a/b/c", ""]),
    (r"(?i)apigroups?$", ["", "apps", "rbac.authorization.k8s.io", "*", "A_b"]),
    (r"(?i)kind$", ["Deployment", "ServiceAccount", "User", "Secret", "", "a/b"]),
    (r"^operator$", ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Equal", "x"]),
    (r"^verbs$", ["get", "*", "list", ""]),
    (r"^resources?$", ["pods", "*", "pods/log", "requests.cpu", "limits.memory", ""]),
    (r"(?i)key$", ["a", "example.com/a", "a b", "kubernetes.io/hostname", "", LONG]),
    (r"^(host|externalName|subdomain|searches)$", ["a.example.com", "*.a.com", "A_b", "", "1.2.3.4"]),
    (r"^(unconfined|localhostProfile|procMount|level|role|user)$", ["a", "", "s0", "../x"]),
    (r"^finalizers$", ["example.com/f", "kubernetes", "x", "", "a b", "foregroundDeletion"]),
    (r"^fieldPath$", ["metadata.name", "status.podIP", "metadata.labels['a']", "x", "spec.nodeName", ""]),
    (r"(?i)name$", ["a", "web", "data", "A", "a_b", "a.b", "-a", "", LONG, "x" * 254]),
    (r"^port$", ["http", "a", "80"]),
    (r"^type$", ["a", "Opaque", "Recreate", "Resource", "", "kubernetes.io/tls"]),
    (r"^protocol$", ["TCP", "UDP", "SCTP", "tcp", ""]),
    (r"(?i)policy$", ["Always", "Never", "Retain", "Delete", "", "x"]),
    (r"(?i)modes?$", ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteOncePod", "Filesystem", "x"]),
]  # fmt: skip
"""What strings fields of such names may hold, and what they may not."""

ANY_STRING = ["a", "", "a b", "A/b", LONG]
KEYS = ["a", "app", "example.com/a", "a b", "", "-x", "A.b_c", LONG, "kubernetes.io/x"]
RESOURCES = ["cpu", "memory", "ephemeral-storage", "storage", "hugepages-2Mi", "example.com/gpu", "pods", "x"]  # fmt: skip
QUANTITIES = ["1", "100m", "1Gi", "0", "-1", "1.5", "0.1", "1e3", "10M", "abc", "1 Gi", 1, 1.5, "", "0.0001", "1Mi"]  # fmt: skip
NUMBERS = [0, 1, 2, 3, 5, 80, 100, 8080, 65535, 65536, -1, 2147483647, 2147483648, 600000, 31536001]
INT_OR_STRINGS = [1, "50%", "http", "0%", "101%", "-1", 0, -1, "", "25", 80, 70000, "a_b", "1.5%"]
TIMES = ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.6Z", "2026-01-02T03:04:05+02:00", "x", "", None]
MICRO_TIMES = ["2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05Z", "x"]
BYTES = ["", "aGVsbG8=", "aGVsbG8", "***", "/w=="]
OF_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "name")
NAMED = ("Namespace", "Service")
"""Kinds that are always made under their case's name: a namespace stays, as nobody empties it here,
and a service without a name is refused for the address that is made before it is looked at."""
NEVER = {"apiVersion", "kind", "status", "managedFields", "metadata"}


def value(draw: Draw, schema: Schema, name: str, depth: int = 0) -> Any:
    """What a field of that schema and name may hold, more or less."""
    if draw(st.integers(0, 24)) == 24:
        return draw(st.sampled_from(JUNK))
    kind = schema.go.kind or schema.type
    if schema.enum:
        return draw(st.sampled_from([*schema.enum, "", "x", str(schema.enum[0]).lower()]))
    if schema.type == "object" and kind in ("struct", "object"):
        return _struct(draw, schema, depth)
    if kind in ("slice", "array"):
        item = schema.items
        assert item is not None
        count = draw(st.sampled_from((1, 1, 2, 0) if depth < 5 else (0,)))
        return [value(draw, item, name, depth + 1) for _ in range(count)]
    if kind == "map":
        inner = schema.additional_properties
        assert inner is not None
        keys = RESOURCES if inner.go.kind == "quantity" else KEYS
        found = draw(st.lists(st.sampled_from(keys), max_size=2, unique=True))
        return {key: value(draw, inner, "", depth + 1) for key in found}
    return draw(st.sampled_from(_leaves(schema, kind, name)))


def _leaves(schema: Schema, kind: str, name: str) -> list[Any]:
    if schema.int_or_string or kind == "intstr":
        return INT_OR_STRINGS
    if kind == "string":
        return next((pool for pattern, pool in STRINGS if re.search(pattern, name)), ANY_STRING)
    pools: dict[str, list[Any]] = {
        "bool": [True, False], "boolean": [True, False], "int": NUMBERS, "integer": NUMBERS,
        "float": [0, 1.5], "number": [0, 1.5, 3], "quantity": QUANTITIES, "time": TIMES,
        "microtime": MICRO_TIMES, "bytes": BYTES, "duration": ["1s", "x", "1h0m"],
        "raw": [{}, {"a": 1}, {"a": {"b": [1, "c"]}}],
    }  # fmt: skip
    return pools.get(kind, JUNK)


def _struct(draw: Draw, schema: Schema, depth: int) -> Any:
    names = [k for k in schema.properties if k not in ("status", "managedFields")]
    if not names:
        return {}
    wanted = [k for k in schema.required if k in schema.properties]
    if wanted and draw(st.integers(0, 11)) == 11:
        wanted = wanted[1:]
    if depth < 5:
        most = 2 if depth else 3
        wanted += draw(st.lists(st.sampled_from(names), max_size=most, min_size=0 if wanted else 1))
    made = {k: value(draw, schema.properties[k], k, depth + 1) for k in dict.fromkeys(wanted)}
    if draw(st.integers(0, 30)) == 30:
        made["unknownField"] = "x"
    return made


def edit(draw: Draw, schema: Schema, doc: Any, top: list[str]) -> Edit:
    """A change of one place of `doc`, below one of the keys `top`."""
    path: list[Any] = []
    name = ""
    while True:
        last = draw(st.integers(0, 19))
        if path and last >= 18:
            return [path, draw(st.sampled_from(JUNK))] if last == 19 else [path]
        if isinstance(doc, dict) and schema.type == "object" and schema.properties:
            if path and draw(st.integers(0, 40)) == 40:
                return [[*path, "unknownField"], "x"]
            names = top if not path else [k for k in schema.properties if k not in NEVER or k == "kind"]
            if path == ["metadata"]:
                names = list(OF_METADATA)
            present = [k for k in names if k in doc]
            deeper = bool(present) and (not path or draw(st.integers(0, 1)) == 1)
            name = draw(st.sampled_from(present if deeper else names))
            path, schema = [*path, name], schema.properties[name]
            if name not in doc or not doc[name] or draw(st.integers(0, 5)) == 5:
                return [path, value(draw, schema, name, len(path))]
            doc = doc[name]
        elif isinstance(doc, list) and schema.items is not None:
            schema = schema.items
            choice = draw(st.integers(0, 9))
            if not doc or choice == 9:
                return [[*path, len(doc)], value(draw, schema, name, len(path))]
            index = draw(st.integers(0, len(doc) - 1))
            if choice == 8:
                return [[*path, len(doc)], copy.deepcopy(doc[index])]
            path, doc = [*path, index], doc[index]
        elif isinstance(doc, dict) and schema.additional_properties is not None:
            schema = schema.additional_properties
            keys = RESOURCES if schema.go.kind == "quantity" else KEYS
            key = draw(st.sampled_from([*doc, *keys]))
            return [[*path, key], value(draw, schema, "", len(path))]
        else:
            return [path, value(draw, schema, name, len(path))]


def edited(doc: Any, edits: list[Edit]) -> Any:
    """`doc` with the edits done; one whose place is not there does nothing."""
    made = copy.deepcopy(doc)
    for change in edits:
        path, here = change[0], made
        for key in path[:-1]:
            if isinstance(here, dict) and isinstance(key, str):
                if not isinstance(here.get(key), dict | list):
                    here[key] = {}
                here = here[key]
            elif isinstance(here, list) and isinstance(key, int) and key < len(here):
                here = here[key]
            else:
                here = None
                break
        _put(here, path[-1], change[1:])
    return made


def _put(here: Any, key: Any, new: list[Any]) -> None:
    if isinstance(here, dict) and isinstance(key, str):
        if new:
            here[key] = copy.deepcopy(new[0])
        else:
            here.pop(key, None)
    elif isinstance(here, list) and isinstance(key, int):
        if new:
            here[key : key + 1] = [copy.deepcopy(new[0])]
        else:
            del here[key : key + 1]


def merge_document(edits: list[Edit], doc: Object) -> Object:
    """The edits as a merge patch; what lies in a list brings along the whole entry's keys."""
    made: Object = {}
    after = edited(doc, edits)
    for change in edits:
        path = change[0]
        cut = next((n for n, key in enumerate(path) if isinstance(key, int)), None)
        here, there = made, after
        keys = path if cut is None else path[:cut]
        for key in keys[:-1]:
            here = here.setdefault(key, {})
            there = there.get(key, {}) if isinstance(there, dict) else {}
            if not isinstance(here, dict):
                break
        if isinstance(here, dict) and isinstance(there, dict):
            here[keys[-1]] = copy.deepcopy(there.get(keys[-1]))
    return made


def json_patch(edits: list[Edit], doc: Object) -> list[Object]:
    """The edits as operations."""
    made: list[Object] = []
    for change in edits:
        pointer = "".join("/" + str(k).replace("~", "~0").replace("/", "~1") for k in change[0])
        if len(change) == 1:
            made.append({"op": "remove", "path": pointer})
        else:
            here = doc
            for key in change[0]:
                try:
                    here = here[key]
                except (KeyError, IndexError, TypeError):
                    here = None
                    break
            operation = "replace" if here is not None else "add"
            made.append({"op": operation, "path": pointer, "value": change[1]})
    return made


CUSTOM = "Gadget"
GROUP = "fuzz.example.com"
_LIST_MAP = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_PART = {
    "type": "object", "required": ["name"],
    "properties": {"name": {"type": "string", "maxLength": 8}, "port": {"type": "integer", "default": 80},
                   "protocol": {"type": "string", "enum": ["TCP", "UDP"]}},
}  # fmt: skip
_SPEC_SCHEMA = {
    "type": "object",
    "required": ["replicas"],
    "properties": {
        "replicas": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100},
        "ratio": {"type": "number", "exclusiveMinimum": True, "minimum": 0},
        "image": {"type": "string", "pattern": "^[a-z:0-9]+$", "minLength": 1},
        "paused": {"type": "boolean", "default": False},
        "parts": {"type": "array", "items": _PART, "maxItems": 3, **_LIST_MAP},
        "modes": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "names": {"type": "array", "items": {"type": "string", "format": "date-time"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
        "limit": {"x-kubernetes-int-or-string": True},
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "note": {"type": "string", "nullable": True},
        "source": {"type": "object", "x-kubernetes-map-type": "atomic",
                   "properties": {"kind": {"type": "string", "default": "Git"}, "name": {"type": "string"}}},
    },
}  # fmt: skip
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"gadgets.{GROUP}"},
    "spec": {
        "group": GROUP, "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": CUSTOM, "listKind": "GadgetList"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": _SPEC_SCHEMA,
                "status": {"type": "object", "properties": {
                    "phase": {"type": "string"}, "ready": {"type": "integer"}}}}}},
        }],
    },
}  # fmt: skip
"""The custom kind of the fuzz: a bit of all that a structural schema can say."""


class Subject:
    """A kind under test: where it is and what a good object of it is."""

    def __init__(self, kind: str, api_version: str = "") -> None:
        self.custom = kind == CUSTOM
        if self.custom:
            self._be_custom()
        else:
            self._be_built_in(kind, api_version)

    def _be_custom(self) -> None:
        source: Any = DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        below = from_structural(source)
        metadata = schema_for("", "v1", "ConfigMap")
        assert metadata is not None
        known = {"metadata": metadata.properties["metadata"], **below.properties}
        self.kind, self.has_status = CUSTOM, True
        self.schema = Schema(type="object", properties=known)
        self.path = f"/apis/{GROUP}/v1/namespaces/$ns/gadgets"
        self.good = {
            "apiVersion": f"{GROUP}/v1", "kind": CUSTOM, "metadata": {"name": "x-$id"},
            "spec": {"replicas": 1, "image": "a:1", "parts": [{"name": "a"}, {"name": "b", "port": 1}],
                     "labels": {"a": "b"}, "source": {"name": "x"}, "raw": {"a": [1]}},
        }  # fmt: skip

    def _be_built_in(self, kind: str, api_version: str) -> None:
        info = next(
            i for i in load.resources() if i.kind == kind and api_version in ("", i.api_version)
        )
        schema = schema_for(info.group, info.version, kind)
        assert schema is not None
        self.schema, self.kind = schema, kind
        self.has_status = any(s.name == "status" for s in info.subresources)
        group = f"/apis/{info.group}" if info.group else "/api"
        inside = "/namespaces/$ns" if info.namespaced else ""
        self.path = f"{group}/{info.version}{inside}/{info.plural}"
        made = fake(1).k8s_object(kind, info.api_version)
        metadata = {"name": "x-$id", "labels": {"app": "a"}}
        self.good: Object = renamed({**made, "metadata": metadata}, made["metadata"]["name"])
        self.good = merged(self.good, copy.deepcopy(RICHER.get(kind, {})))

    @property
    def top(self) -> list[str]:
        """The keys of an object in which edits lie; the metadata is the rarest."""
        keys = [k for k in self.schema.properties if k not in NEVER]
        return [*(k for k in keys for _ in range(1 + 6 // len(keys))), "metadata"]


def renamed(doc: Any, name: str) -> Any:
    """`doc` with the case's name wherever it had its own."""
    if isinstance(doc, dict):
        return {k: renamed(v, name) for k, v in doc.items()}
    if isinstance(doc, list):
        return [renamed(v, name) for v in doc]
    return doc.replace(name, "x-$id") if isinstance(doc, str) else doc


def merged(doc: Any, more: Any) -> Any:
    """`more` on top of `doc`; entries of lists by their place."""
    if isinstance(doc, dict) and isinstance(more, dict):
        return {k: merged(doc.get(k), more[k]) if k in more else doc[k] for k in {**doc, **more}}
    if isinstance(doc, list) and isinstance(more, list):
        pairs = [merged(a, b) for a, b in zip(doc, more, strict=False)]
        return [*pairs, *doc[len(pairs) :], *more[len(pairs) :]]
    return more


_POD_SPEC: Object = {
    "containers": [
        {
            "name": "main", "image": "nginx:1",
            "ports": [{"name": "http", "containerPort": 80}],
            "env": [{"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "100m", "memory": "1Gi"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            "securityContext": {"runAsNonRoot": True},
            "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        }
    ],
    "initContainers": [{"name": "init", "image": "busybox:1"}],
    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}],
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "securityContext": {"fsGroup": 1},
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}},
}  # fmt: skip
_LABELS = {"metadata": {"labels": {"app": "x-$id"}}}
_TEMPLATE = {"spec": _POD_SPEC}
RICHER: dict[str, Object] = {
    "Pod": {"spec": _POD_SPEC},
    "Deployment": {"spec": {"template": _TEMPLATE, "strategy": {"rollingUpdate": {"maxSurge": 1}}}},
    "StatefulSet": {"spec": {"template": _TEMPLATE, "updateStrategy": {"rollingUpdate": {"partition": 1}}}},
    "DaemonSet": {"spec": {"template": _TEMPLATE, "updateStrategy": {"rollingUpdate": {"maxSurge": 0}}}},
    "Job": {"spec": {"completions": 3, "parallelism": 1, "completionMode": "Indexed", "podFailurePolicy": {
        "rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}]}}},
    "CronJob": {"spec": {"jobTemplate": {"spec": {"completions": 2}}}},
    "ConfigMap": {"data": {"a": "1"}, "binaryData": {"b": "aGVsbG8="}},
    "Service": {"spec": {"type": "NodePort", "sessionAffinity": "ClientIP",
                         "ports": [{}, {"name": "other", "port": 81, "targetPort": "http"}]}},
    "HorizontalPodAutoscaler": {"spec": {"minReplicas": 1, "behavior": {"scaleDown": {
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        "metrics": [{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}},
    "NetworkPolicy": {"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}},
                                                     {"podSelector": {"matchLabels": {"a": "b"}}}],
                                            "ports": [{"port": 80, "endPort": 90}]}]}},
    "Ingress": {"spec": {"tls": [{"hosts": ["a.example.com"], "secretName": "s"}],
                         "defaultBackend": {"service": {"name": "a", "port": {"name": "http"}}}}},
    "ServiceAccount": {"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "b"}]},
    "StorageClass": {"parameters": {"a": "b"}, "allowedTopologies": [
        {"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]},
    "PersistentVolume": {"spec": {"storageClassName": "a", "nodeAffinity": {"required": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}}},
    "PersistentVolumeClaim": {"spec": {"storageClassName": "a", "selector": {"matchLabels": {"a": "b"}}}},
    "Role": {"rules": [{}, {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"], "resourceNames": ["a"]}]},
    "LimitRange": {"spec": {"limits": [{"default": {"cpu": "100m"}, "min": {"cpu": "1m"}}]}},
    "ResourceQuota": {"spec": {"hard": {"requests.cpu": "1000"}, "scopes": ["NotBestEffort"]}},
    "Node": {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
}  # fmt: skip
"""What a good object of a kind has beside what it must have: places for edits to go to."""


@st.composite
def cases(draw: Draw, subject: Subject) -> Object:
    """Requests to one object of `subject`: its creation, some changes, its deletion."""
    path, steps = f"{subject.path}/x-$id", list[Object]()
    top = subject.top

    def changes(most: int = 2, keys: list[str] | None = None) -> list[Edit]:
        doc, made = subject.good, list[Edit]()
        for _ in range(draw(st.integers(1, most))):
            made.append(edit(draw, subject.schema, doc, keys or top))
            doc = edited(subject.good, made)
        return made

    validation = st.sampled_from(["", "Strict", "Warn", "Ignore"])

    def query(**more: str) -> Object:
        asked = {"fieldValidation": draw(validation), **more}
        if draw(st.integers(0, 9)) == 9:
            asked["dryRun"] = "All"
        return {k: v for k, v in asked.items() if v}

    create = {"method": "POST", "path": subject.path}
    first = edited(subject.good, changes(3))
    if subject.kind in NAMED:
        metadata = first["metadata"] if isinstance(first.get("metadata"), dict) else {}
        first["metadata"] = {**metadata, "name": "x-$id"}
    steps.append({**create, "query": query(), "body": first})
    steps.append({**create, "body": subject.good})
    for _ in range(draw(st.integers(0, 4))):
        verbs = ["put", "put", "merge", "json", "strategic", "apply", "status"]
        verb = draw(st.sampled_from([v for v in verbs if v != "strategic" or not subject.custom]))
        if verb == "put":
            steps.append({"method": "PUT", "path": path, "query": query(), "edits": changes()})
        elif verb == "status":
            if not subject.has_status:
                continue
            found = changes(3, ["status", "status", "spec"] if "spec" in top else ["status"])
            steps.append({"method": "PUT", "path": f"{path}/status", "query": query(), "edits": found})
        elif verb == "apply":
            manager = draw(st.sampled_from(["one", "two"]))
            asked = query(fieldManager=manager, force=draw(st.sampled_from(["", "true"])))
            body = edited(subject.good, changes())
            keys = draw(st.sampled_from([None, None, "some"]))
            if keys:
                first = {k: body.get(k) for k in ("apiVersion", "kind")}
                body = {**first, "metadata": {"name": "x-$id"}, **merge_document(changes(1), body)}
            steps.append(_patch(path, "apply-patch", asked, body))
        elif verb == "json":
            steps.append(_patch(path, "json-patch", query(), json_patch(changes(), subject.good)))
        else:
            wanted = "strategic-merge-patch" if verb == "strategic" else "merge-patch"
            steps.append(_patch(path, wanted, query(), merge_document(changes(), subject.good)))
    steps.append({"method": "GET", "path": path})
    gone = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
    steps.append({"method": "DELETE", "path": path, "body": gone})
    return {"kind": subject.kind, "steps": steps}


def _patch(path: str, kind: str, query: Object, body: Any) -> Object:
    ending = "yaml" if kind == "apply-patch" else "json"
    media = f"application/{kind}+{ending}"
    return {"method": "PATCH", "path": path, "query": query, "type": media, "body": body}
