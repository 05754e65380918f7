"""A webhook in this process that answers as the one of the recordings: a URL is `.../HOW/KEY`.

`DELETE /received/KEY` forgets what was sent to a key, `GET /received/KEY` gives it.
"""

from __future__ import annotations

import base64
import copy
import json
import urllib.parse
from pathlib import Path
from typing import Any

import transcript_player as play
import yaml

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.wire import UserInfo

URL = "https://127.0.0.1:8443"
CA = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n").decode()
VARIABLES = {"webhook_url": URL, "webhook_ca": CA}

Json = dict[str, Any]


def _patch(*operations: Json) -> Json:
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


def _label(request: Json, key: str, value: str) -> Json:
    labels = request["object"]["metadata"].get("labels")
    if labels is None:
        return {"op": "add", "path": "/metadata/labels", "value": {key: value}}
    return {"op": "add", "path": f"/metadata/labels/{key}", "value": value}


FIXED: dict[str, Json] = {
    "allow": {"allowed": True},
    "deny": {"allowed": False},
    "deny-status": {
        "allowed": False,
        "status": {
            "code": 418,
            "reason": "Teapot",
            "message": "short and stout",
            "details": {"causes": [{"field": "spec", "reason": "Odd", "message": "odd"}]},
        },
    },
    "deny-code": {"allowed": False, "status": {"code": 409, "message": "later"}},
    "deny-below": {"allowed": False, "status": {"code": 200, "message": "fine"}},
    "warn": {
        "allowed": True,
        "warnings": ["first warning", "second warning"],
        "auditAnnotations": {"seen": "yes"},
    },
    "deny-warn": {
        "allowed": False,
        "warnings": ["you were warned"],
        "status": {"message": "denied"},
    },
    "data": _patch({"op": "add", "path": "/data", "value": {"from": "webhook"}}),
    "spec-bad": _patch({"op": "replace", "path": "/spec", "value": "x"}),
    "rename": _patch({"op": "replace", "path": "/metadata/name", "value": "renamed"}),
    "patch-missing": _patch({"op": "remove", "path": "/metadata/labels/nope"}),
    "patch-garbage": {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(b"not json").decode(),
    },
}


def answer(how: str, request: Json) -> Json:
    """The response, less its uid, to a request."""
    if how in FIXED:
        return FIXED[how]
    name = request.get("name", "")
    labels = ((request.get("object") or {}).get("metadata") or {}).get("labels") or {}
    if how == "deny-message":
        message = f"no {request['operation']} of {name}"
        return {"allowed": False, "status": {"message": message}}
    if how == "deny-delete":
        denied = request["operation"] == "DELETE"
        return {"allowed": not denied, "status": {"message": f"keep {name or 'those'}"}}
    if how == "label":
        return _patch(_label(request, "webhook", "was-here"))
    if how == "count":
        return _patch(_label(request, "count", str(int(labels.get("count", "0")) + 1)))
    if how == "patch-no-type":
        patch = _patch(_label(request, "x", "y"))
        return {key: value for key, value in patch.items() if key != "patchType"}
    if how == "patch-denied":
        return {**_patch(_label(request, "x", "y")), "allowed": False}
    if how == "copy":
        return _patch(_label(request, "saw", "_".join(sorted(labels)) or "none"))
    raise KeyError(how)


def converted(how: str, request: Json) -> Json:
    """The response, less its uid, to a ConversionReview."""
    if how == "convert-fail":
        return {"result": {"status": "Failure", "message": "cannot convert that"}}
    version = request["desiredAPIVersion"]
    made: list[Json] = []
    for each in copy.deepcopy(request["objects"]):
        spec = each.get("spec") or {}
        short = version.split("/")[1]
        if short == "v1" and "address" in spec:
            spec["host"], _, port = spec.pop("address").partition(":")
            spec["port"] = int(port or 0)
        elif short != "v1" and "host" in spec:
            spec["address"] = f"{spec.pop('host')}:{spec.pop('port', 0)}"
        each["apiVersion"] = version + ("x" if how == "convert-version" else "")
        if how == "convert-label":
            each["metadata"].setdefault("labels", {})["converted"] = short
        if how == "convert-name":
            each["metadata"]["name"] += "-x"
        made.append(each)
    return {"result": {"status": "Success"}, "convertedObjects": made[how == "convert-few" :]}


