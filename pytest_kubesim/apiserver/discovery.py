"""Discovery: which groups, versions and resources there are.

Two forms: one document a group version (`/api/v1`, `/apis/apps/v1`), and all in one
(`apidiscovery.k8s.io`), which is had by asking for it in `Accept`.

Follows `apiserver/pkg/endpoints/discovery` and its `aggregated` package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import aggregated_discovery, aggregation, negotiation, responses
from pytest_kubesim.data import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.registry.generic import Catalog
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.wire import Response

SERVER_ADDRESS = "10.0.0.1:6443"
AGGREGATED = "apidiscovery.k8s.io"


def serve(scope: RequestScope, parts: list[str]) -> Response:
    """Answer for `/api`, `/apis` and what is below.  Raises `APIStatus` (404, 406)."""
    catalog = scope.server.catalog
    if len(parts) == 1:
        version = _aggregated_version(scope.request.header("accept"))
        if version:
            return _aggregated(scope, parts[0], version)
    scope.output = negotiation.negotiate(scope.request.header("accept"))
    if parts == ["api"]:
        return responses.written(scope, 200, _api_versions())
    if parts == ["apis"]:
        return responses.written(scope, 200, _group_list(scope.server))
    if parts[0] == "api":
        if parts == ["api", "v1"]:
            return responses.written(scope, 200, resource_list(catalog, "", "v1"))
        raise _not_found()
    group = parts[1]
    versions = _versions(scope.server, group) if group else []
    if not versions:
        return responses.page_not_found()
    if len(parts) == 2:
        return responses.written(
            scope, 200, {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}
        )
    if parts[2] not in versions:
        if not catalog.infos(group, versions[0]):
            return responses.page_not_found()
        raise _not_found()
    return responses.written(scope, 200, resource_list(catalog, group, parts[2]))


def _not_found() -> status.APIStatus:
    return status.new_generic_server_response(404, "", GroupResource("", ""), "", "")


def paths(catalog: Catalog) -> list[str]:
    """What `/` lists."""
    found = ["/api", "/api/v1", "/apis", "/apis/"]
    for group in sorted(g for g in catalog.groups() if g):
        found.append(f"/apis/{group}")
        found += [f"/apis/{group}/{version}" for version in sorted(catalog.versions(group))]
    return [
        *(path for path in sorted(found) if path != "/apis/"),
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]


def _api_versions() -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": SERVER_ADDRESS}
        ],
    }


def _group_version(group: str, version: str) -> Object:
    return {"groupVersion": f"{group}/{version}", "version": version}


def _group(group: str, names: list[str]) -> Object:
    versions = [_group_version(group, version) for version in names]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _group_list(server: APIServer) -> Object:
    names = [group for group in aggregation.ordered(server, server.catalog.groups()) if group]
    groups = [_group(group, _versions(server, group)) for group in names]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _versions(server: APIServer, group: str) -> list[str]:
    """The versions of a group, with those of other servers, which come first."""
    own = server.catalog.versions(group)
    found = aggregation.aggregation(server)
    if found is None:
        return own
    remote = [each.version for each in found.of_group(group)]
    return remote + [version for version in own if version not in remote] if remote else own


def resource_list(catalog: Catalog, group: str, version: str) -> Object:
    """The APIResourceList of a group version."""
    built_in = load.api_resource_list(group, version, catalog.version)
    resources: list[Object] = list(built_in)
    for resource in catalog.custom(group, version):
        resources += _custom_resources(resource)
    obj: Object = {"kind": "APIResourceList"}
    if group:
        obj["apiVersion"] = "v1"
    obj["groupVersion"] = f"{group}/{version}" if group else version
    obj["resources"] = [_in_order(resource) for resource in resources]
    return obj


_FIELDS = (
    "name", "singularName", "namespaced", "group", "version", "kind", "verbs", "shortNames",
    "categories", "storageVersionHash",
)  # fmt: skip


def _in_order(entry: Object) -> Object:
    """The fields of an APIResource as Go prints them."""
    return {key: entry[key] for key in _FIELDS if key in entry}


def _custom_resources(resource: Resource) -> list[Object]:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entry["storageVersionHash"] = storage_version_hash(resource)
    found = [entry]
    for sub in resource.subresources.values():
        below: Object = {
            "name": f"{resource.plural}/{sub.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        if sub.kind.group_version != resource.gvk.group_version:
            below |= {"group": sub.kind.group, "version": sub.kind.version}
        below |= {"kind": sub.kind.kind, "verbs": list(sub.verbs)}
        found.append(below)
    return found


def storage_version_hash(resource: Resource) -> str:
    """Eight bytes of a hash of what is stored (`discovery/storageversionhash.go`)."""
    import base64
    import hashlib

    stored = resource.storage_version or resource.api_version
    group, _, version = stored.rpartition("/")
    text = f"{group}/{version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


# -- aggregated ------------------------------------------------------------------------------------


def _aggregated_version(header: str) -> str:
    """The version of the aggregated document that is wanted most; empty: the plain one is."""
    for clause in negotiation.parse_accept(header):
        params = dict(clause.params)
        if (clause.type, clause.subtype) not in (
            ("application", "json"),
            ("application", "*"),
            ("*", "*"),
        ):
            continue
        if not params:
            return ""
        if params.get("g") == AGGREGATED and params.get("as") == "APIGroupDiscoveryList":
            if params.get("v") in ("v2", "v2beta1"):
                return params["v"]
    return ""


def _aggregated(scope: RequestScope, prefix: str, version: str) -> Response:
    server = scope.server
    known = aggregation.ordered(server, server.catalog.groups()) if prefix == "apis" else [""]
    groups = [group for group in known if group or prefix == "api"]
    obj: Object = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{AGGREGATED}/{version}",
        "metadata": {},
        "items": [_aggregated_group(server, group) for group in groups],
    }
    content_type = f"application/json;g={AGGREGATED};v={version};as=APIGroupDiscoveryList"
    return responses.Response(200, obj, content_type=content_type, headers=(("Vary", "Accept"),))


def _aggregated_group(server: APIServer, group: str) -> Object:
    return {
        "metadata": {"name": group} if group else {},
        "versions": [
            _aggregated_version_of(server, group, version) for version in _versions(server, group)
        ],
    }


def _aggregated_version_of(server: APIServer, group: str, version: str) -> Object:
    remote = aggregation.remote_of(server, group, version) if group else None
    if remote is not None:
        return aggregated_discovery.entry_of(remote)
    catalog = server.catalog
    return {
        "version": version,
        "resources": _aggregated_resources(
            resource_list(catalog, group, version),
            {resource.plural: resource for resource in catalog.custom(group, version)},
        ),
        "freshness": "Current",
    }


def _aggregated_resources(listed: Object, custom: Mapping[str, Resource]) -> list[Object]:
    found: dict[str, Object] = {}
    for entry in listed["resources"]:
        parent, slash, name = entry["name"].partition("/")
        own = custom.get(parent)
        # Only custom resources repeat the group and version that they are listed under.
        kind = {
            "group": entry.get("group", own.group if own else ""),
            "version": entry.get("version", own.version if own else ""),
            "kind": entry["kind"],
        }
        if slash:
            below: Object = {"subresource": name, "responseKind": kind, "verbs": entry["verbs"]}
            above = found.setdefault(parent, {"resource": parent})
            above.setdefault("subresources", []).append(below)
            continue
        item: Object = {
            "resource": entry["name"],
            "responseKind": kind,
            "scope": "Namespaced" if entry["namespaced"] else "Cluster",
            "singularResource": entry["singularName"],
            "verbs": entry["verbs"],
        }
        for key in ("shortNames", "categories"):
            if entry.get(key):
                item[key] = entry[key]
        found[parent] = item
    names = list(found)
    return [found[name] for name in (sorted(names) if custom else names)]
