"""What each runtime says of a command that cannot be run, and of one that takes too long.

containerd refuses to run it; CRI-O has crun run it, which complains and ends; Docker writes the
complaint where the command's output would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.timestamps import format_duration
from pytest_kubesim.cri.services import ExecResult, ExecTimeout, RuntimeServiceError

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.flavours import Flavour
    from pytest_kubesim.cri.services import CannotRun

_RUNC = "OCI runtime exec failed: exec failed: unable to start container process: "


def start_failure(flavour: Flavour, problem: CannotRun) -> str:
    """What is said of a container's own command."""
    return flavour.start_failure.format(problem=problem, crun=_crun(problem))


def exec_failure(flavour: Flavour, container: Container, problem: CannotRun) -> ExecResult:
    """What a client sees of a command in a container.

    Raises: `RuntimeServiceError` where the runtime refuses.
    """
    if flavour.name == "cri-o":
        return ExecResult(1, "", f"{_crun(problem)}\n")
    if flavour.name == "docker":
        code = 127 if problem.fault == "ENOENT" else 126
        return ExecResult(code, f"{_RUNC}{problem}\r\n", "")
    raise RuntimeServiceError(
        f'failed to exec in container: failed to start exec "{container.id}": {_RUNC}{problem}'
    )


def exec_sync_failure(flavour: Flavour, container: Container, problem: CannotRun) -> ExecResult:
    """What the kubelet gets of it, for a probe or a hook.

    Raises: `RuntimeServiceError` where that is no result.
    """
    try:
        result = exec_failure(flavour, container, problem)
    except RuntimeServiceError as refused:
        raise RuntimeServiceError(f"rpc error: code = Unknown desc = {refused}") from None
    if flavour.name == "cri-o":
        raise RuntimeServiceError(
            f"rpc error: code = Unknown desc = command error: {result.stderr}, stdout: , stderr: , "
            "exit code -1"
        )
    return result


def exec_timeout(flavour: Flavour, timeout_ns: int) -> ExecResult:
    """What the kubelet gets when a command takes too long.

    Raises: `ExecTimeout` where that is no result.
    """
    if flavour.name == "cri-o":
        return ExecResult(-1, "", "command timed out")
    raise ExecTimeout(
        "rpc error: code = DeadlineExceeded desc = failed to exec in container: timeout "
        f"{format_duration(timeout_ns)} exceeded: context deadline exceeded"
    )


def not_running(flavour: Flavour, container: Container) -> str:
    """What is said of a command for a container that does not run."""
    if flavour.name == "cri-o":
        return "container is not created or running"
    if flavour.name == "docker":
        return f"container not running ({container.id})"
    return f"failed to exec in container: container is in CONTAINER_{container.state.upper()} state"


def _crun(problem: CannotRun) -> str:
    if problem.fault == "ENOENT":
        where = "" if problem.executable.startswith("/") else " in $PATH"
        return f"executable file `{problem.executable}` not found{where}: No such file or directory"
    return "open executable: Permission denied"
