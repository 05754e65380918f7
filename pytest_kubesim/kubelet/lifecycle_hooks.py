"""postStart and preStop: exec, HTTP and sleep handlers (`pkg/kubelet/lifecycle/handlers.go`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.cri import probing
from pytest_kubesim.cri.services import RuntimeServiceError
from pytest_kubesim.kubelet.host import full_name
from pytest_kubesim.kubelet.prober import make_probe, resolve_port
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.host import Host


async def run_hook(
    host: Host, pod: Object, container: Object, run: Container, handler: Object
) -> str:
    """Run a handler in a container; "" or what went wrong."""
    about = f'for Container "{container["name"]}" in Pod "{full_name(pod)}" failed - error: '
    if (action := handler.get("exec")) is not None:
        command = tuple(action.get("command") or ())
        shown = golang.bracketed(command)
        try:
            result = await host.runtime.exec_sync(run, command)
        except RuntimeServiceError as error:
            return f'Exec lifecycle hook ({shown}) {about}{error}, message: ""'
        if result.exit_code:
            output = golang.quote(result.stdout + result.stderr)
            problem = f"command '{' '.join(command)}' exited with {result.exit_code}: "
            return f"Exec lifecycle hook ({shown}) {about}{problem}, message: {output}"
        return ""
    if (action := handler.get("httpGet")) is not None:
        port = action.get("port")
        if isinstance(port, str) and not resolve_port(port, container):
            problem = f"port {golang.quote(port)} not found"
            return f"HTTP lifecycle hook ({action.get('path') or ''}) {about}{problem}"
        probe = make_probe(handler, "lifecycle", run.pod_ip, container)
        network = host.runtime.network
        elsewhere = probe.host != run.pod_ip or (
            network is not None and network.listener(probe.host, probe.port) is not None
        )
        if run.program.live or elsewhere:
            answer = await probing.over_network(network, host.node.host_ip, probe)
        else:
            answer = host.runtime.probe(run, probe)
        if answer.ok or answer.output.startswith("HTTP probe failed with statuscode"):
            # A hook only has to be answered; what the answer was is not looked at.
            return ""
        return f"HTTP lifecycle hook ({action.get('path') or ''}) {about}{answer.output}"
    if (action := handler.get("sleep")) is not None:
        # Whether the container has ended meanwhile is not looked at.
        await host.kernel.sleep((action.get("seconds") or 0) * NS)
        return ""
    return "Cannot run handler: invalid handler: &LifecycleHandler{Exec:nil,HTTPGet:nil,}"
