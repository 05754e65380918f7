"""The hooks of a kind in the order in which the API server calls them, without a server."""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import go_encoding, objectmeta, status
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.registry import generic
from pytest_kubesim.registry.rest import Context, Resource, Strategy
from pytest_kubesim.sim.rng import Rng
from pytest_kubesim.wire import UserInfo

Object = dict[str, Any]
CATALOG = generic.Catalog()
NOW = "2026-01-01T00:00:00Z"
NOW_NS = 1767225600 * 10**9
METADATA = Path("metadata")
PLACES = {
    "pods": ("", "v1"),
    "services": ("", "v1"),
    "configmaps": ("", "v1"),
    "secrets": ("", "v1"),
    "namespaces": ("", "v1"),
    "nodes": ("", "v1"),
    "persistentvolumes": ("", "v1"),
    "persistentvolumeclaims": ("", "v1"),
    "resourcequotas": ("", "v1"),
    "limitranges": ("", "v1"),
    "endpoints": ("", "v1"),
    "events": ("", "v1"),
    "serviceaccounts": ("", "v1"),
    "podtemplates": ("", "v1"),
    "componentstatuses": ("", "v1"),
    "replicationcontrollers": ("", "v1"),
    "deployments": ("apps", "v1"),
    "replicasets": ("apps", "v1"),
    "statefulsets": ("apps", "v1"),
    "daemonsets": ("apps", "v1"),
    "controllerrevisions": ("apps", "v1"),
    "jobs": ("batch", "v1"),
    "cronjobs": ("batch", "v1"),
    "networkpolicies": ("networking.k8s.io", "v1"),
    "ingresses": ("networking.k8s.io", "v1"),
    "ingressclasses": ("networking.k8s.io", "v1"),
    "ipaddresses": ("networking.k8s.io", "v1"),
    "servicecidrs": ("networking.k8s.io", "v1"),
    "poddisruptionbudgets": ("policy", "v1"),
    "priorityclasses": ("scheduling.k8s.io", "v1"),
    "runtimeclasses": ("node.k8s.io", "v1"),
    "storageclasses": ("storage.k8s.io", "v1"),
    "volumeattachments": ("storage.k8s.io", "v1"),
    "csidrivers": ("storage.k8s.io", "v1"),
    "csinodes": ("storage.k8s.io", "v1"),
    "endpointslices": ("discovery.k8s.io", "v1"),
    "leases": ("coordination.k8s.io", "v1"),
    "horizontalpodautoscalers": ("autoscaling", "v2"),
    "clusterroles": ("rbac.authorization.k8s.io", "v1"),
    "rolebindings": ("rbac.authorization.k8s.io", "v1"),
    "certificatesigningrequests": ("certificates.k8s.io", "v1"),
    "podcertificaterequests": ("certificates.k8s.io", "v1"),
    "flowschemas": ("flowcontrol.apiserver.k8s.io", "v1"),
    "prioritylevelconfigurations": ("flowcontrol.apiserver.k8s.io", "v1"),
    "apiservices": ("apiregistration.k8s.io", "v1"),
    "validatingwebhookconfigurations": ("admissionregistration.k8s.io", "v1"),
    "validatingadmissionpolicies": ("admissionregistration.k8s.io", "v1"),
    "mutatingadmissionpolicies": ("admissionregistration.k8s.io", "v1"),
    "resourceclaims": ("resource.k8s.io", "v1"),
    "resourceslices": ("resource.k8s.io", "v1"),
    "deviceclasses": ("resource.k8s.io", "v1"),
    "devicetaintrules": ("resource.k8s.io", "v1"),
    "storageversionmigrations": ("storagemigration.k8s.io", "v1"),
}


