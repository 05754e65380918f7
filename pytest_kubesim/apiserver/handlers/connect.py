"""Ways through the API server to a kubelet: logs, exec, attach, port-forward.

The seam: a `NodeProxy`, which the cluster brings, knows the kubelets.  What can be said without one
(no such pod, no such container, no node yet) is said here.

Follows `pkg/registry/core/pod/{strategy.go,rest}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.apimachinery import status, validation
from pytest_kubesim.apimachinery.golang import bracketed, parse_int, query_flag, quote
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, annotations
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.apiserver import responses
from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.filters.authorization import Attributes
from pytest_kubesim.errors import NotSimulated

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response, WatchStream

PODS, NODES = GroupResource("", "pods"), GroupResource("", "nodes")
_PREFERRED = frozenset({"Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"})
"""The addresses by which kubelets are reached."""


class NodeProxy(Protocol):
    """What an API server asks of the kubelets.  Raises `APIStatus`."""

    async def logs(self, node: Object, pod: Object, container: str, options: Any) -> Any:
        """A `Response`, or a stream (`follow`), of a log; `options` are the query's pairs."""
        ...

    async def stream(
        self, node: Object, pod: Object, container: str, kind: str, request: Any
    ) -> Any:
        """A connection (`wire.UpgradeStream`) for `exec`, `attach` or `portforward`.

        A `Response` where the kubelet refuses the `request`.
        """
        ...

    async def proxy(self, node: Object, path: str, request: Any) -> Any:
        """The answer of a kubelet's own HTTP server."""
        ...

    async def connect(self, address: str, port: int, certificate: bytes = b"") -> Any:
        """A connection to an address in the cluster, to which a certificate (PEM) is shown.

        Raises `sim.pipes.ConnectError`.
        """
        ...


async def _pod(scope: RequestScope) -> Object:
    return await scope.server.store(scope.served).get(scope, scope.name)


def _container(scope: RequestScope, pod: Object) -> str:
    """The container that is asked for, or the only one (`podutil` and `LogLocation`)."""
    spec: Object = pod["spec"]
    wanted = scope.param("container")
    names = _names(spec, "containers")
    initial = _names(spec, "initContainers")
    ephemeral = _names(spec, "ephemeralContainers")
    name: str = pod["metadata"]["name"]
    if not wanted:
        default = annotations(pod).get("kubectl.kubernetes.io/default-container")
        if default:
            wanted = default
        elif len(names) == 1:
            return names[0]
        elif not names:
            raise status.new_bad_request(f"a container name must be specified for pod {name}")
        else:
            text = (
                f"a container name must be specified for pod {name}, choose one of: "
                f"{bracketed(names)}"
            )
            if initial:
                text += f" or one of the init containers: {bracketed(initial)}"
            if ephemeral:
                text += f" or one of the ephemeral containers: {bracketed(ephemeral)}"
            raise status.new_bad_request(text)
    if wanted not in (*names, *initial, *ephemeral):
        raise status.new_bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted


def _names(spec: Object, field: str) -> list[str]:
    containers: list[Object] = spec.get(field) or []
    return [container["name"] for container in containers]


def _node(scope: RequestScope, pod: Object) -> Object:
    """The node of a pod.  Raises `APIStatus` (404, with the words of the pod's registry)."""
    name: str = pod["spec"]["nodeName"]
    node = scope.server.reader.get(NODES, "", name)
    if node is None:
        raise status.new_not_found(scope.served.group_resource, name)
    check_address(node)
    return node


def check_address(node: Object) -> None:
    """Raises `APIStatus` (500) for a node that says no address (`NoMatchError`)."""
    state: Object = node.get("status") or {}
    addresses: list[Object] = state.get("addresses") or []
    if not any(entry.get("type") in _PREFERRED for entry in addresses):
        known = [f"{{{entry.get('type')} {entry.get('address')}}}" for entry in addresses]
        raise status.APIStatus(
            500, "", f"no preferred addresses found; known addresses: {bracketed(known)}"
        )


async def logs(scope: RequestScope) -> Response | WatchStream:
    """`pods/log`.  Raises `APIStatus`."""
    problems = _log_problems(scope)
    if problems:
        raise status.new_invalid(GroupKind("", "PodLogOptions"), scope.name, problems)
    pod = await _pod(scope)
    container = _container(scope, pod)
    if not pod["spec"].get("nodeName"):
        # No host, no log: the streamer has no location and says so with an empty answer.
        return responses.Response(204, None, b"", "")
    node = _node(scope, pod)
    proxy = scope.server.node_proxy
    if proxy is None:
        raise NotSimulated("This cluster has no kubelets.", "Add nodes to it.")
    return await proxy.logs(node, pod, container, scope.request.query)


