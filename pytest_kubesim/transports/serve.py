"""`kubesim serve`: a cluster on HTTPS loopback, on a clock that follows the wall.

Prints one line, `READY <url>`, when it answers, and runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import base64
import gc
import math
import os
import secrets
import signal
import ssl
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pytest_kubesim import config
from pytest_kubesim.apiserver import loopback, webhook_pods
from pytest_kubesim.apiserver.audit import Auditor
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.cluster.control_plane import MASTERS, WATCH_LATENCY_NS
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.clock import WallClock
from pytest_kubesim.sim.kernel import to_ns
from pytest_kubesim.transports import certificates, pod_door
from pytest_kubesim.transports.control import Control
from pytest_kubesim.transports.http import Front
from pytest_kubesim.transports.https_calls import Caller
from pytest_kubesim.transports.signing_keys import Signer
from pytest_kubesim.transports.sockets import Loop
from pytest_kubesim.transports.wall_timers import WallTimers
from pytest_kubesim.wire import UserInfo, to_json

if TYPE_CHECKING:
    import argparse
    from types import FrameType

MAX_PORT = 65535
JOURNAL_ENTRIES = 10_000
"""What is kept of the journal: a served cluster has no end at which to read it."""
FRONT_PROXY = "front-proxy-client"
ADMIN = UserInfo("admin", (MASTERS,), "admin-uid")


def run(options: argparse.Namespace) -> int:
    """Serve as the command line says; gives the exit status.

    Raises: `UsageError` for options that do not go together.
    """
    check(options)
    token = options.token or secrets.token_urlsafe(24)
    authority = certificates.Authority()
    cluster, clock = make(options)
    for manager in cluster.control_plane.controller_managers:
        manager.settings["root-ca-file"] = authority.pem.decode()
        # Client certificates that are requested open the door that trusts this authority.
        manager.settings["cluster-signing-cert-file"] = authority.pem.decode()
        manager.settings["cluster-signing-key-file"] = authority.key_pem.decode()
    audit(cluster, options)
    cluster.server.authenticators.tokens[token] = ADMIN
    cluster.server.authenticators.signer = Signer.made()
    with tempfile.TemporaryDirectory(prefix="kubesim-") as folder:
        pair = certificates.write(Path(folder), "apiserver", authority.server())
        context = tls_context(*pair, authority.pem.decode())
        proxy_pair = front_proxy(cluster, Path(folder), authority)
        try:
            loop = open_door(
                cluster, clock, context, port=options.port, proxy_pair=proxy_pair,
                certificate=Path(pair[0]).read_bytes(),
            )  # fmt: skip
        except OSError as error:
            raise UsageError(
                f"serve: --port {options.port} cannot be had: {os.strerror(error.errno or 0)};",
                "choose another, or 0 for a free one",
            ) from None
        url = f"https://127.0.0.1:{loop.port}"
        if options.kubeconfig:
            try:
                write_kubeconfig(Path(options.kubeconfig), url, token, authority)
            except OSError as error:
                raise UsageError(
                    f"serve: --kubeconfig {options.kubeconfig} cannot be written: "
                    f"{error.strerror};",
                    "name a file in a folder that you may write to",
                ) from None
        attend(cluster, loop, url)
    return 0


def make(options: argparse.Namespace) -> tuple[Cluster, WallClock]:
    """The cluster that the options describe, on a clock that follows the wall."""
    start = datetime.now(UTC).replace(microsecond=0)
    settings = config.merge(
        config.ClusterConfig(),
        {
            "seed": options.seed,
            "version": options.kubernetes_version,
            "components": options.components,
            "instant": options.instant,
            "start_time": start,
            "admission_plugins": _plugins(options),
            "scheduler_config": getattr(options, "scheduler_config", None),
        },
        "serve",
    )
    clock = WallClock(to_ns(start), options.clock_scale)
    cluster = Cluster(settings, clock=clock)
    cluster.kernel.journal.limit = JOURNAL_ENTRIES
    if options.manage_all_nodes:
        cluster.nodes.manage_all()
    if options.nodes:
        cluster.add_nodes(options.nodes)
    return cluster, clock


def _plugins(options: argparse.Namespace) -> list[str]:
    """The admission plugins that are switched on and off."""
    on: str = getattr(options, "enable_admission_plugins", "")
    off: str = getattr(options, "disable_admission_plugins", "")
    switched_off = [f"-{name.strip()}" for name in off.split(",") if name.strip()]
    return [*(name.strip() for name in on.split(",") if name.strip()), *switched_off]


def audit(cluster: Cluster, options: argparse.Namespace) -> None:
    """Write audit events as the options say.  Raises: `UsageError` for a policy that is none."""
    path, policy = options.audit_log_path, options.audit_policy_file
    if path is None:
        if policy is not None:
            raise UsageError(
                "serve: --audit-policy-file says what is recorded, and nothing says where; give "
                "--audit-log-path FILE too, or '-' for the standard output"
            )
        return
    found: Any = "Metadata"
    if policy is not None:
        try:
            found = yaml.safe_load(Path(policy).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(
                f"serve: --audit-policy-file {policy} cannot be read: {error}"
            ) from None
    try:
        out = sys.stdout if path == "-" else Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as it serves
    except OSError as error:
        raise UsageError(
            f"serve: --audit-log-path {path} cannot be written: {error.strerror}"
        ) from None

    def write(event: dict[str, Any]) -> None:
        out.write(to_json(event).decode())
        out.flush()

    auditor = Auditor(found, write)
    for server in cluster.control_plane.servers:
        server.audit.append(auditor)


def front_proxy(
    cluster: Cluster, folder: Path, authority: certificates.Authority
) -> tuple[str, str]:
    """What the API server shows aggregated ones: the files of a certificate and its key.

    They read in `kube-system/extension-apiserver-authentication` whose certificates to believe, as
    kubeadm has it (`controlplane/controller/clusterauthenticationtrust`).
    """
    proxy = certificates.Authority("front-proxy-ca")
    data = {
        "client-ca-file": authority.pem.decode(),
        "requestheader-allowed-names": f'["{FRONT_PROXY}"]',
        "requestheader-client-ca-file": proxy.pem.decode(),
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-username-headers": '["X-Remote-User"]',
    }
    metadata = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    server = cluster.server
    path = f"/api/v1/namespaces/{metadata['namespace']}/configmaps"
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    cluster.perform(loopback.send(server, "POST", path, obj))
    pair = proxy.client(FRONT_PROXY)
    for each in cluster.control_plane.servers:
        each.proxy_certificate = pair.certificate
    return certificates.write(folder, FRONT_PROXY, pair)


def open_door(
    cluster: Cluster,
    clock: WallClock,
    context: ssl.SSLContext,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    proxy_pair: tuple[str, str] | None = None,
    certificate: bytes = b"",
) -> Loop:
    """The cluster's API server on a socket, and the remote control beside it.  Raises `OSError`.

    `proxy_pair`: the files of the certificate and key that aggregated API servers are shown;
    `certificate`, what pods are shown.
    """
    timers = WallTimers()
    front = Front(
        cluster.kernel,
        Control(cluster, clock, timers),
        network=cluster.network,
        watch_latency_ns=(0, 0) if cluster.config.instant else WATCH_LATENCY_NS,
        on_failure=_tell,
    )
    loop = Loop(front, clock, context, port, host, timers)
    caller = Caller(cluster.kernel, loop.call_soon_threadsafe, proxy_pair)
    for server in cluster.control_plane.servers:
        server.call_api_server = caller.api_server
        server.call_webhook = webhook_pods.before(server, caller.webhook)
    pod_door.open_doors(
        cluster, lambda server: Front(cluster.kernel, server, on_failure=_tell), certificate
    )
    return loop


def attend(cluster: Cluster, loop: Loop, url: str) -> None:
    """Say `READY <url>`, and serve until SIGTERM or SIGINT."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # What was made up to here lives as long as the process: the collector need not look at it.
    gc.collect()
    gc.freeze()
    sys.stdout.write(f"READY {url}\n")
    sys.stdout.flush()
    loop.run()
    cluster.close()


