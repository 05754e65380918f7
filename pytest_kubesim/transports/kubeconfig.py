"""Kubeconfigs and service account files: how client libraries find the attached cluster.

Law: nothing of a user's own is read or written.  While a cluster is attached, `KUBECONFIG` names a
file of ours, the variables of a pod are set, and the files that a pod finds its service account in
are read from ours; afterwards all is as before.

The token in them says "whoever I am": `dialing.identify` knows who asks.
"""

from __future__ import annotations

import atexit
import base64
import builtins
import io
import os
import shutil
import ssl
import sys
import tempfile
from typing import Any

from pytest_kubesim.transports import addresses, dialing
from pytest_kubesim.transports.actors import WORLD

SECRETS = "/var/run/secrets/kubernetes.io/serviceaccount"

CA = """\
-----BEGIN CERTIFICATE-----
MIIBXjCCAQOgAwIBAgIBATAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDAprdWJlcm5l
dGVzMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAVMRMwEQYDVQQD
DAprdWJlcm5ldGVzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE34tbSRKaKZin
CFSsVUESzzRpH1cZ4ykjrMzgwzUqOdcRAeVk1fQt0A3NVt+Ln50TVu8b5DEXQmrZ
4lD7M5tBn6NCMEAwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAqQwHQYD
VR0OBBYEFNASTY7ikoew7tX+hrVVlOY6BzoYMAoGCCqGSM49BAMCA0kAMEYCIQDH
xkAzqwfbAw+eibSlZlVvnBct9QjLcRQGbLuF/UHY5gIhAIfnnzaajEomnf6FpCM9
0RWl2ZunzEK9YAp8rfGDH2Sq
-----END CERTIFICATE-----
"""
"""A certificate authority to be parsed; nothing was ever signed with it but itself."""

_real_open = io.open
_real_stat = os.stat
_real_load = ssl.SSLContext.load_verify_locations
_CONSTANTS = ("kubernetes.config.kube_config", "kubernetes_asyncio.config.kube_config")


def text(server: str, namespace: str = "default") -> str:
    """A kubeconfig for the API server at the URL `server`."""
    ca = base64.b64encode(CA.encode()).decode()
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: kubesim
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: kubesim
  user:
    token: {dialing.TOKEN}
contexts:
- name: kubesim
  context:
    cluster: kubesim
    user: kubesim
    namespace: {namespace}
current-context: kubesim
preferences: {{}}
"""


class Files:
    """The files of this process, in a folder that goes when the process ends."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="kubesim-")
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self._written: dict[str, str] = {}
        self.default = self.path("kubeconfig", text(f"https://{addresses.HOST}:{addresses.PORT}"))
        self.ca = self.path("ca.crt", CA)

    def path(self, name: str, content: str) -> str:
        """The path of a file of that name with that content; written once."""
        path = os.path.join(self.folder, name)
        if self._written.get(name) != content:
            with _real_open(path, "w", encoding="utf-8") as file:
                file.write(content)
            self._written[name] = content
        return path

    def for_cluster(self, serial: int) -> str:
        """The kubeconfig of one cluster."""
        host = addresses.host_of(serial)
        return self.path(f"kubeconfig-{serial}", text(f"https://{host}:{addresses.PORT}"))

    def redirected(self, given: Any) -> Any:
        """The file of ours that stands in for the path `given`, or that itself."""
        path = given if isinstance(given, str) else _as_text(given)
        if path is None or not path.startswith(SECRETS) or not WORLD.inside():
            return given
        name = path[len(SECRETS) :].strip("/")
        if name == "":
            return self.folder
        if name == "token":
            return self.path("token", dialing.TOKEN)
        if name == "ca.crt":
            return self.ca
        if name == "namespace":
            actor = WORLD.actor
            account = None if actor is None else actor.operator.service_account
            namespace = (account or "default/").partition("/")[0]
            return self.path(f"namespace-{namespace}", namespace)
        return given


def _as_text(path: Any) -> str | None:
    convert = getattr(path, "__fspath__", None)
    found = None if convert is None else convert()
    return found if isinstance(found, str) else None


_files: list[Files] = []


def files() -> Files:
    """The files of this process, made when first asked for."""
    if not _files:
        _files.append(Files())
    return _files[0]


def _open(file: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(file, int):
        file = files().redirected(file)
    opened: Any = _real_open
    return opened(file, *args, **kwargs)


def _stat(path: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(path, int):
        path = files().redirected(path)
    return _real_stat(path, *args, **kwargs)


def _load_verify_locations(
    self: Any, cafile: Any = None, capath: Any = None, cadata: Any = None
) -> None:
    if cafile is not None:
        cafile = files().redirected(cafile)
    _real_load(self, cafile, capath, cadata)


class Surroundings:
    """What is changed around user code while a cluster is attached."""

    def __init__(self) -> None:
        self._environment: dict[str, str | None] = {}
        self._constants: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        """Let libraries find the attached cluster."""
        ours = files()
        no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        no_proxy = f"{no_proxy},{addresses.NO_PROXY}" if no_proxy else addresses.NO_PROXY
        self._set_environment(
            KUBECONFIG=ours.default,
            KUBERNETES_SERVICE_HOST=addresses.SERVICE_HOST,
            KUBERNETES_SERVICE_PORT=str(addresses.SERVICE_PORT),
            NO_PROXY=no_proxy,
            no_proxy=no_proxy,
        )
        for name in _CONSTANTS:
            module: Any = sys.modules.get(name)
            if module is not None:
                # It has read KUBECONFIG when it was imported.
                held = module.KUBE_CONFIG_DEFAULT_LOCATION
                self._constants.append((module, "KUBE_CONFIG_DEFAULT_LOCATION", held))
                module.KUBE_CONFIG_DEFAULT_LOCATION = ours.default
        builtins.open = io.open = _open  # pyright: ignore[reportAttributeAccessIssue]
        os.stat = _stat  # pyright: ignore[reportAttributeAccessIssue]
        context: Any = ssl.SSLContext
        context.load_verify_locations = _load_verify_locations

    def declared(self, host: str) -> None:
        """A system was declared: no proxy leads to it."""
        name = f".{host[2:]}" if host.startswith("*.") else host
        for variable in ("NO_PROXY", "no_proxy"):
            os.environ[variable] = f"{os.environ[variable]},{name}"

    def uninstall(self) -> None:
        """Everything as it was."""
        builtins.open = io.open = _real_open
        os.stat = _real_stat
        context: Any = ssl.SSLContext
        if "load_verify_locations" in context.__dict__:
            del context.load_verify_locations
        while self._constants:
            module, name, value = self._constants.pop()
            setattr(module, name, value)
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment.clear()

    def _set_environment(self, **values: str) -> None:
        for name, value in values.items():
            self._environment[name] = os.environ.get(name)
            os.environ[name] = value
