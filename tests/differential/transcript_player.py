"""Plays transcripts in this process: requests go to `APIServer.handle`, waiting is virtual time.

The law of what is compared is that of the recordings: what differs from run to run gets a name that
keeps identity and order (uids, resourceVersions by rank, generated names), and `only`, `ignore`,
`sort`, `keep`, `head` of a step narrow it.  Steps that run kubectl are left out.
"""

from __future__ import annotations

import copy
import json
import re
import urllib.parse
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.wire import Request, Response, UserInfo

TIME_IN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
IP = re.compile(r"\b10\.96\.\d+\.\d+\b")
POD_IP = re.compile(r"\b10\.(?!96\.)\d+\.\d+\.\d+\b")
AGE = re.compile(r"(?<![\w.-])(?:\d+[smhdy])+(?= ago|\s|$)|<invalid>(?=\s|$)")
LONG_TIME = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
RV_IN = re.compile(
    r"((?:esource ?[vV]ersion(?: in precondition| in object meta)?"
    r"|Too large resource version: \d+, current): \"?"
    r"|ResourceVersion in (?:the precondition|record) \()(\d+)(?: \((\d+)\))?"
)
RV_TEXT = re.compile(r"""(resourceVersion\\*"?: ?\\*["'])\d+""")
NODE_PORT_IN = re.compile(r"(?<=[: ])3[0-2]\d{3}(?=/(?:TCP|UDP))")
SCHEME = re.compile(r'in scheme "[^"]*"')
GO_DIFF = re.compile(r"\n@@ -\d+,\d+ \+\d+,\d+ @@\n.*", re.S)
SA_VOLUME = re.compile(r"\bkube-api-access-[a-z0-9]{5}\b")
LIST_RV = "<list-rv>"
SKIPPED = "<skipped>"
TOKEN = "play"
START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

NAMES: dict[str, Any] = {
    "any": any,
    "all": all,
    "len": len,
    "sorted": sorted,
    "sum": sum,
    "set": set,
    "str": str,
}


