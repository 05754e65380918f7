"""The replicationcontroller controller: ReplicationControllers, which are ReplicaSets of old.

Follows `pkg/controller/replication/replication_controller.go`, which adapts the replicaset
controller: the selector is a map, and the status does not count terminating pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import REPLICATIONCONTROLLERS
from pytest_kubesim.controller_manager.replica_controller import ReplicaController

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object


class ReplicationManager(ReplicaController):
    """Keeps the pods of ReplicationControllers."""

    name = "replicationcontroller-controller"
    service_account = "replication-controller"
    component = "replication-controller"
    workers_flag = "concurrent-rc-syncs"
    gvr = REPLICATIONCONTROLLERS
    kind = GroupVersionKind("", "v1", "ReplicationController")

    def selector_of(self, obj: Object) -> Selector:
        """`spec.selector`, a map of labels."""
        return labels.from_set(obj["spec"].get("selector"))


CONTROLLER = ReplicationManager
