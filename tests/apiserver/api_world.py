"""A control plane of one etcd and one API server, and a client that says whom it is."""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apiserver import bootstrap
from pytest_kubesim.apiserver.server import APIServer
from pytest_kubesim.apiserver.storage.watch import CacheWatcher
from pytest_kubesim.etcd.client import Client
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.registry.generic import Catalog
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.faultpoints import FaultPoints
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.wire import Request, Response, UserInfo

ADMIN = UserInfo("admin", ("system:masters",))
MERGE = "application/merge-patch+json"


class World:
    """What a test talks to."""

    def __init__(self, **options: Any) -> None:
        self.kernel = Kernel()
        catalog = Catalog()
        self.member = Member(clock=lambda: self.kernel.now_ns)
        self.member.restore(bootstrap.snapshot(catalog, self.kernel.start_ns))
        self.faultpoints = FaultPoints()
        self.server = APIServer(
            self.kernel,
            Client(self.member),
            catalog=catalog,
            faultpoints=self.faultpoints,
            **options,
        )
        self.server.start()

    def wait(self, seconds: float) -> None:
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * NS))

    def request(
        self,
        method: str,
        path: str,
        obj: Any = None,
        *,
        query: dict[str, str] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        user: UserInfo | None = ADMIN,
        content_type: str = "application/json",
    ) -> Request:
        lines = (("user-agent", "test/1"), ("content-type", content_type), *headers)
        pairs = tuple((query or {}).items())
        return Request(method, path, pairs, lines, None, obj, user, client="test")

    def call(self, method: str, path: str, obj: Any = None, **options: Any) -> Any:
        request = self.request(method, path, obj, **options)
        return self.kernel.run_coroutine(self.server.handle(request))

    def ok(self, method: str, path: str, obj: Any = None, **options: Any) -> Any:
        answer: Response = self.call(method, path, obj, **options)
        assert answer.status < 300, answer.obj
        return answer.obj

    def config_map(self, name: str, **fields: Any) -> Any:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.ok("POST", CONFIG_MAPS, {"metadata": metadata, **fields})

    def watch(self, path: str, **query: str) -> CacheWatcher:
        found = self.call("GET", path, query={"watch": "true", **query})
        assert isinstance(found, CacheWatcher), found.obj
        return found


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def drain(watch: CacheWatcher) -> list[tuple[str, str]]:
    """What has come: type and name of each event."""
    out: list[tuple[str, str]] = []
    while (event := watch.next_nowait()) is not None:
        out.append((event.type, event.object["metadata"].get("name", "")))
    return out