def check(options: argparse.Namespace) -> None:
    """Look at the options before anything is started.

    Raises: `UsageError` for values that cannot be, and for options that do not go together.
    """
    scale = options.clock_scale
    if not (scale > 0 and math.isfinite(scale)):
        raise UsageError(
            f"serve: --clock-scale {scale}: give a number above 0, such as 60 for a "
            "virtual minute each second"
        )
    if options.nodes < 0:
        raise UsageError(f"serve: --nodes {options.nodes}: give 0 or more")
    if not 0 <= getattr(options, "port", 0) <= MAX_PORT:
        raise UsageError(
            f"serve: --port {options.port}: give a number up to {MAX_PORT}, or 0 for a free one"
        )
    token = getattr(options, "token", None)
    if token is not None and (not token or not token.isascii() or len(token.split()) != 1):
        raise UsageError(
            f"serve: --token {token!r}: give letters, digits and signs without a space between them"
        )
    if options.components != "all" and (options.nodes or options.manage_all_nodes):
        raise UsageError(
            f"serve: --components {options.components} has no kubelets;",
            "leave --nodes and --manage-all-nodes out, or take --components all",
        )


def _tell(failure: BaseException) -> None:
    """A mistake of ours costs one connection, not all; its traceback is for a bug report."""
    traceback.print_exception(failure, file=sys.stderr)


def tls_context(certificate: str, key: str, client_authority: str = "") -> ssl.SSLContext:
    """TLS of the server's side.

    Parameters: paths of `certificate` and `key`; `client_authority`, the certificates in PEM of
    those who may sign client certificates ("": nobody).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_authority:
        context.load_verify_locations(cadata=client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
    protocols = ["http/1.1"]
    if find_spec("h2") is not None:
        protocols.insert(0, "h2")
    context.set_alpn_protocols(protocols)
    return context


def write_kubeconfig(path: Path, url: str, token: str, authority: certificates.Authority) -> None:
    """Write a kubeconfig of the admin, with token and client certificate, to `path`."""
    pair = authority.client(ADMIN.name, ADMIN.groups)

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "kubesim",
                "cluster": {
                    "server": url,
                    "certificate-authority-data": encoded(authority.pem),
                },
            }
        ],
        "users": [
            {
                "name": "kubernetes-admin",
                "user": {
                    "token": token,
                    "client-certificate-data": encoded(pair.certificate),
                    "client-key-data": encoded(pair.key),
                },
            }
        ],
        "contexts": [
            {"name": "kubesim", "context": {"cluster": "kubesim", "user": "kubernetes-admin"}}
        ],
        "current-context": "kubesim",
        "preferences": {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
