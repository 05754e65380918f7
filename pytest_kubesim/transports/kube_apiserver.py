"""`kube-apiserver`, as a test suite starts it: a served cluster behind the flags of the real one.

Law: who may ask, where it listens, with which certificates and keys, is what the flags say.  How
much of a cluster is behind it is said by the folder it was made for (`envtest.make`).

Follows `cmd/kube-apiserver/app` for the flags.
"""

from __future__ import annotations

import csv
import ipaddress
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.apiserver.admission import chain
from pytest_kubesim.apiserver.authorizer_node import NodeAuthorizer
from pytest_kubesim.apiserver.authorizer_rbac import RBACAuthorizer
from pytest_kubesim.apiserver.filters.authorization import (
    AlwaysAllow,
    Authorizer,
    PrivilegedGroups,
    Union,
)
from pytest_kubesim.errors import UsageError
from pytest_kubesim.etcd import backup
from pytest_kubesim.etcd.messages import DeleteRangeRequest, PutRequest
from pytest_kubesim.registry.core.service_allocation import RANGE
from pytest_kubesim.transports import certificates, gates, serve
from pytest_kubesim.transports.signing_keys import Signer
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.transports.apiserver_flags import Flags

FEWEST_COLUMNS = 3
"""Of a line of a token file: token, user, uid; a fourth holds groups."""


def run(options: argparse.Namespace, flags: Flags) -> int:
    """Be kube-apiserver with those flags, until it is stopped; gives the exit status.

    Parameters: `options` of the cluster behind it, as of `kubesim serve`.
    Raises: `UsageError` for flags that cannot be.
    """
    for name in without_effect(flags):
        sys.stderr.write(f"kubesim: --{name} is not simulated: it has no effect\n")
    saved = _claim(flags)
    cluster, clock = serve.make(options)
    addressed(cluster, flags)
    authenticate(cluster.server, flags)
    authorize(cluster.server, flags)
    admit(cluster.server, flags)
    pair = _serving_pair(flags)
    client_ca = flags.last("client-ca-file")
    context = serve.tls_context(*pair, _text(client_ca, "client-ca-file") if client_ca else "")
    if flags.on("disable-http2-serving"):
        context.set_alpn_protocols(["http/1.1"])
    host, port = flags.last("bind-address", "0.0.0.0"), flags.last("secure-port", "6443")  # noqa: S104 - its default
    try:
        loop = serve.open_door(cluster, clock, context, host=host, port=int(port))
    except (OSError, ValueError) as error:
        raise UsageError(f"failed to create listener: failed to listen on {host}:{port}: {error}"
                         ) from None
    if saved:
        backup.restore(cluster.control_plane.etcd, saved)
    named = f"[{host}]" if ":" in host else host
    serve.attend(cluster, loop, f"https://{named}:{loop.port}")
    _leave(cluster, flags)
    return 0


def without_effect(flags: Flags) -> list[str]:
    """The flags that mean nothing here; of gates and versions, those that would change something.

    Raises: `UsageError` for gates and versions that there are not.
    """
    unusual = {
        "feature-gates": gates.feature_gates(flags.all("feature-gates")),
        "runtime-config": gates.runtime_config(flags.all("runtime-config")),
    }
    found: list[str] = []
    for name in flags.without_effect():
        found += [f"{name}={each}" for each in unusual[name]] if name in unusual else [name]
    return found


# -- what the flags say ------------------------------------------------------------------------


def authenticate(server: APIServer, flags: Flags) -> None:
    """Have the server know whom the flags name.  Raises: `UsageError`."""
    authenticators = server.authenticators
    authenticators.anonymous = flags.on("anonymous-auth", default=True)
    issuers = flags.values.get("service-account-issuer")
    signing = flags.last("service-account-signing-key-file")
    if not issuers or not signing:
        missing = "service-account-signing-key-file" if issuers else "service-account-issuer"
        raise UsageError(f"--{missing} is a required flag")
    authenticators.issuers = issuers
    authenticators.audiences = flags.all("api-audiences")
    publics = flags.all("service-account-key-file")
    authenticators.signer = Signer.read(
        _bytes(signing, "service-account-signing-key-file"),
        [_bytes(path, "service-account-key-file") for path in publics],
    )
    tokens = flags.last("token-auth-file")
    if tokens:
        lines = _text(tokens, "token-auth-file").splitlines()
        for row in csv.reader(lines, skipinitialspace=True):
            if len(row) >= FEWEST_COLUMNS and row[0]:
                groups = tuple(row[3].split(",")) if len(row) > FEWEST_COLUMNS and row[3] else ()
                authenticators.tokens[row[0]] = UserInfo(row[1], groups, row[2])


