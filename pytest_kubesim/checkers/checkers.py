"""All checkers of a cluster, put on together.

::

    def pytest_kubesim_cluster_made(cluster):        # in a conftest
        Checkers(cluster)

From there on a broken law fails the test at the moment when it is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_kubesim.checkers.immutability import Immutability
from pytest_kubesim.checkers.invariants import Invariants
from pytest_kubesim.checkers.raft_terms import RaftTerms
from pytest_kubesim.checkers.violation import LawBroken, Violation
from pytest_kubesim.checkers.watch_guarantees import WatchGuarantees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.group import Group
    from pytest_kubesim.etcd.messages import WatchResponse
    from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore


class Stored(Protocol):
    """What the checkers need of the control plane."""

    group: Group | None
    """The members of etcd, where there are several."""

    @property
    def observed(self) -> WatchableStore:
        """What is stored, as of the newest write that anybody has applied."""
        ...

    @property
    def servers(self) -> Sequence[APIServer]:
        """The API servers."""
        ...

    def observe(self, listener: Callable[[WatchResponse], object]) -> None:
        """Call `listener` with every change of what is stored."""
        ...


class Ground(Protocol):
    """What the checkers need of the cluster."""

    on_finish: list[Callable[[], object]]
    """Called when the test has ended, before the cluster is closed."""

    @property
    def control_plane(self) -> Stored:
        """The control plane."""
        ...

    def fail(self, failure: BaseException) -> None:
        """End the test with `failure` as soon as the present event is over."""
        ...


class Checkers:
    """Parameters: `ground`, the cluster; `immutability`, whether each stored value is digested when
    it is written and again at the end (20 us a write).
    """

    def __init__(self, ground: Ground, *, immutability: bool = True) -> None:
        self.violations: list[Violation] = []
        self._ground = ground
        self._control_plane = ground.control_plane
        self._revision = 0
        self._invariants = Invariants(self._broken)
        self._watches = WatchGuarantees(self._broken)
        self._immutability = Immutability(self._broken) if immutability else None
        self._begin()
        self._control_plane.observe(self._heard)
        if self._control_plane.group is not None:
            self._watch_terms(self._control_plane.group)
        for server in self._control_plane.servers:
            server.on_watch.append(self._watches.opened)
        ground.on_finish.append(self._finish)

    def _begin(self) -> None:
        store = self._control_plane.observed
        self._revision = store.revision
        self._watches.begin(store.revision)
        everything = store.range("/", "0").kvs
        self._invariants.begin((kv.key, kv.value) for kv in everything)

    def _watch_terms(self, group: Group) -> None:
        terms = RaftTerms(self._broken)

        def begin() -> None:
            terms.begin(group.members.values())

        begin()
        group.on_leader.append(terms.heard)
        group.on_restore.append(begin)

    def _heard(self, response: WatchResponse) -> None:
        if response.events and response.events[0].kv.mod_revision <= self._revision:
            # An old snapshot was restored: a new history begins.
            self._begin()
            return
        self._revision = max(self._revision, response.revision)
        self._invariants.heard(response)
        self._watches.heard(response)
        if self._immutability is not None:
            self._immutability.heard(response)

    def _broken(self, violation: Violation) -> None:
        self.violations.append(violation)
        if len(self.violations) == 1:
            self._ground.fail(LawBroken(self.violations))

    def _finish(self) -> None:
        if self._immutability is not None:
            self._immutability.finish()
        if self.violations:
            raise LawBroken(self.violations)
