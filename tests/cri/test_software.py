"""Images that really do something, seen from the runtime."""

import pytest
from shell_world import Box

from pytest_kubesim.cri.container import Mounted
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.files import FileSystem
from pytest_kubesim.cri.programs import Probe
from pytest_kubesim.cri.services import RuntimeServiceError
from pytest_kubesim.sim.clock import NS

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"


def text(container):
    return "".join(line.text + ("" if line.partial else "\n") for line in container.logs)


def test_a_command_that_is_not_there_fails_the_start():
    box = Box()
    with pytest.raises(RuntimeServiceError, match='exec: "nope": executable file not found in \\$PATH'):
        box.start("nope")
    with pytest.raises(RuntimeServiceError, match="stat /bin/nope: no such file or directory"):
        box.start("/bin/nope")


def test_sleep_as_first_process_ignores_sigterm():
    box = Box()
    container = box.start("sleep", "3600")
    box.run(1)
    begun = box.kernel.now_ns
    box.do(box.runtime.stop_container(container, 30 * NS))
    assert container.exit_code == 137
    assert box.kernel.now_ns - begun == 30 * NS


def test_a_trap_ends_a_script_at_sigterm():
    box = Box()
    container = box.start("sh", "-c", "trap 'echo bye; exit 0' TERM; while true; do sleep 1; done")
    box.run(1.5)
    box.do(box.runtime.stop_container(container, 30 * NS))
    assert (container.exit_code, text(container)) == (0, "bye\n")


def test_the_termination_message_is_what_was_written_to_its_file():
    box = Box()
    container = box.start("sh", "-c", "echo -n gone > /dev/termination-log; exit 2")
    box.run(1)
    assert (container.exit_code, container.message) == (2, "gone")


def test_the_last_words_of_the_log_are_the_message_where_the_file_is_empty():
    box = Box()
    container = box.start("sh", "-c", "echo -n DONE; false", termination_message_policy="FallbackToLogsOnError")
    box.run(1)
    assert container.message == "DONE"


def test_a_command_runs_beside_the_first_process_and_sees_its_files():
    box = Box()
    container = box.start("sh", "-c", "echo 1 > /tmp/x; sleep 100")
    box.run(1)
    result = box.do(box.runtime.exec_sync(container, ("cat", "/tmp/x", "/nope")))
    assert (result.exit_code, result.stdout) == (1, "1\n")
    assert result.stderr == "cat: can't open '/nope': No such file or directory\n"


def test_a_command_reads_what_its_client_sends():
    box = Box()
    container = box.start("sleep", "100")
    box.run(1)
    session = box.do(box.runtime.exec(container, ("sh", "-c", "tr a-z A-Z; exit 3")))
    session.stdin.write(b"hello")
    session.stdin.close()
    box.run(1)
    assert session.stdout.read_nowait() == b"HELLO"
    assert session.exit_code.result() == 3


def test_a_read_only_mount_cannot_be_written_and_users_have_rights():
    box = Box()
    system = FileSystem("tmpfs", mode=0o755)
    files.put(system.root, "key", files.regular(b"secret", 0o400))
    output, _ = box.sh(
        "echo x > /v/new; echo x > /v/key; cat /v/key", user=(1000, 1000, ()),
        mounts=(Mounted("/v", system, system.root, True),),
    )
    assert output == (
        "sh: can't create /v/new: Read-only file system\n"
        "sh: can't create /v/key: Permission denied\n"
        "cat: can't open '/v/key': Permission denied\n"
    )


def test_agnhost_pauses_until_it_is_told_to_stop():
    box = Box()
    container = box.start(image=AGNHOST)
    box.run(1)
    box.do(box.runtime.stop_container(container, 30 * NS))
    assert container.exit_code == 2
    assert container.message == 'exiting because of signal "terminated"\n'


def test_programs_reach_each_other_by_their_addresses():
    box = Box()
    server = box.start(image=AGNHOST, args=("netexec",))
    box.run(1)
    output, code = box.sh(f"wget -qO- http://{server.pod_ip}:8080/hostname; echo; nc -zv {server.pod_ip} 81; wget -T 1 -qO- http://10.9.9.9/")
    assert output == (
        f"{server.hostname}\n"
        f"nc: {server.pod_ip} ({server.pod_ip}:81): Connection refused\n"
        "wget: download timed out\n"
    )
    assert code == 1


def test_netexec_runs_commands_and_dials_others():
    box = Box()
    a, b = box.start(image=AGNHOST, args=("netexec",)), box.start(image=AGNHOST, args=("netexec",))
    box.run(1)
    base = f"http://{a.pod_ip}:8080"
    output, _ = box.sh(
        f"wget -qO- '{base}/shell?cmd=echo+hi'; echo; wget -qO- '{base}/dial?host={b.pod_ip}&port=8081&protocol=udp&request=hostname'"
    )
    assert output == '{"output":"hi\\n"}\n{"responses":["%s"]}' % b.hostname


def test_probes_go_over_the_network():
    box = Box()
    container = box.start(image=AGNHOST, args=("liveness",))
    box.run(1)
    probe = Probe("http", "liveness", host=container.pod_ip, port=8080, path="/healthz")
    assert box.do(box.runtime.ask(container, probe)).ok
    box.run(10)
    answer = box.do(box.runtime.ask(container, probe))
    assert (answer.ok, answer.output) == (False, "HTTP probe failed with statuscode: 500")


def test_a_probe_s_command_that_hangs_times_out():
    box = Box()
    container = box.start("sleep", "100")
    box.run(1)
    answer = box.do(box.runtime.ask(container, Probe("exec", command=("sleep", "10"))))
    assert not answer.ok
    assert "timed out" in answer.output


def test_a_web_server_sleeps_until_somebody_connects():
    box = Box()
    container = box.start(image="nginx")
    before = box.kernel.events
    box.run(3600)
    assert box.kernel.events == before
    assert container.system is None
    output, _ = box.sh(f"wget -qO- {container.pod_ip} | grep title")
    assert output == "<title>Welcome to nginx!</title>\n"
    box.do(box.runtime.stop_container(container, 30 * NS))
    assert container.exit_code == 0


def test_nothing_of_a_container_runs_after_its_end():
    box = Box()
    container = box.start("sh", "-c", "while true; do sleep 1; echo x; done & sleep 2.5")
    box.run(60)
    assert (container.exit_code, text(container)) == (0, "x\nx\n")


def test_a_go_program_that_asked_for_no_signal_ends_with_two():
    box = Box()
    container = box.start(
        image=AGNHOST, args=("logs-generator", "--log-lines-total", "100", "--run-duration", "100s")
    )
    box.run(2.5)
    box.do(box.runtime.stop_container(container, 30 * NS))
    assert container.exit_code == 2
    written = len(container.logs)
    assert written == 3
    box.run(10)
    assert len(container.logs) == written


def test_what_a_test_says_of_an_image_counts_more_than_what_is_in_it():
    from pytest_kubesim.cri.programs import exits

    box = Box()
    box.runtime.images["busybox"] = exits(5)
    container = box.start("sleep", "100")
    box.run(1)
    assert container.exit_code == 5


def test_pi_is_computed():
    box = Box()
    container = box.start("perl", "-Mbignum=bpi", "-wle", "print bpi(50)", image="perl:5.34")
    box.run(60)
    assert text(container) == "3.1415926535897932384626433832795028841971693993751\n"


def test_a_busy_loop_lets_time_pass():
    box = Box()
    container = box.start("sh", "-c", "while true; do :; done")
    box.run(0.05)
    assert container.state == "running"
