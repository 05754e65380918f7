"""What the three runtimes say of commands that cannot be run."""

import pytest
from shell_world import Box

from pytest_kubesim.cri.flavours import flavour

NOT_FOUND = 'OCI runtime exec failed: exec failed: unable to start container process: exec: "nope": executable file not found in $PATH'
ERRORED = "Readiness probe errored and resulted in unknown state: rpc error: code = Unknown desc = "


@pytest.mark.parametrize(("runtime", "stdout", "stderr", "code"), [
    ("cri-o", "", "executable file `nope` not found in $PATH: No such file or directory\n", 1),
    ("docker", f"{NOT_FOUND}\r\n", "", 127),
])
def test_cri_o_and_docker_let_a_command_fail_that_is_not_there(runtime, stdout, stderr, code):
    box = Box()
    box.runtime.flavour = flavour(runtime)
    session = box.do(box.runtime.exec(box.start("sleep", "99"), ("nope",)))
    assert (session.stdout.read_nowait(999).decode(), session.stderr.read_nowait(999).decode()) == (stdout, stderr)
    assert session.exit_code.result() == code


@pytest.mark.parametrize(("runtime", "command", "told"), [
    (
        "containerd", ["nope"],
        f'{ERRORED}failed to exec in container: failed to start exec "{{id}}": {NOT_FOUND}',
    ),
    (
        "cri-o", ["nope"],
        f"{ERRORED}command error: executable file `nope` not found in $PATH: No such file or directory\n, stdout: , stderr: , exit code -1",
    ),
    ("docker", ["nope"], f"Readiness probe failed: {NOT_FOUND}\r\n"),
    ("cri-o", ["sleep", "9"], "Readiness probe failed: command timed out"),
    ("docker", ["sleep", "9"], 'Readiness probe failed: command timed out: "sleep 9" timed out after 1s'),
])
def test_probes_tell_it(kubesim, runtime, command, told):
    kubesim.add_nodes(1, runtime=runtime)
    kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{
        "name": "c", "image": "busybox", "command": ["sleep", "9999"],
        "readinessProbe": {"exec": {"command": command}, "periodSeconds": 5},
    }]}})
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    kubesim.advance("10s")
    container = kubesim.get("pod/p")["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    assert [e["message"] for e in kubesim.list("events") if e["reason"] == "Unhealthy"] == [told.format(id=container)]
