"""What the templates of stages give: a Go template over an object, read as YAML.

Follows `pkg/utils/gotpl/{renderer,funcs}.go` and the functions of
`pkg/kwok/controllers/{pod,node}_controller.go` of `sigs.k8s.io/kwok@v0.8.0`.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from pytest_kubesim.apimachinery import go_template_functions, gotemplate, timestamps
from pytest_kubesim.apimachinery.go_template_functions import TemplateError
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.stages import sprig

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

VERSION = "0.8.0"
DEFAULT_CIDR = "10.0.0.1/24"

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):
    """YAML as Kubernetes reads it: a timestamp is text."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in resolvers if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _BASE.yaml_implicit_resolvers.items()
}

NODE_CONDITIONS = [
    {"type": kind, "status": status, "reason": reason, "message": message,
     "lastHeartbeatTime": None, "lastTransitionTime": None}
    for kind, status, reason, message in (
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ("MemoryPressure", "False", "KubeletHasSufficientMemory",
         "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID",
         "kubelet has sufficient PID available"),
        ("NetworkUnavailable", "False", "RouteCreated", "RouteController created a route"),
    )
]


class Addresses:
    """Addresses for the pods that stages play: one range for each CIDR, in order.

    `node_of` gives a Node by its name, or None.
    """

    def __init__(self, node_of: Callable[[str], Object | None]) -> None:
        self._node_of = node_of
        self._used: dict[str, int] = {}
        self._pods: dict[str, str] = {}

    def of_node(self, name: str) -> str:
        """A node's address; empty while it has none."""
        status: Object = (self._node_of(name) or NOTHING).get("status") or NOTHING
        addresses: list[Object] = status.get("addresses") or []
        for address in addresses:
            if address["type"] == "InternalIP":
                return address["address"]
        return ""

    def of_pod(self, node: str, host_network: Any, uid: str, *_names: str) -> str:
        """A pod's address; the same one whenever it is asked for."""
        if host_network is True:
            return self.of_node(node)
        if uid and uid in self._pods:
            return self._pods[uid]
        spec: Object = (self._node_of(node) or NOTHING).get("spec") or NOTHING
        ranges: list[str] = spec.get("podCIDRs") or [spec.get("podCIDR") or DEFAULT_CIDR]
        interface = ipaddress.ip_interface(ranges[0])
        number = self._used[ranges[0]] = self._used.get(ranges[0], 0) + 1
        first = int(interface.network.network_address)
        address = str(ipaddress.ip_address(first + number))
        if uid:
            self._pods[uid] = address
        return address

    def all_of_node(self, name: str) -> list[str]:
        """The addresses of a node."""
        return list(filter(None, [self.of_node(name)]))

    def all_of_pod(self, node: str, host_network: Any, uid: str, *names: str) -> list[str]:
        """The addresses of a pod."""
        return [self.of_pod(node, host_network, uid, *names)]

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._pods.pop(uid, None)


def quoted(value: Any) -> str:
    """`Quote`: JSON in quotation marks."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if text.startswith('"') else quote(text)


def as_yaml(value: Any, levels: int = 0) -> str:
    """`YAML`: indented by so many levels of two spaces, on lines of its own."""
    # A copy shares nothing within itself: what is equal is written out each time.
    whole = json.loads(json.dumps(value))
    text = yaml.safe_dump(whole, default_flow_style=False, sort_keys=True)
    if levels <= 0:
        return text
    return ("\n" + text).replace("\n", "\n" + "  " * levels)


def functions(
    now_ns: int,
    start_ns: int,
    addresses: Addresses,
    name: str,
    draw: Callable[[int], int] = lambda _: 0,
) -> dict[str, Any]:
    """The functions of kwok; `name` is the node's where a Node is played, `draw` gives chance."""
    return {
        **sprig.functions(now_ns, draw, go_template_functions.FUNCTIONS),
        "Quote": quoted,
        "Now": lambda: _nanoseconds(now_ns),
        "StartTime": lambda: _nanoseconds(start_ns),
        "YAML": as_yaml,
        "Version": lambda: VERSION,
        "NodeConditions": lambda: NODE_CONDITIONS,
        "NodeIP": lambda: addresses.of_node(name),
        "NodeName": lambda: "",
        "NodePort": lambda: 0,
        "NodeIPWith": addresses.of_node,
        "NodeIPsWith": addresses.all_of_node,
        "PodIPWith": addresses.of_pod,
        "PodIPsWith": addresses.all_of_pod,
        "PodIP": lambda: addresses.of_pod("", False, ""),
    }


def _nanoseconds(now_ns: int) -> str:
    """Go's `RFC3339Nano`: no zeros at the end of the fraction."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    text = timestamps.format_time(seconds * 1_000_000_000).removesuffix("Z")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else text + "Z"


def render(template: str, obj: Object, known: Mapping[str, Any]) -> Any:
    """What a template gives for an object.  Raises `TemplateError`."""
    text = gotemplate.parse(template.strip()).render(obj, known)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise TemplateError(f"{error}: {text}") from None
