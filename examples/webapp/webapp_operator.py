"""An asynchronous operator on lightkube: a WebApp is a Deployment, a Service and a DNS record.

The DNS record lies in a system outside Kubernetes that fails now and then, so a finalizer holds the
WebApp until its record is gone.
"""

from __future__ import annotations

import asyncio

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec, ServicePort, ServiceSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Service
from lightkube.types import PatchType

WebApp = create_namespaced_resource("example.com", "v1", "WebApp", "webapps")
FINALIZER = "example.com/dns"
MANAGER = "webapp-operator"


class DNSError(Exception):
    """The DNS provider does not answer."""


class Operator:
    """Reconciles WebApps; `dns` has `create(host)` and `delete(host)`, which may raise `DNSError`."""

    def __init__(self, dns):
        self.dns = dns
        self.client = None

    async def main(self):
        self.client = AsyncClient(field_manager=MANAGER)
        while True:
            async for app in self.client.list(WebApp, namespace="*"):
                await self.reconcile(app)
            await asyncio.sleep(5)

    async def reconcile(self, app):
        try:
            if app.metadata.deletionTimestamp:
                await self.delete(app)
            else:
                await self.create(app)
        except DNSError as error:
            await self.status(app, "Degraded", str(error))
        except ApiError as error:
            if error.status.code not in (404, 409):
                raise
            print(f"{app.metadata.name}: {error}; next round")

    async def create(self, app):
        finalizers = app.metadata.finalizers or []
        if FINALIZER not in finalizers:
            patch = {"metadata": {"finalizers": [*finalizers, FINALIZER], "resourceVersion": app.metadata.resourceVersion}}
            await self.client.patch(
                WebApp, app.metadata.name, patch, namespace=app.metadata.namespace, patch_type=PatchType.MERGE
            )
        for child in (deployment(app), service(app)):
            await self.client.apply(child, force=True)
        await self.dns.create(app.spec["host"])
        await self.status(app, "Ready", "")

    async def delete(self, app):
        finalizers = app.metadata.finalizers or []
        if FINALIZER not in finalizers:
            return
        await self.dns.delete(app.spec["host"])
        patch = {"metadata": {"finalizers": [f for f in finalizers if f != FINALIZER]}}
        await self.client.patch(
            WebApp, app.metadata.name, patch, namespace=app.metadata.namespace, patch_type=PatchType.MERGE
        )

    async def status(self, app, phase, message):
        if app.status and app.status.get("phase") == phase and app.status.get("message") == message:
            return
        patch = {"status": {"phase": phase, "message": message}}
        await self.client.patch(
            WebApp.Status, app.metadata.name, patch, namespace=app.metadata.namespace, patch_type=PatchType.MERGE
        )


def meta(app):
    owner = OwnerReference(
        apiVersion="example.com/v1", kind="WebApp", name=app.metadata.name, uid=app.metadata.uid,
        controller=True, blockOwnerDeletion=True,
    )
    return ObjectMeta(name=app.metadata.name, namespace=app.metadata.namespace, ownerReferences=[owner])


def deployment(app):
    labels = {"app": app.metadata.name}
    container = Container(name="web", image=app.spec["image"])
    template = PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[container]))
    spec = DeploymentSpec(
        replicas=app.spec["replicas"], selector=LabelSelector(matchLabels=labels), template=template
    )
    return Deployment(metadata=meta(app), spec=spec)


def service(app):
    spec = ServiceSpec(selector={"app": app.metadata.name}, ports=[ServicePort(port=80, targetPort=8080)])
    return Service(metadata=meta(app), spec=spec)
