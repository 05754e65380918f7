"""external-metrics: the API `external.metrics.k8s.io`, with values that a test sets.

Follows `test/images/agnhost/external-metrics`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.software.agnhost.flags import forever, parse
from pytest_kubesim.cri.software.agnhost.servers import OWN_CERTIFICATE

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

GROUP = "external.metrics.k8s.io"
API_VERSION = f"{GROUP}/v1beta1"
_NUMBER = re.compile(r"\s*([+-]?\d+)")


@attrs.define(slots=True)
class _Metric:
    name: str
    labels: dict[str, str]
    value: int
    fails: bool = False


def labels_of(text: str) -> dict[str, str]:
    """`a=b,c=d` as a dict; what has no value is left out."""
    pairs = [pair.partition("=") for pair in text.split(",") if "=" in pair]
    return {key.strip(): value.strip() for key, _, value in pairs}


class ExternalMetrics:
    """The metrics, by name and labels."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._metrics: dict[tuple[str, frozenset[tuple[str, str]]], _Metric] = {}
        for name, value in (("queue_messages_ready", 100), ("http_requests_total", 500)):
            self._keep(_Metric(name, {}, value))

    def _keep(self, metric: _Metric) -> None:
        self._metrics[metric.name, frozenset(metric.labels.items())] = metric

    async def answer(self, request: http1.Request) -> http1.Response:
        """The answer to a request."""
        path = request.path
        if path in ("/healthz", "/readyz"):
            return http1.Response(200, b"ok")
        if path == f"/apis/{GROUP}" or path.startswith(f"/apis/{GROUP}/"):
            return self._served(path.removeprefix(f"/apis/{GROUP}").lstrip("/"), request.query)
        verb, _, name = path[1:].partition("/")
        name = name.split("/")[0]
        if verb not in ("fail", "set", "create"):
            return _text(404, "404 page not found")
        if not name:
            return _text(400, "metric name required")
        return self._told(verb, name, request.query)

    def _served(self, path: str, query: dict[str, str]) -> http1.Response:
        version = {"groupVersion": API_VERSION, "version": "v1beta1"}
        if not path:
            return _json(200, {
                "kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version],
                "preferredVersion": version,
            })
        if path in ("v1beta1", "v1beta1/"):
            kind = "ExternalMetricValueList"
            resource = {"name": "*", "namespaced": True, "kind": kind, "verbs": ["get"]}
            return _json(200, {
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION,
                "resources": [resource],
            })
        parts = path.split("/")
        if len(parts) < 4 or parts[1] != "namespaces":
            return _text(404, "404 page not found")
        name, selector = parts[3], labels_of(query.get("labelSelector", ""))
        found = self._found(name, selector)
        if not found:
            said = f"no metric name called {name}"
            if selector:
                shown = " ".join(f"{k}:{v}" for k, v in sorted(selector.items()))
                said += f" with labels map[{shown}]"
            return _text(404, said)
        if any(metric.fails for metric in found):
            return _text(500, f"metric {name} is configured to fail")
        now = format_time(self._proc.system.now_ns())
        items = [
            {"metricName": metric.name, "metricLabels": metric.labels or None, "timestamp": now,
             "value": str(metric.value)}
            for metric in found
        ]
        return _json(200, {
            "kind": "ExternalMetricValueList", "apiVersion": API_VERSION, "metadata": {},
            "items": items,
        })

    def _found(self, name: str, selector: dict[str, str]) -> list[_Metric]:
        exact = self._metrics.get((name, frozenset(selector.items()))) if selector else None
        if exact is not None:
            return [exact]
        return [
            metric for metric in self._metrics.values()
            if metric.name == name and selector.items() <= metric.labels.items()
        ]

    def _told(self, verb: str, name: str, query: dict[str, str]) -> http1.Response:
        labels = labels_of(query.get("labels", ""))
        known = self._metrics.get((name, frozenset(labels.items())))
        said: dict[str, Any] = {"status": "success", "metric": name}
        fails = query.get("fail", "")
        if verb == "fail":
            if fails not in ("true", "false"):
                return _text(400, "fail param should be true or false")
            if known is not None:
                known.fails = fails == "true"
            said |= {"labels": labels, "failing": fails}
        else:
            number = _NUMBER.match(query.get("value", ""))
            if number is None:
                missing = "must be an integer" if query.get("value") else "required"
                return _text(400, f"value param {missing}")
            value = int(number[1])
            said["value"] = value
            if verb == "create":
                self._keep(_Metric(name, labels, value, fails == "true"))
                said |= {"status": "created", "labels": labels, "failing": fails == "true"}
                return _json(201, said)
            if known is not None:
                known.value = value
        if known is None:
            shown = ":".join([name, *([",".join(f"{k}={v}" for k, v in labels.items())] if labels
                                      else [])])
            return _text(404, f"metric {shown} not found")
        return _json(200, said)


def _text(code: int, text: str) -> http1.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return http1.Response(code, f"{text}\n".encode(), headers)


def _json(code: int, obj: dict[str, Any]) -> http1.Response:
    body = json.dumps(obj, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    return http1.Response(code, body, {"Content-Type": "application/json"})


async def external_metrics(proc: Proc, args: list[str]) -> int:
    """`external-metrics [--port n]`."""
    flags = await parse(
        proc, args,
        {"port": "6443", "service-name": "external-metrics-server", "service-namespace": "default"},
    )
    serving = ExternalMetrics(proc)
    proc.system.serve(
        flags.number("port"), lambda stream: http1.serve(stream, serving.answer), OWN_CERTIFICATE
    )
    return await forever(proc)


COMMANDS = {"external-metrics": external_metrics}