class World:
    """A control plane of etcd and one API server."""

    def __init__(self) -> None:
        self.kernel = Kernel(start_time=START)
        catalog = Catalog()
        member = Member(clock=lambda: self.kernel.now_ns)
        member.restore(bootstrap.snapshot(catalog, self.kernel.start_ns))
        admin = UserInfo("admin", ("system:masters",), "admin-uid")
        self.server = APIServer(self.kernel, Client(member), catalog=catalog, tokens={TOKEN: admin})
        self.server.start()

    def wait(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * NS))

    def open(self, req: dict[str, Any]) -> Any:
        """Send a request as a scenario writes it."""
        path, _, text = req["path"].partition("?")
        query = urllib.parse.parse_qsl(text, keep_blank_values=True)
        for key, value in (req.get("query") or {}).items():
            for each in value if isinstance(value, list) else [value]:
                query.append((key, str(each).lower() if isinstance(each, bool) else str(each)))
        headers = {"accept": "application/json", "authorization": f"Bearer {TOKEN}"}
        if req.get("as"):
            headers["impersonate-user"] = req["as"]
        body = req.get("body")
        if "raw" in req:
            body = req["raw"].encode()
        elif body is not None:
            body = json.dumps(body).encode()
        if body is not None:
            headers["content-type"] = req.get("type", "application/json")
        headers.update({k.lower(): str(v) for k, v in (req.get("headers") or {}).items()})
        lines = [*headers.items(), *(("impersonate-group", g) for g in req.get("as_groups") or [])]
        request = Request(
            req.get("method", "GET"), path, tuple(query), tuple(lines), body, client="play"
        )
        # A real server takes a moment for each: times of later requests are later.
        self.wait(0.01)
        return self.kernel.run_coroutine(self.server.handle(request))

    def call(self, req: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, as a recording holds it."""
        answer = self.open(req)
        if not isinstance(answer, Response):
            answer.close()
            return {"status": answer.status, "type": answer.content_type, "body": ""}
        data = answer.encoded()
        out: dict[str, Any] = {
            "status": answer.status,
            "type": answer.content_type.replace(" ", ""),
        }
        for name in req.get("record_headers") or []:
            values = [v for k, v in answer.headers if k.lower() == name.lower()]
            out.setdefault("headers", {})[name] = ", ".join(values) or None
        text = data.decode("utf-8", "replace")
        if out["type"].startswith("application/json") or data[:1] in (b"{", b"["):
            try:
                out["body"] = order_managers(json.loads(data))
            except ValueError:
                out["body"] = text
        else:
            out["body"] = text
        return out


class Watch:
    """A watch that a scenario has opened."""

    def __init__(self, world: World, req: dict[str, Any]) -> None:
        wanted = copy.deepcopy(req)
        wanted.setdefault("query", {})["watch"] = "true"
        self.events: list[Any] = []
        self._answer = world.open(wanted)
        self.status: int = self._answer.status
        if isinstance(self._answer, Response):
            self.events.append(json.loads(self._answer.encoded()))
        else:
            self.read()

    def read(self) -> None:
        """Take what has come."""
        if isinstance(self._answer, Response):
            return
        while (event := self._answer.next_nowait()) is not None:
            self.events.append(order_managers(json.loads(self._answer.encode(event))))

    @property
    def closed(self) -> bool:
        """Whether the server has ended it."""
        return isinstance(self._answer, Response) or self._answer.closed

    def stop(self) -> None:
        """End it."""
        if not isinstance(self._answer, Response):
            self._answer.close()


def order_managers(doc: Any) -> Any:
    """Kubernetes orders managedFields by their times: here by what does not vary."""
    if isinstance(doc, dict):
        for key, value in doc.items():
            if key == "managedFields" and isinstance(value, list):
                value.sort(key=_manager_key)
            else:
                order_managers(value)
    elif isinstance(doc, list):
        for value in doc:
            order_managers(value)
    return doc


def _manager_key(entry: dict[str, Any]) -> list[str]:
    fields = ("operation", "manager", "apiVersion", "subresource")
    return [str(entry.get(field, "")) for field in fields]


def lookup(doc: Any, path: str) -> Any:
    """`a.b.0.c`; `a.name=x` takes an entry, `a.*.c` that of every entry; `|a|b.c` has dots."""
    parts = [p for p in (path.split("|") if path.startswith("|") else path.split(".")) if p]
    for index, part in enumerate(parts):
        if isinstance(doc, list) and part == "*":
            out = []
            for entry in doc:
                try:
                    out.append(lookup(entry, "".join("|" + p for p in parts[index + 1 :])))
                except (KeyError, IndexError, TypeError, ValueError):
                    out.append(None)
            return out
        if isinstance(doc, list) and "=" in part:
            key, value = part.split("=", 1)
            found = lookup(doc, "|*|" + key.replace("/", "|"))
            doc = next(x for x, f in zip(doc, found, strict=True) if str(f) == value)
        else:
            doc = doc[int(part)] if isinstance(doc, list) else doc[part]
    return doc


def safe(doc: Any, path: str) -> Any:
    """As `lookup`, and a word where nothing is there."""
    try:
        return lookup(doc, path)
    except (KeyError, IndexError, TypeError, ValueError, StopIteration):
        return "<absent>"


class Player:
    """One run of one scenario."""

    def __init__(self, world: World, scenario: dict[str, Any], name: str) -> None:
        self.world, self.scenario = world, scenario
        stamp = zlib.crc32(name.encode())
        self.vars: dict[str, Any] = {"ns": f"t-{stamp:08x}", "id": f"{stamp:08x}"}
        self.watches: dict[str, Watch] = {}
        self.masks: dict[str, str] = {}

    def subst(self, value: Any) -> Any:
        """The value with the scenario's variables filled in."""
        if isinstance(value, str):
            if "${now}" in value:
                from pytest_kubesim.apimachinery.timestamps import format_time

                value = value.replace("${now}", format_time(self.world.kernel.now_ns))
            whole = re.fullmatch(r"\$\{(\w+)\}", value)
            if whole and whole[1] in self.vars:
                return self.vars[whole[1]]
            return re.sub(
                r"\$\{(\w+)\}|\$(ns|id)\b",
                lambda m: str(self.vars.get(m[1] or m[2], m[0])),
                value,
            )
        if isinstance(value, dict):
            return {self.subst(k): self.subst(v) for k, v in value.items()}
        return [self.subst(v) for v in value] if isinstance(value, list) else value

    def run(self) -> list[dict[str, Any]]:
        """What every recorded step gave, in order."""
        out: list[dict[str, Any]] = []
        if self.scenario.get("namespace", True):
            body = {"metadata": {"name": self.vars["ns"]}}
            self.world.call({"method": "POST", "path": "/api/v1/namespaces", "body": body})
        for step in self.scenario["steps"]:
            got = self.step(self.subst(step))
            if got is None:
                continue
            for path in step.get("sort", []):
                order(got, path.split("."))
            ignored = [*self.scenario.get("ignore", []), *step.get("ignore", [])]
            name = step.get("id") or f"step{len(out) + 1}"
            out.append({"step": name, "got": got, "ignore": ignored})
        for watch in self.watches.values():
            watch.stop()
        return out

    def step(self, step: dict[str, Any]) -> Any:
        """One step; None where nothing is recorded of it."""
        if "sleep" in step:
            self.world.wait(step["sleep"])
            return None
        if "request" in step:
            return self._request(step)
        if "kubectl" in step:
            return SKIPPED
        if "watch" in step:
            self.watches[step["watch"]] = Watch(self.world, step["of"])
            return None
        if "collect" in step:
            return self._collect(step)
        if "eventually" in step:
            return self._eventually(step)
        raise ValueError(f"unknown step {step}")

    def _eventually(self, step: dict[str, Any]) -> Any:
        """Ask until `until` holds."""
        until = compile(step["until"], "until", "eval")
        got: dict[str, Any] = {}
        timeout = step.get("timeout", self.scenario.get("timeout", 10))
        for _ in range(int(timeout / 0.1)):
            got = self.world.call(step["eventually"])
            names = {"body": got["body"], "status": got["status"]}
            try:
                held = eval(until, dict(NAMES), names)  # noqa: S307
            except (KeyError, IndexError, TypeError, AttributeError):
                held = False
            if held:
                self.world.wait(step.get("settle", 1.0))
                got = self.world.call(step["eventually"])
                break
            self.world.wait(0.1)
        else:
            got = {"timeout": True, "status": got["status"], "body": got["body"]}
        if step.get("quiet"):
            return None
        if step.get("only"):
            return {"status": got["status"], "only": self._pick(step, got["body"])}
        return got

    def _request(self, step: dict[str, Any]) -> Any:
        got = self.world.call(step["request"])
        for var, path in [*(step.get("save") or {}).items(), *(step.get("mask") or {}).items()]:
            try:
                self.vars[var] = lookup(got["body"], path)
                if var in step.get("mask", {}):
                    self.masks[str(self.vars[var])] = f"<{var}>"
            except (KeyError, IndexError, TypeError, StopIteration):
                self.vars[var] = f"<missing {path}>"
        if step.get("only"):
            kept = {key: value for key, value in got.items() if key != "body"}
            got = {**kept, "only": self._pick(step, got["body"])}
        return None if step.get("quiet") else got

    def _pick(self, step: dict[str, Any], body: Any) -> Any:
        if not step.get("each"):
            return {path: safe(body, path) for path in step["only"]}
        found = lookup(body, step["each"]) or []
        out = [{path: safe(entry, path) for path in step["only"]} for entry in found]
        if step.get("unordered"):
            patterns = self.scenario.get("mask") or {}
            out.sort(key=lambda one: mask(json.dumps(one, sort_keys=True), self.masks, patterns))
        return out

    def _collect(self, step: dict[str, Any]) -> Any:
        watch = self.watches[step["collect"]]
        keep = compile(step.get("keep", "True"), "keep", "eval")

        def kept() -> list[Any]:
            watch.read()
            return [e for e in watch.events if eval(keep, {}, {"e": e})]  # noqa: S307

        waited = 0.0
        while (
            waited < step.get("timeout", 10)
            and len(kept()) < step.get("count", 10**9)
            and not watch.closed
        ):
            self.world.wait(0.1)
            waited += 0.1
        self.world.wait(step.get("settle", 0.2))
        out: dict[str, Any] = {"status": watch.status, "events": copy.deepcopy(kept())}
        if step.get("closed"):
            out["closed"] = watch.closed
        if step.get("only"):
            out["events"] = [{p: safe(e, p) for p in step["only"]} for e in out["events"]]
        return out


def mask(text: str, masks: dict[str, str], patterns: dict[str, str]) -> str:
    """Names for saved values (longest first), then a scenario's own `mask: {pattern: text}`."""
    for value in sorted(masks, key=len, reverse=True):
        text = text.replace(value, masks[value])
    for pattern, shown in patterns.items():
        text = re.sub(pattern, shown, text)
    return text


class Normaliser:
    """Gives what differs from run to run a name that keeps identity and order."""

    def __init__(
        self, variables: dict[str, Any], masks: dict[str, str], patterns: dict[str, str]
    ) -> None:
        self.vars, self.masks, self.patterns = variables, masks, patterns
        self.names: dict[str, dict[str, str]] = {}
        self.rvs: set[int] = set()
        self.times: set[str] = set()
        self.literal: dict[str, str] = {}

    def alias(self, family: str, value: str) -> str:
        """The name of a value within its family."""
        known = self.names.setdefault(family, {})
        return known.setdefault(value, f"{family}#{len(known) + 1}")

    def scan(self, value: Any, key: str = "", parent: Any = None) -> None:
        """Note the generated names and the resourceVersions."""
        if isinstance(value, dict):
            self._scan_metadata(value)
            for k, x in value.items():
                last = re.split(r"[.|]", k)[-1]
                of_list = parent is not None and key == "metadata" and "items" in parent
                if last == "resourceVersion" and isinstance(x, str) and x.isdigit() and not of_list:
                    self.rvs.add(int(x))
                self.scan(x, k, value)
        elif isinstance(value, list):
            for x in value:
                self.scan(x, key, parent)

    def _scan_metadata(self, value: dict[str, Any]) -> None:
        meta = value.get("metadata")
        if not isinstance(meta, dict):
            return
        base, name = meta.get("generateName"), meta.get("name")
        if base and name and name.startswith(base):
            self.literal.setdefault(name, f"{base}<gen#{len(self.literal) + 1}>")
        labels = meta.get("labels") or {}
        for label in ("pod-template-hash", "controller-revision-hash"):
            if found := labels.get(label):
                count = len([x for x in self.literal.values() if label in x]) + 1
                self.literal.setdefault(found, f"<{label}#{count}>")

    def text(self, text: str, *, printed: bool = False) -> str:
        """A string with all that varies replaced."""
        text = mask(text, self.masks, self.patterns)
        for literal in sorted(self.literal, key=len, reverse=True):
            text = text.replace(literal, self.literal[literal])
        text = text.replace(self.vars["ns"], "$ns").replace(self.vars["id"], "$id")
        text = UID.sub(lambda m: self.alias("uid", m[0]), text)
        text = TIME_IN.sub(lambda m: m[0] if m[0] in self.times else "<time>", text)
        if printed:
            text = LONG_TIME.sub("<time>", text)
            text = re.sub(r"(Resource Version: +)\d+", r"\1<rv>", text)
            text = AGE.sub("<age>", text)
            text = NODE_PORT_IN.sub(lambda m: self.alias("nodeport", m[0]), text)
        text = RV_TEXT.sub(r"\1<rv>", text)
        text = RV_IN.sub(
            lambda m: m[1] + self.rank(m[2]) + (f" ({self.rank(m[3])})" if m[3] else ""), text
        )
        text = SCHEME.sub('in scheme "<scheme>"', text)
        text = GO_DIFF.sub("\n<diff>", text)
        text = re.sub(
            r"object not decodable revision=\d+", "object not decodable revision=<rv>", text
        )
        text = SA_VOLUME.sub("kube-api-access-<gen>", text)
        text = IP.sub(lambda m: self.alias("ip", m[0]), text)
        return POD_IP.sub(lambda m: self.alias("podip", m[0]), text)

    def rank(self, version: str) -> str:
        """A resourceVersion by its place among those that were seen."""
        if int(version) in self.rvs:
            return f"rv#{sorted(self.rvs).index(int(version)) + 1}"
        return version if int(version) <= 1 or int(version) >= 10**9 else "<rv>"

    def value(self, value: Any, key: str = "", parent: Any = None) -> Any:
        """A document with all that varies replaced."""
        if isinstance(value, dict):
            return {
                (k if self._is_special(k, x) else self.text(k)): self._entry(
                    k, x, key, value, parent
                )
                for k, x in value.items()
            }
        if isinstance(value, list):
            if key.rsplit(".", maxsplit=1)[-1] == "managedFields":
                value = sorted(value, key=_manager_key)
            return [self.value(x, key, parent) for x in value]
        if isinstance(value, str):
            printed = key.rsplit(".", maxsplit=1)[-1] in ("stdout", "stderr", "cells")
            return self.text(value, printed=printed)
        return value

    @staticmethod
    def _is_special(key: str, value: Any) -> bool:
        last = re.split(r"[.|]", key)[-1]
        if last == "resourceVersion":
            return isinstance(value, str) and value.isdigit()
        if last in ("nodePort", "healthCheckNodePort"):
            return isinstance(value, int) and bool(value)
        if last == "continue":
            return isinstance(value, str) and bool(value) and value != "<absent>"
        return last == "token" and isinstance(value, str) and len(value) > 40

    def _entry(self, key: str, value: Any, above: str, whole: Any, parent: Any) -> Any:
        if not self._is_special(key, value):
            return self.value(value, key, whole)
        last = re.split(r"[.|]", key)[-1]
        if last == "resourceVersion":
            if parent is not None and above == "metadata" and "items" in parent:
                return LIST_RV
            known = int(value) in self.rvs
            return f"rv#{sorted(self.rvs).index(int(value)) + 1}" if known else "<rv>"
        if last in ("nodePort", "healthCheckNodePort"):
            return self.alias("nodeport", str(value))
        return "<continue>" if last == "continue" else "<token>"


def settled(value: Any) -> Any:
    """A recording with managedFields in the order in which they are compared."""
    if isinstance(value, dict):
        out = {}
        for key, x in value.items():
            if key.split(".")[-1] == "managedFields" and isinstance(x, list):
                x = sorted(x, key=_manager_key)
            out[key] = settled(x)
        return out
    return [settled(x) for x in value] if isinstance(value, list) else value


def order(doc: Any, parts: list[str]) -> None:
    """Sort the list at a path; `*` stands for every key or index."""
    head, rest = parts[0], parts[1:]
    if isinstance(doc, dict) and ".".join(parts) in doc:
        head, rest = ".".join(parts), []
    keys = range(len(doc)) if isinstance(doc, list) else list(doc) if isinstance(doc, dict) else []
    for key in keys:
        if head in ("*", str(key)):
            if rest:
                order(doc[key], rest)
            elif isinstance(doc[key], list):
                doc[key].sort(key=lambda x: json.dumps(x, sort_keys=True))


def drop(doc: Any, parts: list[str]) -> None:
    """Remove a path; `*` stands for every key or index."""
    if not parts or not isinstance(doc, (dict, list)):
        return
    head, rest = parts[0], parts[1:]
    keys: Any
    if isinstance(doc, list):
        keys = range(len(doc)) if head == "*" else []
        if head.isdigit() and int(head) < len(doc):
            keys = [int(head)]
    else:
        keys = list(doc) if head == "*" else [head] if head in doc else []
    for key in keys:
        if rest:
            drop(doc[key], rest)
        elif isinstance(doc, dict):
            del doc[key]


def diff(want: Any, got: Any, path: str = "") -> list[str]:
    """Where the answer differs from the recording."""
    if isinstance(want, dict) and isinstance(got, dict):
        out: list[str] = []
        for key in [*want, *(k for k in got if k not in want)]:
            where = f"{path}.{key}"
            if key not in got:
                out.append(f"{where}: Kubernetes has {short(want[key])}, missing here")
            elif key not in want:
                out.append(f"{where}: not in Kubernetes, here {short(got[key])}")
            else:
                out += diff(want[key], got[key], where)
        return out
    if isinstance(want, list) and isinstance(got, list):
        out = []
        if len(want) != len(got):
            out.append(
                f"{path}: Kubernetes has {len(want)} entries {short(want)}, "
                f"here {len(got)} {short(got)}"
            )
        for index, (a, b) in enumerate(zip(want, got, strict=False)):
            out += diff(a, b, f"{path}[{index}]")
        return out
    if want == got and type(want) is type(got):
        return []
    return [f"{path}: Kubernetes {short(want)}, here {short(got)}"]


def short(value: Any) -> str:
    """A value on part of a line."""
    text = json.dumps(value)
    return text if len(text) <= 400 else text[:397] + "..."


def play(file: Path) -> list[tuple[str, list[str] | None]]:
    """Every step of a scenario with its differences; None for a step that was left out."""
    scenario = yaml.safe_load(file.read_text())
    player = Player(World(), scenario, file.stem)
    return compare(file, player, player.run())


def compare(
    file: Path, player: Player, steps: list[dict[str, Any]]
) -> list[tuple[str, list[str] | None]]:
    """What `player` got at every step of `file` beside the recording; all is wrong that is missing."""
    text = file.read_text()
    scenario = player.scenario
    normaliser = Normaliser(player.vars, player.masks, scenario.get("mask") or {})
    if scenario.get("keep_times"):
        normaliser.times = {m[0] for m in TIME_IN.finditer(text)}
    for step in steps:
        for path in step["ignore"]:
            drop(step["got"], path.split("."))
        normaliser.scan(step["got"])
    golden = json.loads(file.with_suffix("").with_suffix(".golden.json").read_text())
    out: list[tuple[str, list[str] | None]] = []
    for want in golden[len(steps) :]:
        steps.append({"step": want["step"], "got": "<not reached>", "ignore": []})
    for want, step in zip(golden, steps, strict=True):
        if step["got"] == SKIPPED:
            out.append((want["step"], None))
            continue
        got = normaliser.value(step["got"])
        for path in step["ignore"]:
            drop(got, path.split("."))
        out.append((want["step"], diff(settled(want["got"]), got)))
    return out


if __name__ == "__main__":
    import sys

    for name in sys.argv[1:]:
        results = play(Path(name))
        for step_name, differences in results:
            if differences:
                print(f"{Path(name).stem}: {step_name}")
                for line in differences[:6]:
                    print("   ", line)
        played = [d for _, d in results if d is not None]
        print(f"{Path(name).stem}: {sum(not d for d in played)} of {len(played)}")
