"""Each law, kept by a cluster and broken by hand: a checker that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_kubesim.checkers.checkers import Checkers
from pytest_kubesim.checkers.convergence import unconverged
from pytest_kubesim.checkers.raft_terms import RaftTerms
from pytest_kubesim.checkers.violation import LawBroken
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.wire import WatchEvent

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.storage.watch import CacheWatcher

WEB: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "web:1"}]},
        },
    },
}
POD = "/registry/pods/default/web"


class Watched:
    """A cluster of its own with its checkers: what it breaks is not this test's failure."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.checkers = Checkers(self.cluster)
        self.cluster.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
             "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "web:1"}]}}
        )

    def store(self, key: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Write past the API server, as no client can."""
        control_plane = self.cluster.control_plane
        kept = control_plane.observed.latest(key)
        value = change({} if kept is None else kept.value)
        write = control_plane.server.etcd.put(key, value)
        self.cluster.kernel.spawn(write, name="tamper", eager=True)

    def finish(self) -> str:
        """What the test would fail with."""
        def end() -> None:
            self.cluster.advance("1s")
            self.cluster.finish()

        with pytest.raises(LawBroken) as broken:
            end()
        self.cluster.close()
        return str(broken.value)


@pytest.fixture
def watched() -> Watched:
    """A cluster to break."""
    return Watched()


def test_a_cluster_at_work_breaks_no_law(watched: Watched) -> None:
    """Deployments, node loss, deletion: nothing to say."""
    cluster = watched.cluster
    cluster.add_nodes(3)
    cluster.apply(WEB)
    cluster.eventually("pods", {"status": {"phase": "Running"}}, labels="app=web", within="1m")
    cluster.faults.node("node-2").crash()
    cluster.advance("10m")
    cluster.settle()
    cluster.delete("deployment/web")
    cluster.advance("1h")
    assert watched.checkers.violations == []
    cluster.finish()
    cluster.close()


def test_a_second_binding_is_seen(watched: Watched) -> None:
    watched.store(POD, lambda pod: {**pod, "spec": {**pod["spec"], "nodeName": "node-2"}})
    assert "it was bound to node-1 and is bound to node-2" in watched.finish()


def test_a_new_uid_is_seen(watched: Watched) -> None:
    watched.store(POD, lambda pod: {**pod, "metadata": {**pod["metadata"], "uid": "other"}})
    assert "metadata.uid was" in watched.finish()


def test_an_address_given_twice_is_seen(watched: Watched) -> None:
    addressed = {"spec": {}, "status": {"podIPs": [{"ip": "10.0.0.7"}]}}
    watched.store(POD, lambda pod: {**pod, "status": addressed["status"]})
    watched.store("/registry/pods/default/other", lambda _: {"metadata": {}, **addressed})
    assert "10.0.0.7 belongs to /registry/pods/default/web" in watched.finish()


def test_an_address_of_a_node_that_is_gone_may_be_given_again(watched: Watched) -> None:
    watched.store("/registry/minions/node-1", lambda _: {"metadata": {"name": "node-1"}})
    addressed = {"spec": {}, "status": {"podIPs": [{"ip": "10.0.0.7"}]}}
    watched.store(POD, lambda pod: {**pod, "status": addressed["status"]})
    remove = watched.cluster.control_plane.server.etcd.delete("/registry/minions/node-1")
    watched.cluster.kernel.spawn(remove, name="tamper", eager=True)
    watched.store("/registry/pods/default/other", lambda _: {"metadata": {}, **addressed})
    watched.store(POD, lambda pod: {**pod, "metadata": {**pod["metadata"], "labels": {}}})
    assert watched.checkers.violations == []
    watched.cluster.close()


def test_a_change_in_place_is_seen(watched: Watched) -> None:
    kept = watched.cluster.control_plane.observed.latest(POD)
    assert kept is not None
    kept.value["metadata"]["labels"] = {"mutated": "yes"}
    assert "was changed after it was stored" in watched.finish()


def open_watch(watched: Watched) -> CacheWatcher:
    """A watch of config maps that a client of its own holds."""
    opened: list[CacheWatcher] = []
    cluster = watched.cluster
    cluster.server.on_watch.append(lambda _, watcher: opened.append(watcher))
    client = cluster.control_plane.admin("watcher", "test")
    from pytest_kubesim.client_go.resources import CONFIGMAPS

    version = str(cluster.control_plane.observed.revision)
    cluster.perform(client.watch(CONFIGMAPS, "default", resource_version=version))
    return opened[-1]


def config_map(watched: Watched, name: str) -> dict[str, Any]:
    """A new one."""
    return watched.cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    )


def deaf(watch: CacheWatcher, action: Callable[[], object]) -> None:
    """Do it, and let the watch miss it: it believes that it has been told already."""
    told, watch.revision = watch.revision, 1_000_000_000
    action()
    watch.revision = told


def test_an_event_left_out_is_seen(watched: Watched) -> None:
    watch = open_watch(watched)
    deaf(watch, lambda: config_map(watched, "one"))
    config_map(watched, "two")
    assert watch.next_nowait() is not None
    assert "it tells ADDED default/two" in watched.finish()


def test_an_event_told_twice_is_seen(watched: Watched) -> None:
    watch = open_watch(watched)
    config_map(watched, "one")
    event = watch.next_nowait()
    assert event is not None
    watch.put(event)
    watch.next_nowait()
    assert "which is not owed" in watched.finish()


def test_a_bookmark_that_lies_is_seen(watched: Watched) -> None:
    watch = open_watch(watched)
    deaf(watch, lambda: config_map(watched, "one"))
    revision = watched.cluster.control_plane.observed.revision
    watch.put(WatchEvent("BOOKMARK", {"metadata": {}}, revision))
    watch.next_nowait()
    assert f"a bookmark says {revision}" in watched.finish()


def test_what_is_not_as_it_is_asked_for_is_told(kubesim: Cluster) -> None:
    """Without nodes no replica becomes ready; with them all is as it is asked for."""
    kubesim.apply(WEB)
    kubesim.advance("1m")
    assert "deployments/default/web: 0 of 2 replicas are ready" in unconverged(kubesim.list)
    kubesim.add_nodes(1)
    kubesim.settle()
    assert unconverged(kubesim.list) == []


class Group:
    """Three members as the checker of terms sees them."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.terms = RaftTerms(lambda violation: self.found.append(str(violation)))

    def says(self, name: str, term: int, lead: int) -> None:
        """A member has another leader."""
        self.terms.heard(SimpleNamespace(name=name, term=term, lead=lead))  # type: ignore[arg-type]


def test_a_second_leader_in_a_term_is_seen() -> None:
    group = Group()
    group.says("etcd-1", 2, 1)
    group.says("etcd-2", 2, 1)
    group.says("etcd-1", 3, 0)
    group.says("etcd-2", 3, 2)
    assert group.found == []
    group.says("etcd-3", 3, 3)
    assert group.found == [
        "one leader a term: in term 3 etcd-3 has the leader etcd-3, etcd-2 had etcd-2"
    ]


def test_a_term_that_falls_is_seen() -> None:
    group = Group()
    group.says("etcd-1", 3, 1)
    group.says("etcd-1", 2, 0)
    assert group.found == ["terms grow: etcd-1 was in term 3 and is in term 2"]


@pytest.mark.kubesim(etcd_members=3)
def test_the_terms_of_a_group_are_watched(kubesim: Cluster) -> None:
    """A leader is lost, comes back; an old snapshot is restored, and terms begin anew."""
    group = kubesim.control_plane.group
    assert group is not None
    assert len(group.on_leader) == 1
    snapshot = group.snapshot()
    for _ in range(3):
        leader = group.leader
        assert leader is not None
        leader.crash()
        kubesim.advance("10s")
        leader.start()
        kubesim.advance("10s")
    group.restore(snapshot)
    kubesim.advance("10s")
