"""Which image is which software, by the last part of its repository.

The law: an image that is not in the catalog runs for ever, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.cri.software.executes import Executes

if TYPE_CHECKING:
    from pytest_kubesim.cri.images import Reference
    from pytest_kubesim.cri.software.rootfs import Software


def _busybox() -> Software:
    from pytest_kubesim.cri.software.busybox import BUSYBOX

    return BUSYBOX


def _alpine() -> Software:
    from pytest_kubesim.cri.software.busybox import ALPINE

    return ALPINE


def _debian() -> Software:
    from pytest_kubesim.cri.software.busybox import DEBIAN

    return DEBIAN


def _dnsutils() -> Software:
    from pytest_kubesim.cri.software.busybox import DNSUTILS

    return DNSUTILS


def _kitten() -> Software:
    from pytest_kubesim.cri.software.agnhost.main import KITTEN

    return KITTEN


def _nautilus() -> Software:
    from pytest_kubesim.cri.software.agnhost.main import NAUTILUS

    return NAUTILUS


def _agnhost() -> Software:
    from pytest_kubesim.cri.software.agnhost.main import AGNHOST

    return AGNHOST


def _nginx() -> Software:
    from pytest_kubesim.cri.software.web import NGINX

    return NGINX


def _unprivileged_nginx() -> Software:
    from pytest_kubesim.cri.software.web import UNPRIVILEGED_NGINX

    return UNPRIVILEGED_NGINX


def _httpd() -> Software:
    from pytest_kubesim.cri.software.web import HTTPD

    return HTTPD


def _metrics_server() -> Software:
    from pytest_kubesim.cri.software.metrics_server import METRICS_SERVER

    return METRICS_SERVER


def _perl() -> Software:
    from pytest_kubesim.cri.software.perl import PERL

    return PERL


def _nonewprivs() -> Software:
    from pytest_kubesim.cri.software.nonewprivs import NONEWPRIVS

    return NONEWPRIVS


def _etcd() -> Software:
    from pytest_kubesim.cri.software.etcd import ETCD

    return ETCD


def _sample_apiserver() -> Software:
    from pytest_kubesim.cri.software.sample_apiserver.main import SAMPLE_APISERVER

    return SAMPLE_APISERVER


def _resource_consumer() -> Software:
    from pytest_kubesim.cri.software.agnhost.load import RESOURCE_CONSUMER

    return RESOURCE_CONSUMER


_FAMILIES: dict[str, Callable[[], Software]] = {
    "agnhost": _agnhost,
    "alpine": _alpine,
    "bash": _alpine,
    "busybox": _busybox,
    "curl": _alpine,
    "debian": _debian,
    "debian-base": _debian,
    "etcd": _etcd,
    "glibc-dns-testing": _dnsutils,
    "httpd": _httpd,
    "jessie-dnsutils": _dnsutils,
    "kitten": _kitten,
    "metrics-server": _metrics_server,
    "nautilus": _nautilus,
    "nginx": _nginx,
    "nginx-unprivileged": _unprivileged_nginx,
    "nonewprivs": _nonewprivs,
    "perl": _perl,
    "resource-consumer": _resource_consumer,
    "sample-apiserver": _sample_apiserver,
    "ubuntu": _debian,
}
_REGISTRIES = frozenset({"docker.io", "registry.k8s.io"})


def program_for(reference: Reference) -> Executes | None:
    """The program of an image, or None where it is not simulated."""
    last = reference.path.rsplit("/", 1)[-1]
    family = _FAMILIES.get(last)
    if family is None or reference.registry not in _REGISTRIES:
        return None
    if family is _etcd and reference.path != last:
        # That of somebody else, which is started otherwise.
        return None
    return Executes(software=family())
