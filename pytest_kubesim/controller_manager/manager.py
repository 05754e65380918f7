"""The process kube-controller-manager: all controllers that are on, in upstream's order.

The law: a controller is simulated when there is a file for it under `controllers/`; its module is
imported when a manager first starts it.  All share one set of informers and no other state, and all
of it is gone when the process crashes.  With one replica there is nothing to elect: a manager leads
from its start.

Follows `cmd/kube-controller-manager/app/controllermanager.go`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pytest_kubesim.client_go.informer import SharedInformerFactory
from pytest_kubesim.client_go.leader_election import (
    LeaderElectionLost,
    LeaderElector,
    identity_of,
)
from pytest_kubesim.client_go.record import EventRecorder
from pytest_kubesim.controller_manager import controllers
from pytest_kubesim.controller_manager.controller import Controller, ControllerContext
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.sim.kernel import Kernel

NAMES: tuple[str, ...] = (
    "serviceaccount-token-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "replicationcontroller-controller",
    "pod-garbage-collector-controller",
    "resourcequota-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "garbage-collector-controller",
    "daemonset-controller",
    "job-controller",
    "deployment-controller",
    "replicaset-controller",
    "horizontal-pod-autoscaler-controller",
    "disruption-controller",
    "statefulset-controller",
    "cronjob-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-cleaner-controller",
    "podcertificaterequest-cleaner-controller",
    "ttl-controller",
    "bootstrap-signer-controller",
    "token-cleaner-controller",
    "node-ipam-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "device-taint-eviction-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "clusterrole-aggregation-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "podgroup-protection-controller",
    "ttl-after-finished-controller",
    "root-ca-certificate-publisher-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "ephemeral-volume-controller",
    "storageversion-garbage-collector-controller",
    "resourceclaim-controller",
    "resourcepoolstatusrequest-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
    "service-cidr-controller",
    "storage-version-migrator-controller",
    "selinux-warning-controller",
)
"""Every controller of Kubernetes 1.37 in the order in which it is started."""

OFF_BY_DEFAULT = frozenset(
    {"bootstrap-signer-controller", "selinux-warning-controller", "token-cleaner-controller"}
)


def module_of(name: str) -> str:
    """The file of a canonical name: `ttl-after-finished-controller` -> `ttl_after_finished`."""
    return name.removesuffix("-controller").replace("-", "_")


@functools.cache
def _kind(name: str) -> type[Controller]:
    return import_module(f"{controllers.__name__}.{module_of(name)}").CONTROLLER


_FILES = frozenset(module.name for module in iter_modules(controllers.__path__))


def simulated() -> tuple[str, ...]:
    """The canonical names of the controllers that are simulated, in upstream's order."""
    return tuple(name for name in NAMES if module_of(name) in _FILES)


def select(patterns: Iterable[str] = ("*",)) -> tuple[str, ...]:
    """The controllers that `--controllers` means: names, `-name` for off, `*` for the default ones.

    Raises: `UsageError` for a name that no controller has.
    """
    wanted = tuple(patterns)
    for pattern in wanted:
        if pattern != "*" and pattern.removeprefix("-") not in NAMES:
            raise UsageError(
                f"there is no controller {pattern.removeprefix('-')!r}.",
                f"Name one of: {', '.join(simulated())}.",
            )
    chosen: list[str] = []
    for name in simulated():
        if f"-{name}" in wanted:
            continue
        if name in wanted or ("*" in wanted and name not in OFF_BY_DEFAULT):
            chosen.append(name)
    return tuple(chosen)


LOCK = "kube-controller-manager"
"""The name of the Lease that the working one of several holds, and the source of its events."""


class ControllerManager:
    """A kube-controller-manager.

    Parameters: `kernel`; `client_factory`, which gives a process its client; `controllers`, as
    `select` takes them; `settings`, as `ControllerContext` has them; `name` of the process and
    `host` where it runs; `extra`, controller classes beside the built-in ones; `elect`, whether it
    works only while it holds the Lease `kube-system/kube-controller-manager`.
    """

    def __init__(
        self,
        kernel: Kernel,
        client_factory: Callable[[Process], RESTClient],
        *,
        controllers: Iterable[str] = ("*",),
        settings: Mapping[str, Any] | None = None,
        name: str = "kube-controller-manager",
        host: str = "control-plane",
        extra: Iterable[type[Controller]] = (),
        elect: bool = False,
    ) -> None:
        self.elect = elect
        self.names = select(controllers)
        self.extra = tuple(extra)
        self.settings: dict[str, Any] = dict(settings or {})
        self.running: dict[str, Controller] = {}
        """The controllers of the present incarnation by name."""
        self._client_factory = client_factory
        self.process = Process(kernel, name, self._main, host=host)

    def start(self) -> None:
        """Start the process."""
        self.process.start()

    async def _main(self, process: Process) -> None:
        client = self._client_factory(process)
        self.running = {}
        if not self.elect:
            self._begin(process, client)
            await process.kernel.future()
        recorder = EventRecorder(client, LOCK)
        elector = LeaderElector(client, "kube-system", LOCK, identity_of(client), recorder)
        await elector.acquire()
        self._begin(process, client)
        await elector.renew()
        raise LeaderElectionLost("leaderelection lost")

    def _begin(self, process: Process, client: RESTClient) -> None:
        informers = SharedInformerFactory(client)
        context = ControllerContext(process, client, informers, self.settings)
        for name in self.names:
            self.running[name] = _kind(name)(context)
        for kind in self.extra:
            self.running[kind.name] = kind(context)
        informers.start()
        for controller in self.running.values():
            controller.start()
