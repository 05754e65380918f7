"""`kubesim ctl`: the remote control from a command line.

    kubesim ctl faults add 'kubesim.faults.api(client="manager", verb="update").reset()'
    kubesim ctl clock advance 1h

Finds the cluster by a kubeconfig (`--kubeconfig`, `$KUBECONFIG`), or by `--server` and `--token`.
Prints what the server answers, as JSON.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote, urlencode, urlsplit

import yaml

from pytest_kubesim.errors import KubesimError, UsageError

if TYPE_CHECKING:
    import argparse

ROOT = "/kubesim/v1"
TIMEOUT_S = 600.0


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Do what the command line says; gives the exit status.

    Raises: `UsageError` where no cluster is named, `Refused` for what the server refuses.
    """
    server = Server.of(options)
    answer = _ask(server, options)
    json.dump(answer, out, indent=2)
    out.write("\n")
    return 0


class Refused(KubesimError):
    """The server says no."""


def _ask(server: Server, options: argparse.Namespace) -> Any:
    action: str = options.action
    if action == "faults":
        return _faults(server, options)
    if action == "clock":
        return _clock(server, options)
    if action == "settle":
        return server.ask("POST", "settle", {"timeout": options.timeout})
    if action == "journal":
        query = {"since": options.since, "limit": options.limit}
        query |= {k: getattr(options, k) for k in ("kind", "actor") if getattr(options, k)}
        return server.ask("GET", f"journal?{urlencode(query)}")
    if (options.name is None) == (options.file is None):
        raise UsageError(f"ctl {action}: give a name, or --file")
    if action == "snapshot":
        if options.name:
            return server.ask("PUT", f"snapshots/{quote(options.name, safe='')}")
        backup = server.ask("GET", "snapshot")
        _write(Path(options.file), backup)
        return {"file": options.file, "keys": len(backup["keys"])}
    if options.name:
        return server.ask("POST", f"snapshots/{quote(options.name, safe='')}/restore")
    return server.ask("PUT", "snapshot", _read(Path(options.file)))


def _faults(server: Server, options: argparse.Namespace) -> Any:
    if options.verb == "add":
        return server.ask("POST", "faults", {"fault": options.fault})
    if options.verb == "remove":
        return server.ask("DELETE", f"faults/{options.id}")
    return server.ask("DELETE" if options.verb == "clear" else "GET", "faults")


def _clock(server: Server, options: argparse.Namespace) -> Any:
    if options.verb == "advance":
        return server.ask("POST", "clock/advance", {"duration": options.duration})
    if options.verb in ("freeze", "thaw"):
        return server.ask("POST", "clock/freeze", {"frozen": options.verb == "freeze"})
    if options.verb == "scale":
        return server.ask("POST", "clock/scale", {"scale": options.scale})
    return server.ask("GET", "clock")


def _write(path: Path, backup: Any) -> None:
    try:
        path.write_bytes(gzip.compress(json.dumps(backup).encode(), 6, mtime=0))
    except OSError as error:
        raise UsageError(f"ctl snapshot: --file {path} cannot be written: {error.strerror}"
                         ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"ctl restore: --file {path} cannot be read: {error.strerror}") from None


class Server:
    """A served cluster, and who we are to it."""

    def __init__(self, url: str, context: ssl.SSLContext, token: str = "") -> None:
        self._url = urlsplit(url)
        self._context = context
        self._token = token

    @classmethod
    def of(cls, options: argparse.Namespace) -> Server:
        """The one that the options name.  Raises: `UsageError`."""
        path = options.kubeconfig or os.environ.get("KUBECONFIG")
        if not path and not options.server:
            raise UsageError(
                "ctl: which cluster? Give --kubeconfig (what `kubesim serve --kubeconfig` wrote), "
                "set KUBECONFIG, or give --server and --token"
            )
        cluster, user = _entries(Path(path)) if path else ({}, {})
        context = ssl.create_default_context()
        authority = _data(cluster, "certificate-authority")
        if authority:
            context = ssl.create_default_context(cadata=authority.decode())
        elif options.server or cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate, key = _data(user, "client-certificate"), _data(user, "client-key")
        if certificate and key and not options.token:
            with tempfile.NamedTemporaryFile() as pem:
                pem.write(certificate + b"\n" + key)
                pem.flush()
                context.load_cert_chain(pem.name)
        url = options.server or cluster.get("server") or ""
        if not url.startswith("https://"):
            raise UsageError(f"ctl: {url!r} is no https URL of a server")
        return cls(url, context, options.token or user.get("token") or "")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; gives the decoded answer.

        Raises: `Refused` for what the server refuses, `UsageError` where nobody answers.
        """
        headers = {"Accept": "application/json", "User-Agent": "kubesim-ctl"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = body
        if isinstance(body, bytes):
            headers["Content-Encoding"] = "gzip"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        host, port = self._url.hostname or "", self._url.port or 443
        connection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_S, context=self._context
        )
        try:
            connection.request(method, f"{ROOT}/{path}", data, headers)
            answer = connection.getresponse()
            found = answer.read()
        except OSError as error:
            raise UsageError(
                f"ctl: {self._url.geturl()} does not answer: {error};",
                "does `kubesim serve` run there, and is the kubeconfig the one that it wrote?",
            ) from None
        finally:
            connection.close()
        try:
            decoded: Any = json.loads(found)
        except ValueError:
            decoded = {"message": found.decode("utf-8", "replace")}
        if answer.status >= 400:
            remedy = _REMEDIES.get((answer.status, path.partition("/")[0]), "")
            remedy = remedy or _REMEDIES.get((answer.status, ""), "")
            raise Refused(f"ctl: {answer.status}: {decoded.get('message')}{remedy}")
        return decoded


_REMEDIES = {
    (401, ""): "; give the kubeconfig that `kubesim serve --kubeconfig` wrote, or its --token",
    (403, ""): "; the remote control is for system:masters, as the kubeconfig's admin is",
    (404, "snapshots"): "; first keep one: kubesim ctl snapshot NAME",
    (404, "faults"): "; kubesim ctl faults list shows the ids",
}


def _entries(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cluster and user of the current context.  Raises: `UsageError`."""
    try:
        config: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"], "context")
        return (
            _named(config["clusters"], context["cluster"], "cluster"),
            _named(config["users"], context["user"], "user"),
        )
    except OSError as error:
        raise UsageError(f"ctl: --kubeconfig {path} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
        raise UsageError(
            f"ctl: --kubeconfig {path} names no cluster and user in its current context: {error!r}"
        ) from None


def _named(entries: list[dict[str, Any]], name: str, kind: str) -> dict[str, Any]:
    return next(entry[kind] for entry in entries if entry["name"] == name)


def _data(entry: dict[str, Any], name: str) -> bytes:
    """A file's content that a kubeconfig holds or names; empty where it does neither."""
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"])
    return _read(Path(entry[name])) if entry.get(name) else b""
