"""kube-controller-manager and kube-scheduler of one control plane, as processes.

A control plane that is alone runs them without an election: its controllers work from the first
instant on, and no Leases are renewed every two seconds.  Of several control planes each has both,
and of each kind one works: the one that holds the Lease `kube-controller-manager`
or `kube-scheduler` in `kube-system` (`client_go.leader_election`).  Who loses it exits and is
started again (`static_pods`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from pytest_kubesim.controller_manager.manager import ControllerManager
    from pytest_kubesim.sim.kernel import Kernel

VERSION = "v1.37.2"
CONTROLLER_MANAGER = "kube-controller-manager"
CONTROLLER_MANAGER_AGENT = f"{CONTROLLER_MANAGER}/{VERSION} (linux/amd64) kubernetes/kubesim"
SCHEDULER = "kube-scheduler"
SCHEDULER_AGENT = f"{SCHEDULER}/{VERSION} (linux/amd64) kubernetes/kubesim"

ClientOf = Callable[[Process, str, str], RESTClient]
"""Gives a process its client: process, user name, user agent."""


def controller_manager(
    kernel: Kernel,
    client_of: ClientOf,
    *,
    name: str,
    host: str,
    elect: bool,
    settings: dict[str, Any],
    extra: list[Any],
) -> ControllerManager:
    """A kube-controller-manager, not started yet."""
    from pytest_kubesim.controller_manager.manager import ControllerManager

    def client(process: Process) -> RESTClient:
        return client_of(process, f"system:{CONTROLLER_MANAGER}", CONTROLLER_MANAGER_AGENT)

    return ControllerManager(
        kernel, client, settings=settings, name=name, host=host, extra=extra, elect=elect
    )


def scheduler(
    kernel: Kernel,
    client_of: ClientOf,
    *,
    name: str,
    host: str,
    elect: bool,
    instant: bool,
    plugins: tuple[Any, ...],
    config: Any = None,
) -> Process:
    """A kube-scheduler, not started yet.

    Parameters: `plugins` besides the default ones; `config`, a KubeSchedulerConfiguration: a path,
    YAML text or a dict.
    """
    from pytest_kubesim.client_go.events import EventRecorder
    from pytest_kubesim.client_go.informer import SharedInformerFactory
    from pytest_kubesim.scheduler.profile import Profile
    from pytest_kubesim.scheduler.scheduler import Scheduler, SchedulerConfiguration

    settings = SchedulerConfiguration(latency_ns=(0, 0)) if instant else SchedulerConfiguration()
    profiles = (Profile(plugins=plugins),)
    if config is not None:
        from pytest_kubesim.cluster import manifests
        from pytest_kubesim.scheduler import component_config

        documents = manifests.load(config)
        if len(documents) != 1:
            raise UsageError(
                f"scheduler_config holds {len(documents)} documents.",
                "Give one KubeSchedulerConfiguration.",
            )
        loaded = component_config.load(documents[0], plugins)
        profiles, settings = loaded.profiles, loaded.settings(settings)

    async def work(process: Process, client: RESTClient) -> None:
        scheduler = Scheduler(
            process,
            client,
            SharedInformerFactory(client),
            EventRecorder(client, "default-scheduler"),
            profiles=profiles,
            config=settings,
        )
        await scheduler.main()

    async def main(process: Process) -> None:
        client = client_of(process, f"system:{SCHEDULER}", SCHEDULER_AGENT)
        if elect:
            await _elected(process, client, work)
        else:
            await work(process, client)

    return Process(kernel, name, main, host=host)


async def _elected(
    process: Process, client: RESTClient, work: Callable[[Process, RESTClient], Any]
) -> None:
    from pytest_kubesim.client_go import leader_election, record

    elector = leader_election.LeaderElector(
        client,
        "kube-system",
        SCHEDULER,
        leader_election.identity_of(client),
        record.EventRecorder(client, "default-scheduler"),
        release_on_cancel=True,
    )

    def ended(_process: Process) -> None:
        process.on_exit.remove(ended)
        if process.state == "stopped" and elector.is_leader:
            # SIGTERM ends its work at once, and what is left of it gives the Lease away.
            kernel = process.kernel
            kernel.spawn(elector.release(), name=f"{process.name}: release", daemon=True)

    process.on_exit.append(ended)
    await elector.acquire()
    process.spawn(work(process, client), name="work")
    await elector.renew()
    raise leader_election.LeaderElectionLost("Leaderelection lost")
