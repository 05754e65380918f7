"""Plays a case of requests against a real control plane and in this process, and compares.

The law of what is compared is that of the transcripts: what differs from run to run gets a name.
Two answers also agree whose errors are those of a Go map and come in another order.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import ssl
import time
import urllib.parse
from pathlib import Path
from typing import Any, Protocol

import yaml
from strategies import DEFINITION, GROUP, edited
from transcript_player import Normaliser, World, diff, order_managers, settled

Case = dict[str, Any]
COUNT = itertools.count(1)
NAMESPACE = "t-fuzz0000"
PANIC = 0
"""The status of no answer: the handler of a real server can panic, and that is not simulated."""


_PATTERNS = {
    r'(odePort\\*": ?)3[0-2]\d{3}': r"\1<port>",
    r"(odePort: \w+ value: |^Duplicate value: )3[0-2]\d{3}": r"\1<port>",
}
"""What texts show of what is drawn."""


class Side(Protocol):
    """A server that answers a request as a recording holds it."""

    def call(self, req: dict[str, Any]) -> dict[str, Any]:
        """The answer: status, type, headers, body."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Real:
    """The control plane that a kubeconfig names."""

    def __init__(self, kubeconfig: str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        url = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"])
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=60, context=context
        )
        self._token: str = config["users"][0]["user"]["token"]

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def call(self, req: dict[str, Any]) -> dict[str, Any]:
        """The answer of the real server."""
        path = req["path"]
        if req.get("query"):
            path += "?" + urllib.parse.urlencode(req["query"])
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self._token}"}
        body = None
        if "body" in req:
            body = json.dumps(req["body"], separators=(",", ":")).encode()
            headers["Content-Type"] = req.get("type", "application/json")
        try:
            self._connection.request(req.get("method", "GET"), path, body=body, headers=headers)
            answer = self._connection.getresponse()
        except http.client.RemoteDisconnected:
            self._connection.close()
            return {"status": PANIC, "type": "", "body": ""}
        data = answer.read()
        kind = (answer.getheader("Content-Type") or "").replace(" ", "")
        out: dict[str, Any] = {"status": answer.status, "type": kind}
        out["headers"] = {"Warning": answer.getheader("Warning")}
        try:
            out["body"] = order_managers(json.loads(data))
        except ValueError:
            out["body"] = data.decode("utf-8", "replace")
        return out


def filled(value: Any, names: dict[str, str]) -> Any:
    """The value with the case's names in their places."""
    if isinstance(value, str):
        return value.replace("$id", names["id"]).replace("$ns", names["ns"])
    if isinstance(value, dict):
        return {filled(k, names): filled(v, names) for k, v in value.items()}
    return [filled(v, names) for v in value] if isinstance(value, list) else value


def names_of_a_case() -> dict[str, str]:
    """Fresh names, of one length."""
    number = next(COUNT)
    return {"id": f"q{number:07d}", "ns": NAMESPACE}


def prepare(side: Side, namespace: str) -> None:
    """A namespace, with the service account that a controller would make."""
    made = {
        "method": "POST",
        "path": "/api/v1/namespaces",
        "body": {"metadata": {"name": namespace}},
    }
    side.call(made)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    side.call({"method": "POST", "path": path, "body": {"metadata": {"name": "default"}}})
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    side.call({"method": "POST", "path": definitions, "body": DEFINITION})
    gadgets = f"/apis/{GROUP}/v1/gadgets"
    for _ in range(200):
        if side.call({"path": gadgets})["status"] == 200:
            break
        side.wait(0.05)


def answers(side: Side, case: Case, names: dict[str, str]) -> list[Any]:
    """What the side answers to each step, normalised."""
    got: list[Any] = []
    made: list[str] = []
    last: Any = {}
    for step in case["steps"]:
        request = filled({k: v for k, v in step.items() if k != "edits"}, names)
        if "edits" in step:
            request["body"] = edited(last, filled(step["edits"], names))
        answer = side.call({**request, "record_headers": ["Warning"]})
        meta = (
            request.get("body", {}).get("metadata") if isinstance(request.get("body"), dict) else 0
        )
        answer["asked"] = meta.get("generateName") if isinstance(meta, dict) else None
        if answer["status"] < 300 and "dryRun" not in step.get("query", {}):
            if answer["body"].get("kind") != "Status":
                last = answer["body"]
            if answer["status"] == 201 and step["method"] == "POST":
                made.append(f"{request['path']}/{last['metadata']['name']}")
            elif answer["status"] == 201:
                made.append(request["path"])
        got.append(answer)
    for path in made:
        _remove(side, path)
    normaliser = Normaliser(names, {}, _PATTERNS)
    normaliser.times = set()
    for answer in got:
        normaliser.scan(answer)
        _note_a_generated_name(normaliser, answer)
    return [normaliser.value(settled(answer)) for answer in got]


def _remove(side: Side, path: str) -> None:
    """Take away what a case has made, so that no other meets it."""
    if side.call({"path": path})["status"] == 404:
        return
    for delete in (False, True):
        free = {"metadata": {"finalizers": None}}
        merge = "application/merge-patch+json"
        side.call({"method": "PATCH", "path": path, "type": merge, "body": free})
        if not delete:
            side.call({"method": "DELETE", "path": path, "body": {"gracePeriodSeconds": 0}})


def _note_a_generated_name(normaliser: Normaliser, answer: dict[str, Any]) -> None:
    """An answer holds a generated name, and what was asked says how it begins."""
    begin, body = answer.pop("asked", None), answer["body"]
    if not isinstance(begin, str) or not begin or not isinstance(body, dict):
        return
    found = (body.get("details") or {}).get("name") or (body.get("metadata") or {}).get("name")
    if isinstance(found, str) and len(found) > 5 and found[:-5] == begin[: len(found) - 5]:
        normaliser.literal.setdefault(found, f"{begin}<gen>")


def differences(want: Any, got: Any) -> list[str]:
    """Where an answer differs from what Kubernetes said."""
    if want["status"] == PANIC:
        return []
    found = diff(want, got)
    return diff(unordered(want), unordered(got)) if found else found


def is_known(want: Any, got: Any) -> bool:
    """Whether the difference is one that Kubernetes itself leaves to chance.

    What else an apply says beside a field that is not declared depends on how it walks its maps.
    """
    same = want["status"] == got["status"] == 500
    return same and "field not declared in schema" in json.dumps([want, got])


def unordered(answer: Any) -> Any:
    """The answer in an order of its own where Kubernetes walks through a Go map.

    That is errors, and the finalizers of a namespace that a deletion adds to.
    """
    body = answer.get("body")
    if isinstance(body, dict) and body.get("kind") == "Namespace":
        metadata = dict(body["metadata"])
        metadata["finalizers"] = sorted(metadata.get("finalizers", []))
        return {**answer, "body": {**body, "metadata": metadata}}
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return answer
    made = {**answer, "body": {**body}}
    made["body"]["message"] = sorted(re.split(r", (?=[\w.<])|[\[\]\n]", body.get("message") or ""))
    details = body.get("details") or {}
    if details.get("causes"):
        causes = sorted(details["causes"], key=lambda c: json.dumps(c, sort_keys=True))
        made["body"]["details"] = {**details, "causes": causes}
    return made


def in_process() -> World:
    """A control plane of this process, ready for cases."""
    world = World()
    prepare(world, NAMESPACE)
    return world
