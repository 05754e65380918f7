"""DefaultBinder: tell the API server.

Follows `pkg/scheduler/framework/plugins/defaultbinder/default_binder.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.framework import CycleState, Handle, Status
    from pytest_kubesim.scheduler.pod_info import PodInfo


class DefaultBinder:
    """The plugin."""

    name = "DefaultBinder"

    def __init__(self) -> None:
        self._handle: Handle | None = None

    def attach(self, handle: Handle) -> None:
        """Learn by which client."""
        self._handle = handle

    async def bind(self, state: CycleState, pod: PodInfo, node_name: str) -> Status | None:
        """POST the pod's binding."""
        assert self._handle is not None
        binding = {
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node_name},
        }
        try:
            await self._handle.client.create(
                PODS, pod.namespace, binding, name=pod.name, subresource="binding"
            )
        except (APIStatus, ConnectionLost) as failure:
            return fwk.error(str(failure))
        return None