def authorize(server: APIServer, flags: Flags) -> None:
    """Have the server ask those whom `--authorization-mode` names.  Raises: `UsageError`."""
    found: list[Authorizer] = [PrivilegedGroups()]
    for mode in flags.all("authorization-mode") or ("AlwaysAllow",):
        if mode == "RBAC":
            found.append(
                server.rule_resolver
                if isinstance(server.rule_resolver, RBACAuthorizer)
                else RBACAuthorizer(server)
            )
        elif mode == "Node":
            found.append(NodeAuthorizer(server))
        elif mode == "AlwaysAllow":
            found.append(AlwaysAllow())
        else:
            raise UsageError(
                f"--authorization-mode {mode} is not simulated; there are AlwaysAllow, Node, RBAC"
            )
    server.authorizer = Union(tuple(found))


def admit(server: APIServer, flags: Flags) -> None:
    """Have the plugins run that the flags leave.  Raises: `UsageError`."""
    on = flags.all("enable-admission-plugins")
    off = flags.all("disable-admission-plugins")
    if not on and not off:
        return
    try:
        chosen = chain.chosen(on, off)
    except ValueError as error:
        raise UsageError(str(error)) from None
    before = {name for name, _ in server.admission.plugins}
    server.admission = chain.load(chosen)
    here = {name for name, _ in server.admission.plugins}
    for name in sorted(set(on) - here):
        sys.stderr.write(f"kubesim: the admission plugin {name} is not simulated\n")
    for name, plugin in server.admission.plugins:
        if name not in before:
            plugin.started(server)


def addressed(cluster: Cluster, flags: Flags) -> None:
    """Have the services' addresses be of `--service-cluster-ip-range`.  Raises: `UsageError`.

    What kube-apiserver makes at its first start is made anew: its range, its service, and the
    address of that.
    """
    given = flags.all("service-cluster-ip-range")
    if not given:
        return
    try:
        network = ipaddress.IPv4Network(given[0])
    except ValueError as error:
        raise UsageError(f"service-cluster-ip-range: {error}") from None
    if str(network) == RANGE:
        return
    member = cluster.control_plane.etcd
    address = str(network.network_address + 1)

    def rewritten(key: str, spec: Callable[[Any], Any], name: str = "") -> None:
        obj = member.store.range(key).kvs[0].value
        metadata = {**obj["metadata"], "name": name or obj["metadata"]["name"]}
        obj = {**obj, "metadata": metadata, "spec": spec(obj["spec"])}
        member.apply(PutRequest(key.rpartition("/")[0] + "/" + metadata["name"], obj))

    ips = "/registry/ipaddresses/"
    old = RANGE.replace(".0/16", ".1")
    rewritten("/registry/servicecidrs/kubernetes", lambda spec: {**spec, "cidrs": [str(network)]})
    rewritten(
        "/registry/services/specs/default/kubernetes",
        lambda spec: {**spec, "clusterIP": address, "clusterIPs": [address]},
    )
    rewritten(ips + old, lambda spec: spec, address)
    member.apply(DeleteRangeRequest(ips + old))


def _serving_pair(flags: Flags) -> tuple[str, str]:
    """The files of the serving certificate and its key; made where there are none."""
    certificate, key = flags.last("tls-cert-file"), flags.last("tls-private-key-file")
    if certificate and key:
        return certificate, key
    folder = Path(flags.last("cert-dir", "/var/run/kubernetes"))
    certificate, key = str(folder / "apiserver.crt"), str(folder / "apiserver.key")
    if not (os.path.exists(certificate) and os.path.exists(key)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return certificates.write(folder, "apiserver", certificates.Authority().server())
        except OSError as error:
            raise UsageError(f"error creating self-signed certificates: {error}") from None
    return certificate, key


def _bytes(path: str, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"--{option}: {error}") from None


def _text(path: str, option: str) -> str:
    return _bytes(path, option).decode()


# -- one API server after another ----------------------------------------------------------------


def _etcd(flags: Flags) -> str:
    servers = flags.all("etcd-servers")
    if not servers:
        raise UsageError("--etcd-servers must be specified")
    return f"{servers[0].rstrip('/')}/kubesim/v1/store?pid={os.getpid()}"


def _ask(url: str, method: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, method=method)  # noqa: S310 - the etcd that was named
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        data: bytes = answer.read()
        return data


def _claim(flags: Flags) -> Any:
    """What the API server before this one has left at etcd; None: nothing.

    Raises: `UsageError` where another one is at work there.
    """
    url = _etcd(flags)
    try:
        kept = _ask(url, "GET")
    except urllib.error.HTTPError as error:
        if error.code == 409:
            raise UsageError(
                f"the API server with process id {error.read().decode()} uses this etcd; several "
                "API servers of one etcd are not simulated"
            ) from None
        sys.stderr.write(f"kubesim: {url} is no etcd of kubesim's: what it keeps is not read\n")
        return None
    except OSError as error:
        sys.stderr.write(f"kubesim: nobody answers at {url} ({error}): beginning empty\n")
        return None
    return msgspec.json.decode(kept) if kept else None


def _leave(cluster: Cluster, flags: Flags) -> None:
    """Leave what is stored with etcd, for the next API server."""
    body = msgspec.json.encode(backup.save(cluster.control_plane.etcd))
    try:
        _ask(_etcd(flags), "PUT", body)
    except OSError:
        return  # etcd has been stopped before: nobody will come
