"""How programs in pods ask the cluster's API server (`rest.InClusterConfig`).

The law: as the service account of the pod, over the pods' network, believing who the pod's
`ca.crt` has signed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import x509
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets.network import Unresolved, get, url_of
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.sim.pipes import ConnectError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.linux.process import Proc

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_PROBLEMS = (ConnectError, Unresolved, http1.MessageFault, x509.CertificateError)


class Unavailable(Exception):
    """The cluster's API server could not be asked, or refused; the text says why."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


async def ask(
    proc: Proc, agent: str, method: str, path: str, body: Object | None = None
) -> Object:
    """Ask the cluster's API server as the pod's service account.

    Parameters: `agent`, who asks (`User-Agent`); `body`, sent as JSON.

    Raises: `Unavailable`.
    """
    host = proc.env.get("KUBERNETES_SERVICE_HOST", "")
    port = proc.env.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise Unavailable(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and "
            "KUBERNETES_SERVICE_PORT must be defined"
        )
    try:
        token = (await proc.contents(f"{ACCOUNT}/token")).decode().strip()
        bundle = await proc.contents(f"{ACCOUNT}/ca.crt")
    except Fault as fault:
        raise Unavailable(f"open {ACCOUNT}/token: {str(fault).lower()}") from None
    headers = {
        "Authorization": f"Bearer {token}", "Accept": "application/json, */*",
        "User-Agent": agent,
    }
    sent = b"" if body is None else json.dumps(body).encode()
    if sent:
        headers["Content-Type"] = "application/json"
    url = url_of(f"https://{host}:{port}{path}")
    try:
        response = await get(proc, url, method=method, body=sent, headers=headers, bundle=bundle)
        found: Object = json.loads(response.body)
    except _PROBLEMS as error:
        where, said = f'{method.capitalize()} "https://{host}:{port}{path}"', str(error).lower()
        raise Unavailable(f"{where}: dial tcp {host}:{port}: {said}") from None
    except ValueError:
        raise Unavailable("the server has answered with something that is no JSON") from None
    if response.status >= 400:
        raise Unavailable(found.get("message") or str(response.status), response.status)
    return found
