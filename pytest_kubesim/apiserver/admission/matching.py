"""Whether a webhook or a policy is about a request, and in which version it wants to see it.

Objects are kept in the version in which they are stored (custom resources: in that of the request);
`Versioned` shows them in another.

Follows `admission/plugin/webhook/{predicates,generic}` and `apimachinery/pkg/runtime/mapper.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import labels, meta, status
from pytest_kubesim.apimachinery.meta import (
    GroupResource,
    GroupVersionKind,
    GroupVersionResource,
    Object,
)
from pytest_kubesim.apiserver import patience
from pytest_kubesim.apiserver.admission.chain import CREATE, UPDATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_kubesim.apiserver.admission.chain import Attributes
    from pytest_kubesim.registry.rest import Resource

NAMESPACES = GroupResource("", "namespaces")
CONFIGURATIONS = frozenset(
    {
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    }
)
EXCLUDED = frozenset(
    {
        GroupResource("authentication.k8s.io", "selfsubjectreviews"),
        GroupResource("authentication.k8s.io", "tokenreviews"),
        GroupResource("authorization.k8s.io", "localsubjectaccessreviews"),
        GroupResource("authorization.k8s.io", "selfsubjectaccessreviews"),
        GroupResource("authorization.k8s.io", "selfsubjectrulesreviews"),
        GroupResource("authorization.k8s.io", "subjectaccessreviews"),
    }
)
"""Questions that nobody is to come between."""

_EVENTS = "/registry/events"


def is_exempt(attributes: Attributes) -> bool:
    """Whether nothing that is configured may see the request, lest nobody could set it right."""
    kind = attributes.kind
    if kind.group == "admissionregistration.k8s.io" and kind.kind in CONFIGURATIONS:
        return True
    return attributes.resource.group_resource in EXCLUDED


@attrs.frozen
class Match:
    """In which version a request is to be shown."""

    resource: GroupVersionResource
    kind: GroupVersionKind


# -- rules -------------------------------------------------------------------------------------


def rule_matches(rule: Object, attributes: Attributes, resource: GroupVersionResource) -> bool:
    """Whether a rule is about the request, taken as one for that resource."""
    return (
        _in_scope(rule.get("scope") or "*", attributes)
        and _among(rule.get("operations") or (), attributes.operation)
        and _among(rule.get("apiGroups") or (), resource.group)
        and _among(rule.get("apiVersions") or (), resource.version)
        and any(
            _is_resource(each, resource.resource, attributes.subresource)
            for each in rule.get("resources") or ()
        )
    )


def _among(items: Iterable[str], wanted: str) -> bool:
    return any(item in ("*", wanted) for item in items)


def _in_scope(scope: str, attributes: Attributes) -> bool:
    if scope == "*":
        return True
    cluster = attributes.resource.group_resource == NAMESPACES or not attributes.namespace
    return cluster == (scope == "Cluster")


def _is_resource(rule: str, resource: str, subresource: str) -> bool:
    name, _, below = rule.partition("/")
    return name in ("*", resource) and below in ("*", subresource)


def match(rules: Sequence[Object], policy: str, attributes: Attributes) -> Match | None:
    """How rules match a request, in another version too if the policy is `Equivalent`."""
    if any(rule_matches(rule, attributes, attributes.resource) for rule in rules):
        return Match(attributes.resource, attributes.kind)
    if policy != "Equivalent":
        return None
    others = [each for each in equivalents(attributes) if each.gvr != attributes.resource]
    for rule in rules:
        for other in others:
            if rule_matches(rule, attributes, other.gvr):
                return Match(other.gvr, kind_of(other, attributes))
    return None


def equivalents(attributes: Attributes) -> list[Resource]:
    """All versions that serve the same objects and have the same subresource."""
    served = attributes.scope.served
    catalog = attributes.server.catalog
    groups = [served.group]
    if served.storage_prefix == _EVENTS:
        groups = ["", "events.k8s.io"]
    found: list[Resource] = []
    for group in groups:
        for version in catalog.versions(group):
            each = catalog.by_resource(group, version, served.plural)
            below = attributes.subresource
            if each is not None and (not below or below in each.subresources):
                found.append(each)
    return found


def kind_of(resource: Resource, attributes: Attributes) -> GroupVersionKind:
    """The kind of what a resource, or a subresource of it, takes."""
    below = resource.subresources.get(attributes.subresource)
    return resource.gvk if below is None else below.kind


# -- selectors ---------------------------------------------------------------------------------


def namespace_of(attributes: Attributes) -> str:
    """The namespace of a request; a namespace is in itself."""
    if attributes.resource.group_resource == NAMESPACES:
        return attributes.namespace or attributes.name
    return attributes.namespace


def selects_namespace(selector: Object | None, attributes: Attributes) -> bool:
    """Whether a selector selects the namespace of a request; cluster-wide objects always.

    Raises `APIStatus` (404) where there is no such namespace.
    """
    name = namespace_of(attributes)
    is_namespace = attributes.resource.resource == "namespaces"
    if not name and not is_namespace:
        return True
    compiled = labels.from_label_selector(selector or {})
    if compiled.empty:
        return True
    if is_namespace and not attributes.subresource and attributes.operation in (CREATE, UPDATE):
        return compiled.matches(meta.labels(attributes.obj or {}))
    namespace = attributes.server.reader.get(NAMESPACES, "", name)
    if namespace is None:
        raise status.new_not_found(NAMESPACES, name)
    return compiled.matches(meta.labels(namespace))


def selects_object(selector: Object | None, *objects: Object | None) -> bool:
    """Whether a selector selects any of some objects, the new and the old one."""
    compiled = labels.from_label_selector(selector or {})
    if compiled.empty:
        return True
    return any(each is not None and compiled.matches(meta.labels(each)) for each in objects)


# -- versions ----------------------------------------------------------------------------------


class Versioned:
    """The objects of a request in any version that it is served in."""

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes

    def _resource(self, kind: GroupVersionKind) -> Resource | None:
        """The resource whose objects are of a kind; None if it is not the request's own kind."""
        attributes = self.attributes
        served = attributes.scope.served
        if kind_of(served, attributes) != served.gvk and attributes.subresource:
            return None
        if attributes.kind != served.gvk:
            return None
        for each in equivalents(attributes):
            if each.gvk == kind:
                return each
        return None

    def shown(self, obj: Object | None, kind: GroupVersionKind) -> Object | None:
        """An object in the version of a kind."""
        if obj is None:
            return None
        resource = self._resource(kind)
        served = self.attributes.scope.served
        if resource is None:
            return obj
        if not served.custom:
            return self.attributes.server.store(resource).served(obj)
        if resource.gvk == served.gvk:
            return obj
        assert served.encode_stored is not None
        assert resource.decode_stored is not None
        return resource.decode_stored(served.encode_stored(obj))

    async def seen(self, obj: Object | None, kind: GroupVersionKind) -> Object | None:
        """As `shown`, waiting for who converts."""
        return await patience.patiently(lambda: self.shown(obj, kind))

    def kept(self, obj: Object, kind: GroupVersionKind) -> Object:
        """An object of a kind in the version in which it is kept."""
        resource = self._resource(kind)
        served = self.attributes.scope.served
        if resource is None:
            return obj
        if not served.custom:
            return self.attributes.server.store(resource).stored(obj)
        if resource.gvk == served.gvk:
            return obj
        assert resource.encode_stored is not None
        assert served.decode_stored is not None
        return served.decode_stored(resource.encode_stored(obj))
