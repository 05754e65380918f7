"""The replicaset controller: ReplicaSets.

Follows `pkg/controller/replicaset/replica_set.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.client_go.resources import REPLICASETS
from pytest_kubesim.controller_manager.replica_controller import ReplicaController

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object


class ReplicaSetController(ReplicaController):
    """Keeps the pods of ReplicaSets."""

    name = "replicaset-controller"
    service_account = "replicaset-controller"
    workers_flag = "concurrent-replicaset-syncs"
    gvr = REPLICASETS
    kind = GroupVersionKind("apps", "v1", "ReplicaSet")
    counts_terminating = True

    def selector_of(self, obj: Object) -> Selector:
        """`spec.selector`, a LabelSelector."""
        return labels.from_label_selector(obj["spec"].get("selector"))


CONTROLLER = ReplicaSetController
