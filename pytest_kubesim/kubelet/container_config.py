"""What a container is made from: command, variables, mounts, user, resources.

The law: a container whose program sleeps has the files and variables of its start, though they are
made when it wakes; those that follow objects of its pod's author are made at once.

Follows `generateContainerConfig` in `pkg/kubelet/kuberuntime/kuberuntime_container.go` and
`GenerateRunContainerOptions` in `pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.cri.container import ContainerConfig, Mounted
from pytest_kubesim.cri.programs import Calls
from pytest_kubesim.cri.services import Image, PodSandbox
from pytest_kubesim.cri.software.executes import Executes
from pytest_kubesim.kubelet import (
    allocation,
    container_files,
    hollow,
    linux_resources,
    pod_actions,
    volume_contents,
)
from pytest_kubesim.kubelet.environment import expand, make_environment, service_environment
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.restart_policy import is_sidecar
from pytest_kubesim.kubelet.security_context import check_non_root, user_of

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.references import References
    from pytest_kubesim.kubelet.volume_contents import VolumeContents


class ContainerConfigs:
    """Makes the configurations of one kubelet's containers."""

    def __init__(self, host: Host, references: References, contents: VolumeContents) -> None:
        self._host = host
        self._references = references
        self._contents = contents
        self._cgroup = partial(linux_resources.of_container, host.node)

    async def make(
        self, pod: Object, container: Object, sandbox: PodSandbox, image: Image, attempt: int
    ) -> ContainerConfig:
        """The configuration of the `attempt`-th container.

        Raises: `StartError` (CreateContainerConfigError).
        """
        meta, spec, host = pod["metadata"], pod["spec"], self._host
        common: dict[str, Any] = {
            "name": container["name"],
            "attempt": attempt,
            "image": container.get("image") or "",
            "image_ref": image.ref,
            "image_name": image.name,
            "spec_hash": pod_actions.spec_hash(container),
            "background": _is_background(pod, container),
            "resources": container.get("resources") or NOTHING,
        }
        if host.config.hollow and not host.runtime.images.declared_for(
            common["image"], meta["namespace"], meta["name"], container["name"]
        ):
            instant = not host.config.pleg_relist_ns
            return ContainerConfig(
                **common, program=hollow.program_of(pod, container, instant=instant)
            )
        env: dict[str, str] = {}
        program = host.runtime.images.program_for(
            container.get("image") or "", meta["namespace"], meta["name"], container["name"]
        )
        words = (*(container.get("command") or ()), *(container.get("args") or ()))
        context: dict[str, Any] = {
            **(spec.get("securityContext") or NOTHING),
            **(container.get("securityContext") or NOTHING),
        }
        asleep = isinstance(program, Executes) and program.sleeps(
            words,
            tuple(mount["mountPath"] for mount in container.get("volumeMounts") or ()),
            changed=bool(context.get("runAsUser") or context.get("readOnlyRootFilesystem")),
        )
        if asleep:
            # Services count now only where other variables speak of them.
            visible = any("$(" in (v.get("value") or "") for v in container.get("env") or ())
        else:
            visible = isinstance(program.for_attempt(attempt), Calls) or program.volatile
        if visible or container.get("env") or container.get("envFrom"):
            env = await make_environment(
                pod, container, self._references, host.node.capacity, sandbox.ip,
                host.node.host_ip, services=visible,
                folder=lambda name: host.runtime.volumes.get((meta["uid"], name)),
            )
        outer: Object = spec.get("resources") or NOTHING
        resources: Object = common["resources"]
        own_user = program.software.user if isinstance(program, Executes) else None
        check_non_root(pod, container, context, own_user)
        mounted: tuple[Mounted, ...] = ()
        live = program.live and not (
            asleep and not volume_contents.follows_others(pod, container)
        )
        if live or container.get("volumeMounts"):
            mounted = await self._mounted(pod, container, sandbox, env, live=live)
        return ContainerConfig(
            **common,
            command=tuple(expand(word, env) for word in container.get("command") or ()),
            args=tuple(expand(word, env) for word in container.get("args") or ()),
            env=env,
            working_dir=container.get("workingDir") or "",
            stdin=bool(container.get("stdin")),
            stdin_once=bool(container.get("stdinOnce")),
            tty=bool(container.get("tty")),
            memory_limit=allocation.limit_of("memory", resources, outer) or None,
            termination_message_policy=container.get("terminationMessagePolicy") or "File",
            user=user_of(context, own_user or 0),
            mounts=mounted,
            termination_message_path=(
                container.get("terminationMessagePath") or "/dev/termination-log"
            ),
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
            no_new_privs=context.get("allowPrivilegeEscalation") is False,
            privileged=bool(context.get("privileged")),
            awake=not asleep,
            pod_resources=outer,
            cgroup=self._cgroup,
            later=partial(self._later, pod, container, sandbox) if asleep else None,
        )

    async def _later(
        self, pod: Object, container: Object, sandbox: PodSandbox
    ) -> tuple[dict[str, str], tuple[Mounted, ...]]:
        """Variables and mounts of a container that has slept until now.

        They are those of its start: what was found then stays, services that came later are none
        of its.
        """
        run = self._host.runtime.pod_state(pod["metadata"]["uid"]).find(container["name"])
        assert run is not None
        env = {
            **await service_environment(
                pod, self._references, format_time(run.started_ns or self._host.now_ns())
            ),
            **run.config.env,
        }
        mounted = run.config.mounts
        return env, mounted or await self._mounted(pod, container, sandbox, env, live=True)

    async def _mounted(
        self,
        pod: Object,
        container: Object,
        sandbox: PodSandbox,
        env: dict[str, str],
        *,
        live: bool,
    ) -> tuple[Mounted, ...]:
        if not live and not any(
            mount.get("subPath") or mount.get("subPathExpr")
            for mount in container["volumeMounts"]
        ):
            # Nobody looks: only what can fail is done.
            return ()
        return await container_files.mounts(
            self._host, self._contents, pod, container, sandbox.ip, env
        )


def _is_background(pod: Object, container: Object) -> bool:
    """Whether a container runs for ever as far as its pod says."""
    if container in (pod["spec"].get("initContainers") or ()):
        return is_sidecar(container)
    return (pod["spec"].get("restartPolicy") or "Always") == "Always"