class WebhookWorld(play.World):
    """A control plane whose webhook is in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.received: dict[str, list[Json]] = {}
        self.server.call_webhook = self._called
        self.server.conversion_webhook = self._converted
        admin = UserInfo("admin", ("system:masters",), "admin-uid")
        self.server.authenticators.tokens[play.TOKEN] = admin

    async def _called(self, client_config: Json, path: str, review: Json, timeout_ns: int) -> Json:
        if client_config.get("url", "").partition("/x")[0] == "https://127.0.0.1:1":
            raise CallError("dial tcp 127.0.0.1:1: connect: connection refused")
        path, _, query = path.partition("?")
        _, how, key = path.split("/", 2)
        sent = {"path": f"/{how}", "query": query, "contentType": "application/json"}
        self.received.setdefault(key, []).append({**sent, "body": copy.deepcopy(review)})
        if how == "slow":
            await self.kernel.sleep(3_000_000_000)
            how = "allow"
        if how in ("http-500", "http-404"):
            code = int(how.removeprefix("http-"))
            nothing = GroupResource("", "")
            raise status.new_generic_server_response(code, "post", nothing, "", "unknown")
        out: Json = {"apiVersion": review["apiVersion"], "kind": review["kind"]}
        if how == "not-json":
            raise CallError("invalid character 'h' looking for beginning of value")
        if how == "no-response":
            return out
        if how == "other-version":
            out["apiVersion"] = "admission.k8s.io/v1beta1"
            how = "allow"
        if how == "other-uid":
            return {**out, "response": {"uid": "other", "allowed": True}}
        found = answer(how, review["request"])
        return {**out, "response": {"uid": review["request"]["uid"], **found}}

    def _converted(self, client_config: Json, review: Json) -> Json:
        """Versions but v1 have `spec.address`, of host and port."""
        if client_config["url"].startswith("https://127.0.0.1:1/"):
            raise ValueError(
                'Post "https://127.0.0.1:1/convert?timeout=30s": dial tcp 127.0.0.1:1: connect: '
                "connection refused"
            )
        _, how, key = urllib.parse.urlsplit(client_config["url"]).path.split("/", 2)
        sent = {"path": f"/{how}", "query": "timeout=30s", "contentType": "application/json"}
        self.received.setdefault(key, []).append({**sent, "body": copy.deepcopy(review)})
        if how == "http-500":
            # The same words as those of Go's client.
            raise ValueError(
                'an error on the server ("unknown") has prevented the request from succeeding'
            )
        return {
            "apiVersion": review["apiVersion"],
            "kind": review["kind"],
            "response": {"uid": review["request"]["uid"], **converted(how, review["request"])},
        }

    def call(self, req: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request, or what the webhook was sent."""
        if req.get("base") != URL:
            return super().call(req)
        _, _, key = req["path"].strip("/").partition("/")
        body: list[Json] = []
        if req.get("method") == "DELETE":
            self.received.pop(key, None)
        else:
            body = play.order_managers(copy.deepcopy(self.received.get(key, [])))
        return {"status": 200, "type": "application/json", "body": body}


def play_with_webhook(file: Path) -> list[tuple[str, list[str] | None]]:
    """Every step of a scenario that calls a webhook, with its differences."""
    scenario = yaml.safe_load(file.read_text())
    player = play.Player(WebhookWorld(), scenario, file.stem)
    player.vars |= VARIABLES
    player.masks |= {URL: "${webhook_url}", CA: "${webhook_ca}"}
    return play.compare(file, player, player.run())


if __name__ == "__main__":
    import sys

    for name in sys.argv[1:]:
        results = play_with_webhook(Path(name))
        for step_name, differences in results:
            if differences:
                print(f"{Path(name).stem}: {step_name}")
                for line in differences[:6]:
                    print("   ", line)
        played = [d for _, d in results if d is not None]
        print(f"{Path(name).stem}: {sum(not d for d in played)} of {len(played)}")