def _log_problems(scope: RequestScope) -> list[FieldError]:
    """`ValidatePodLogOptions`.  Raises `APIStatus` (400) for what is no number."""
    problems: list[FieldError] = []

    def number(name: str) -> int | None:
        text = scope.param(name)
        try:
            return parse_int(text) if text else None
        except ValueError as error:
            raise status.new_bad_request(str(error)) from None

    tail, limit, since = number("tailLines"), number("limitBytes"), number("sinceSeconds")
    if tail is not None and tail < 0:
        detail = "must be greater than or equal to 0"
        problems.append(validation.invalid(Path("tailLines"), tail, detail))
    if limit is not None and limit < 1:
        problems.append(validation.invalid(Path("limitBytes"), limit, "must be greater than 0"))
    if since is not None and scope.param("sinceTime"):
        detail = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        problems.append(FieldError(validation.FORBIDDEN, "[]", "", detail))
    elif since is not None and since < 1:
        problems.append(validation.invalid(Path("sinceSeconds"), since, "must be greater than 0"))
    if scope.param("stream"):
        # To choose a stream is behind a feature gate.
        problems.append(validation.forbidden(Path("stream"), "may not be specified"))
    return problems


_FLAGS = ("stdin", "stdout", "stderr", "tty")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "exec": (*_FLAGS, "container", "command"),
    "attach": (*_FLAGS, "container"),
    "portforward": ("ports",),
    "proxy": ("path",),
}


async def admit(scope: RequestScope) -> None:
    """Admission of a connection, of its options as an object.  Raises `APIStatus`."""
    if scope.param("dryRun"):
        raise status.new_bad_request("dryRun is not supported")
    kind = scope.served.subresources[scope.subresource].kind
    obj: Object = {"kind": kind.kind, "apiVersion": kind.api_version}
    for name in _OPTIONS[scope.subresource]:
        given = scope.params(name)
        if name in _FLAGS:
            obj |= {name: True} if query_flag(next(iter(given), None)) else {}
        elif given:
            obj[name] = _option(name, given)
    attributes = chain.attributes_for(scope, chain.CONNECT, {}, obj=obj, kind=kind)
    admission = scope.server.admission
    await admission.validate(attributes, await admission.admit(attributes, obj))


def _option(name: str, given: list[str]) -> Any:
    if name == "command":
        return given
    if name == "ports":
        return [_port(text) for each in given for text in each.split(",")]
    return given[0]


def _port(text: str) -> int:
    """`metav1.Convert_Slice_string_To_Slice_int32`.  Raises `APIStatus`."""
    try:
        if text[:1] in {"+", "-"}:
            raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
        return parse_int(text, 17, function="ParseUint")
    except ValueError as error:
        raise status.new_bad_request(f"cannot convert to []int32: {error}") from None


async def _may_create(scope: RequestScope) -> None:
    """Opening a connection takes the right to create, by whatever method.

    Raises `APIStatus`.  Follows `pkg/registry/core/pod/rest/authorize.go`.
    """
    if scope.info.verb == "create":
        return
    decision, reason = await scope.server.authorize(Attributes.of(scope, verb="create"))
    if decision != "allow":
        raise status.new_forbidden(scope.served.group_resource, scope.name, reason)


async def stream(scope: RequestScope) -> Response | WatchStream:
    """`pods/exec`, `pods/attach`, `pods/portforward`."""
    if scope.request.method not in {"GET", "POST"}:
        raise status.new_generic_server_response(405, "", GroupResource("", ""), "", "")
    await admit(scope)
    await _may_create(scope)
    pod = await _pod(scope)
    kind = scope.subresource
    container = "" if kind == "portforward" else _container(scope, pod)
    if not pod["spec"].get("nodeName"):
        name = pod["metadata"]["name"]
        raise status.new_bad_request(f"pod {name} does not have a host assigned")
    node = _node(scope, pod)
    proxy = scope.server.node_proxy
    if proxy is None:
        raise NotSimulated("This cluster has no kubelets.", "Add nodes to it.")
    request = scope.request
    if not any(n == "connection" and "upgrade" in v.lower() for n, v in request.headers):
        raise status.new_bad_request("Upgrade request required")
    return await proxy.stream(node, pod, container, kind, request)
