"""Custom resources: from a CustomResourceDefinition to objects that are served, and back.

A definition in etcd becomes one `Resource` for each version (`resources`), which the ordinary
handlers serve; what is particular to custom resources is how their bodies are read (`coercion`),
their hooks (`strategy`) and their columns (`printing`).  The controllers of upstream's
apiextensions-apiserver live in the API server's process (`naming`, `establishing`, `finalizing`,
`approval`).

`start` is called when an API server starts.  The law: where there is no definition, nothing of this
costs anything but one watch of etcd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apiserver.apiextensions.serving import Serving
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.messages import KeyValue, WatchResponse
    from pytest_kubesim.registry.rest import Resource

PREFIX = "/registry/apiextensions.k8s.io/customresourcedefinitions/"
DEFINITIONS = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")
STATE = "apiextensions"


def start(server: APIServer) -> None:
    """Serve what is defined now, and follow what will be."""

    def begin(found: Sequence[KeyValue]) -> None:
        if found or server.catalog.custom():
            state_of(server).begin(found)

    def heard(response: WatchResponse) -> None:
        state_of(server).heard(response)

    server.follow(PREFIX, heard, begin=begin, prev_kv=True)


def state_of(server: APIServer) -> Serving:
    """What this life of the server serves for definitions."""
    found: Serving | None = server.state.get(STATE)
    if found is None:
        from pytest_kubesim.apiserver.apiextensions.serving import Serving

        found = server.state[STATE] = Serving(server)
    return found


def check_creatable(server: APIServer, resource: Resource, name: str) -> None:
    """Raises `APIStatus` (403) where the definition of a custom resource is on its way out."""
    from pytest_kubesim.apiserver.apiextensions.conditions import is_terminating

    served = state_of(server).of(resource)
    if served is not None and is_terminating(served.crd):
        text = "create not allowed while custom resource definition is terminating"
        raise status.new_forbidden(resource.group_resource, name, text)
