"""Client libraries: a ready client of each, and what must be forgotten between tests.

None of them is a dependency; each is imported only when somebody asks for a client of it.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from pytest_kubesim.errors import UsageError
from pytest_kubesim.transports import addresses, dialing, kubeconfig

HEADERS = {"Authorization": f"Bearer {dialing.TOKEN}"}


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _url(serial: int) -> str:
    return f"https://{addresses.host_of(serial)}:{addresses.PORT}"


def _kubernetes(serial: int) -> Any:
    client: Any = import_module("kubernetes.client")
    config: Any = import_module("kubernetes.config")
    configuration = client.Configuration()
    config.load_kube_config(
        config_file=kubeconfig.files().for_cluster(serial), client_configuration=configuration
    )
    # The token does not change, and the hook goes through the whole environment at every request.
    configuration.refresh_api_key_hook = None
    return client.ApiClient(configuration)


def _kubernetes_asyncio(serial: int) -> Any:
    client: Any = import_module("kubernetes_asyncio.client")
    configuration = client.Configuration(
        host=_url(serial),
        api_key={"BearerToken": dialing.TOKEN},
        api_key_prefix={"BearerToken": "Bearer"},
    )
    configuration.ssl_ca_cert = kubeconfig.files().ca
    return client.ApiClient(configuration)


def _kr8s(serial: int) -> Any:
    kr8s: Any = import_module("kr8s")
    path = kubeconfig.files().for_cluster(serial)
    return kr8s.asyncio.api(kubeconfig=path) if _in_a_loop() else kr8s.api(kubeconfig=path)


def _lightkube(serial: int) -> Any:
    lightkube: Any = import_module("lightkube")
    config = lightkube.KubeConfig.from_file(kubeconfig.files().for_cluster(serial))
    return lightkube.AsyncClient(config=config) if _in_a_loop() else lightkube.Client(config=config)


def _httpx(serial: int) -> Any:
    httpx: Any = import_module("httpx")
    context = ssl.create_default_context(cafile=kubeconfig.files().ca)
    kind = httpx.AsyncClient if _in_a_loop() else httpx.Client
    return kind(base_url=_url(serial), headers=HEADERS, verify=context)


def _requests(serial: int) -> Any:
    requests: Any = import_module("requests")
    base = _url(serial)

    class Session(requests.Session):
        """A session whose URLs may be paths of the cluster."""

        def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:
            """As `requests.Session.request`."""
            if str(url).startswith("/"):
                url = base + url
            return requests.Session.request(self, method, url, *args, **kwargs)

    session = Session()
    session.headers.update(HEADERS)
    session.verify = kubeconfig.files().ca
    session.trust_env = False
    return session


CLIENTS: dict[str, Callable[[int], Any]] = {
    "kubernetes": _kubernetes,
    "kubernetes_asyncio": _kubernetes_asyncio,
    "kr8s": _kr8s,
    "lightkube": _lightkube,
    "httpx": _httpx,
    "requests": _requests,
}


def client(library: str, serial: int) -> Any:
    """A client of `library` for the cluster with that serial number.

    Returns: `kubernetes` and `kubernetes_asyncio`: an `ApiClient`; `kr8s`: an `Api` (in a running
    event loop an awaitable of one); `lightkube`: a `Client` (`AsyncClient`); `httpx`: a `Client`
    (`AsyncClient`) with the base URL set; `requests`: a `Session` that takes paths.
    Raises: `UsageError` for an unknown library, or one that is not installed.
    """
    make = CLIENTS.get(library)
    if make is None:
        raise UsageError(f"client({library!r}): the libraries are {', '.join(map(repr, CLIENTS))}")
    try:
        return make(serial)
    except ModuleNotFoundError as error:
        package = (error.name or library).partition(".")[0]
        raise UsageError(
            f"client({library!r}): the library is not installed; python -m pip install {package}"
        ) from error


class Memories:
    """What libraries remember of a cluster, put back when it is gone."""

    def __init__(self) -> None:
        self._defaults: list[tuple[Any, Any]] = []

    def keep(self) -> None:
        """Note what there is before a cluster is attached."""
        self._defaults = []
        for name in ("kubernetes.client", "kubernetes_asyncio.client"):
            module: Any = sys.modules.get(name)
            configuration = getattr(module, "Configuration", None)
            if configuration is not None:
                default = configuration.__dict__.get("_default")
                self._defaults.append((configuration, default))

    def forget(self) -> None:
        """Put it back; whatever was imported meanwhile has nothing to put back."""
        kept = dict(self._defaults)
        for name in ("kubernetes.client", "kubernetes_asyncio.client"):
            module: Any = sys.modules.get(name)
            configuration = getattr(module, "Configuration", None)
            if configuration is not None:
                configuration._default = kept.get(configuration)  # noqa: SLF001
        kr8s: Any = sys.modules.get("kr8s._api")
        if kr8s is not None:
            kr8s.Api._instances.clear()  # noqa: SLF001
        portal: Any = getattr(sys.modules.get("kr8s._async_utils"), "Portal", None)
        if portal is not None and "_instance" in portal.__dict__:
            del portal._instance  # noqa: SLF001
