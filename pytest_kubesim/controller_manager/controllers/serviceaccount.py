"""The serviceaccount controller: every active namespace has its service account `default`.

Follows `pkg/controller/serviceaccount/serviceaccounts_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import NAMESPACES, SERVICEACCOUNTS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller, is_namespace_terminating

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DEFAULT = "default"


class ServiceAccountController(Controller):
    """Makes the service account `default` of namespaces."""

    name = "serviceaccount-controller"
    service_account = "service-account-controller"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Listen to namespaces, and to service accounts that are deleted."""
        self.accounts = self.watch(SERVICEACCOUNTS, delete=self._account_deleted)
        self.namespaces = self.watch(NAMESPACES, add=self.enqueue, update=self.enqueue_new)

    def _account_deleted(self, account: Object) -> None:
        self.queue.add(meta.namespace(account))

    async def reconcile(self, key: str) -> None:
        """Make the service account of one namespace if it is not there."""
        namespace = self.namespaces.get(key)
        if namespace is None or fields.status(namespace).get("phase") != "Active":
            return
        if self.accounts.get_by_name(key, DEFAULT) is not None:
            return
        account = {
            "kind": "ServiceAccount",
            "apiVersion": "v1",
            "metadata": {"name": DEFAULT, "namespace": key},
        }
        try:
            await self.client.create(SERVICEACCOUNTS, key, account)
        except status.APIStatus as error:
            if not status.is_already_exists(error) and not is_namespace_terminating(error):
                raise


CONTROLLER = ServiceAccountController