class Pipeline:
    """A store of nothing but dicts: what is created is there for those that come after."""

    def __init__(self) -> None:
        self.objects: dict[str, list[Object]] = {}
        self.warnings: list[str] = []
        self.state: dict[str, Any] = {}

    def get(self, resource: GroupResource, namespace: str, name: str) -> Object | None:
        for obj in self.objects.get(resource.resource, ()):
            meta = obj["metadata"]
            if meta["name"] == name and meta.get("namespace", "") == namespace:
                return obj
        return None

    def list(self, resource: GroupResource, namespace: str = "") -> list[Object]:
        found = self.objects.get(resource.resource, [])
        return [o for o in found if not namespace or o["metadata"]["namespace"] == namespace]

    def context(self, verb: str, *, dry_run: bool = False) -> Context:
        return Context(
            now=NOW,
            now_ns=NOW_NS,
            user=UserInfo("jane"),
            rng=Rng(1),
            reader=self,
            namespace="default",
            verb=verb,
            dry_run=dry_run,
            state=self.state,
        )

    def create(self, plural: str, obj: Object, *, dry_run: bool = False) -> Object:
        """The object as it is read once it is stored.  Raises `APIStatus`."""
        resource = resource_of(plural)
        strategy = resource.strategy
        context = self.context("create", dry_run=dry_run)
        obj = decoded(resource, obj)
        metadata = {**obj["metadata"], "creationTimestamp": NOW, "uid": "u", "resourceVersion": "1"}
        if resource.namespaced:
            metadata["namespace"] = "default"
        obj = strategy.prepare_for_create(context, {**obj, "metadata": metadata})

        def name_check(name: str, *, prefix: bool = False) -> list[str]:
            return strategy.validate_name(name, prefix)

        errors = objectmeta.validate_object_meta(
            metadata,
            requires_namespace=resource.namespaced,
            name_check=name_check,
            path=METADATA,
        )
        errors += strategy.validate(context, obj)
        if errors:
            raise status.new_invalid(GroupKind(resource.group, resource.kind), "x", errors)
        self.warnings = context.warnings + strategy.warnings_on_create(context, obj)
        obj = strategy.begin_create(context, strategy.canonicalize(obj))
        obj = go_encoding.roundtrip(resource.schema, obj)
        if resource.decode_stored is not None:
            obj = resource.decode_stored(obj)
        if not dry_run:
            self.objects.setdefault(plural, []).append(obj)
        return obj

    def update(self, plural: str, obj: Object, old: Object, sub: str = "") -> Object:
        """The object as it is stored instead of `old`.  Raises `APIStatus`."""
        resource = resource_of(plural)
        strategy = strategy_of(resource, sub)
        context = self.context("update")
        new = decoded(resource, {**obj, "metadata": {**old["metadata"], **obj["metadata"]}})
        new = strategy.prepare_for_update(context, new, old)
        errors = objectmeta.validate_object_meta_update(new["metadata"], old["metadata"], METADATA)
        errors += strategy.validate_update(context, new, old)
        if errors:
            raise status.new_invalid(GroupKind(resource.group, resource.kind), "x", errors)
        self.warnings = context.warnings + strategy.warnings_on_update(context, new, old)
        new = strategy.begin_update(context, strategy.canonicalize(new), old)
        new = strategy.decorate(go_encoding.roundtrip(resource.schema, new))
        there = self.objects.get(plural, [])
        there[:] = [new if each is old else each for each in there]
        return new

    def change(self, plural: str, old: Object, changes: Object, sub: str = "") -> Object:
        """An update by a merge patch.  Raises `APIStatus`."""
        return self.update(plural, merged(old, changes), old, sub)


def resource_of(plural: str) -> Resource:
    resource = CATALOG.by_resource(*PLACES[plural], plural)
    assert resource is not None
    return resource


def strategy_of(resource: Resource, sub: str = "") -> Strategy:
    if not sub:
        return resource.strategy
    found = resource.status_strategy if sub == "status" else resource.other_strategies[sub]
    assert found is not None
    return found


def decoded(resource: Resource, obj: Object) -> Object:
    obj = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
    return go_encoding.roundtrip(resource.schema, resource.strategy.default(obj))


def merged(obj: Any, changes: Any) -> Any:
    if not isinstance(changes, dict) or not isinstance(obj, dict):
        return changes
    out = dict(obj)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def causes(error: status.APIStatus) -> list[str]:
    """`field: message` of each cause."""
    listed = (error.to_object().get("details") or {}).get("causes") or []
    return [f"{cause.get('field')}: {cause['message']}" for cause in listed]


def row(plural: str, obj: Object) -> list[Any]:
    """The cells of the object's Table row, as of `NOW`."""
    printer = resource_of(plural).printer
    assert printer is not None
    cells = printer.row(obj, NOW_NS)
    assert len(cells) == len(printer.columns)
    return cells
