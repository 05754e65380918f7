"""An API server with etcd behind it, asked as an in-process client asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.wire import Request, Response, UserInfo

ADMIN = UserInfo("admin", ("system:masters",))
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 0},
                "colour": {"type": "string", "default": "red"},
            },
        },
        "status": {"type": "object", "properties": {"ready": {"type": "integer"}}},
    },
}


def version(name: str = "v1", **fields: Any) -> dict[str, Any]:
    """A version of a definition."""
    found: dict[str, Any] = {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {"openAPIV3Schema": SCHEMA},
    }
    return found | fields


def definition(*versions: dict[str, Any], **names: Any) -> dict[str, Any]:
    """A definition of Widgets, or of what `names` says."""
    names = {"plural": "widgets", "kind": "Widget", **names}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": names,
            "versions": list(versions) or [version()],
        },
    }


def widget(name: str = "a", api_version: str = "example.com/v1", **fields: Any) -> dict[str, Any]:
    """A Widget."""
    return {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": name}, **fields}


class World:
    """A control plane of etcd and one API server."""

    def __init__(self) -> None:
        self.kernel = Kernel(start_time=datetime(2026, 1, 1, tzinfo=UTC))
        self.catalog = Catalog()
        self.member = Member(clock=lambda: self.kernel.now_ns)
        self.member.restore(bootstrap.snapshot(self.catalog, self.kernel.start_ns))
        self.server = APIServer(self.kernel, Client(self.member), catalog=self.catalog)
        self.server.start()

    def ask(
        self, method: str, path: str, obj: Any = None, *, kind: str = "json", **query: str
    ) -> Response:
        """The answer; what it sets off at this instant has happened too."""
        answer = self.open(method, path, obj, kind=kind, **query)
        assert isinstance(answer, Response)
        self.kernel.run(until_ns=self.kernel.now_ns)
        return answer

    def open(
        self, method: str, path: str, obj: Any = None, *, kind: str = "json", **query: str
    ) -> Any:
        """The answer, or a stream."""
        headers = (("content-type", f"application/{kind}"), ("user-agent", "test/1"))
        request = Request(
            method, path, tuple(query.items()), headers, obj=obj, user=ADMIN, client="test"
        )
        return self.kernel.run_coroutine(self.server.handle(request))

    def get(self, path: str) -> dict[str, Any]:
        """An object that is there."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.obj
        assert answer.obj is not None
        return answer.obj

    def define(self, *versions: dict[str, Any], **names: Any) -> Response:
        """Create a definition."""
        return self.ask("POST", DEFINITIONS, definition(*versions, **names))

    def conditions(self, name: str = "widgets.example.com") -> dict[str, str]:
        """Status of the conditions of a definition, by type."""
        crd = self.get(f"{DEFINITIONS}/{name}")
        return {each["type"]: each["status"] for each in crd["status"]["conditions"]}

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * NS))
