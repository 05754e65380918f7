"""The runtime of a node, seen from the kubelet's side, and programs, seen from the test author's."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.cni.ipam import HostLocal, NoAddressesLeft
from pytest_kubesim.cri.container import ContainerConfig
from pytest_kubesim.cri.flavours import FLAVOURS
from pytest_kubesim.cri.images import Images, parse, with_tag
from pytest_kubesim.cri.programs import (
    Probe,
    crashes,
    exits,
    hangs_on_sigterm,
    oom,
    runs_forever,
    sequence,
    serves,
    stops_slowly,
)
from pytest_kubesim.cri.runtime import Runtime, RuntimeConfiguration
from pytest_kubesim.cri.services import PodSandboxConfig, RuntimeServiceError
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel


class Node:
    """A runtime, and a container in it."""

    def __init__(self, **options):
        self.kernel = Kernel(seed=3)
        self.images = Images()
        options.setdefault("config", RuntimeConfiguration.instant())
        self.runtime = Runtime(
            self.kernel, "n", images=self.images, network=HostLocal, **options
        )
        self.runtime.start()
        self.heard = []
        self.runtime.subscribe(lambda what, uid, c: self.heard.append((what, uid)))

    def do(self, coro):
        return self.kernel.run_coroutine(coro)

    def start(self, image="app:1", name="c", attempt=0, sandbox=None):
        runtime = self.runtime

        async def go():
            box = sandbox or await runtime.run_pod_sandbox(PodSandboxConfig("u", "web", "default"))
            await runtime.pull_image(image)
            container = await runtime.create_container(box, ContainerConfig(name, attempt, image))
            await runtime.start_container(container)
            return container

        container = self.do(go())
        self.run(0)
        return container

    def run(self, seconds):
        self.kernel.run(until_ns=self.kernel.now_ns + round(seconds * NS))


def ending(container):
    return container.state, container.exit_code, container.reason


def test_the_default_program_runs_for_ever_and_costs_nothing():
    node = Node()
    container = node.start()
    before = node.kernel.events
    node.run(3600)
    assert container.state == "running"
    assert node.kernel.events == before
    node.do(node.runtime.stop_container(container, 30 * NS))
    assert ending(container) == ("exited", 143, "Error")
    assert [what for what, _ in node.heard] == ["started", "stopped"]


@pytest.mark.parametrize(("program", "seconds", "end"), [
    (exits(0, after="3s"), 3, ("exited", 0, "Completed")),
    (exits(7, after=1.5), 1.5, ("exited", 7, "Error")),
    (crashes(), 0, ("exited", 1, "Error")),
    (oom(timedelta(seconds=2)), 2, ("exited", 137, "OOMKilled")),
])
def test_programs_that_end(program, seconds, end):
    node = Node()
    node.images["app:1"] = program
    container = node.start()
    if seconds:
        node.run(seconds - 0.1)
        assert container.state == "running"
        node.run(0.1)
    assert ending(container) == end


def test_sigkill_follows_the_timeout_and_slow_programs_may_be_in_time():
    node = Node()
    node.images["app:1"] = hangs_on_sigterm()
    container = node.start()
    node.do(node.runtime.stop_container(container, 10 * NS))
    assert node.kernel.elapsed_ns == 10 * NS
    assert ending(container) == ("exited", 137, "Error")
    node.images["app:1"] = stops_slowly("4s")
    container = node.start(attempt=1)
    node.do(node.runtime.stop_container(container, 10 * NS))
    assert node.kernel.elapsed_ns == 14 * NS
    assert ending(container) == ("exited", 0, "Completed")


def test_python_programs_have_a_clock_a_log_and_an_exit_code():
    node = Node()

    async def main(container):
        container.log(f"at {container.now:%H:%M:%S} on {container.node}")
        await container.sleep("90s")
        container.log("later")
        return 4

    node.images["app:1"] = main
    container = node.start()
    node.run(100)
    assert ending(container) == ("exited", 4, "Error")
    assert [line.text for line in container.logs] == ["at 00:00:00 on n", "later"]
    assert container.finished_ns - container.started_ns == 90 * NS


def test_plain_functions_and_generators_are_programs_too():
    node = Node()
    node.images["plain"] = lambda container: None
    def steps(container):
        yield "3s"
        yield 2
        return 9
    node.images["steps"] = steps
    assert ending(node.start("plain")) == ("exited", 0, "Completed")
    container = node.start("steps", name="d")
    node.run(5)
    assert ending(container) == ("exited", 9, "Error")


def test_an_exception_is_exit_code_one_and_a_traceback_in_the_log():
    node = Node()

    def broken(container):
        raise ValueError("no such table")

    node.images["app:1"] = broken
    container = node.start()
    assert ending(container) == ("exited", 1, "Error")
    assert container.logs[-1].text == "ValueError: no such table"


def test_a_python_program_may_wait_for_sigterm():
    node = Node()

    async def main(container):
        await container.sigterm()
        await container.sleep(2)
        return 0

    node.images["app:1"] = main
    container = node.start()
    node.do(node.runtime.stop_container(container, 30 * NS))
    assert ending(container) == ("exited", 0, "Completed")
    assert node.kernel.elapsed_ns == 2 * NS


def test_a_sequence_gives_each_start_its_program():
    program = sequence(exits(1), exits(2), runs_forever())
    assert [str(program.for_attempt(n)) for n in range(4)] == [
        "exits(1, after='0s')", "exits(2, after='0s')", "runs_forever()", "runs_forever()",
    ]


def test_serves_refuses_until_it_is_ready_and_on_other_ports():
    node = Node()
    node.images["app:1"] = serves(8080, ready_after="5s")
    container = node.start()
    probe = Probe("tcp", host="10.0.0.1", port=8080)
    assert node.runtime.probe(container, probe).output == (
        "dial tcp 10.0.0.1:8080: connect: connection refused"
    )
    assert container.program.next_change_ns(container) == node.kernel.now_ns + 5 * NS
    node.run(5)
    assert node.runtime.probe(container, probe).ok
    assert not node.runtime.probe(container, Probe("tcp", host="10.0.0.1", port=81)).ok
    assert container.program.next_change_ns(container) is None


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=FLAVOURS)
@pytest.mark.parametrize("problem", ["not_found", "denied", "unreachable", "disk is full"])
def test_every_runtime_has_words_for_every_failed_pull(flavour, problem):
    node = Node(flavour=flavour)
    node.images.pull_error("ghcr.io/a/b:2", problem)
    with pytest.raises(RuntimeServiceError, match="rpc error: code = ") as error:
        node.do(node.runtime.pull_image("ghcr.io/a/b:2"))
    assert "{" not in str(error.value)


def test_a_host_that_went_down_finds_its_containers_ended_and_its_images_there():
    node = Node()
    container = node.start()
    node.run(10)
    node.runtime.crash()
    with pytest.raises(RuntimeServiceError, match="connection refused"):
        node.do(node.runtime.run_pod_sandbox(PodSandboxConfig("v", "x", "default")))
    node.run(60)
    node.runtime.start()
    assert ending(container) == ("exited", 255, "Unknown")
    assert node.runtime.pod_state("u").active_sandbox is None
    assert node.runtime.image_status("app:1") is not None


def test_a_stopped_sandbox_takes_its_containers_with_it():
    node = Node()
    container = node.start()
    node.do(node.runtime.stop_pod_sandbox(container.sandbox))
    assert ending(container) == ("exited", 137, "Error")
    assert node.runtime.pod_state("u").ips == ()


def test_only_the_last_ended_containers_of_a_name_are_kept():
    node = Node()
    node.images["app:1"] = crashes()
    first = node.start()
    for attempt in range(1, 6):
        node.start(attempt=attempt, sandbox=first.sandbox)
    assert [c.config.attempt for c in node.runtime.pod_state("u").containers] == [5, 4, 3]


def test_latencies_are_drawn_by_name_and_equal_in_equal_runs():
    ends = []
    for _ in range(2):
        node = Node(config=RuntimeConfiguration())
        node.start()
        ends.append(node.kernel.elapsed_ns)
    assert ends[0] == ends[1]
    assert 0.6 * NS < ends[0] < 4 * NS


# -- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "full", "tagged"), [
    ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
    ("me/app:1", "docker.io/me/app:1", "me/app:1"),
    ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
    ("ghcr.io/a/b@sha256:abc", "ghcr.io/a/b@sha256:abc", "ghcr.io/a/b@sha256:abc"),
])
def test_references(image, full, tagged):
    assert parse(image).full == full
    assert with_tag(image) == tagged


def test_the_nearest_word_wins():
    images = Images()
    a, b, c, d, e = (exits(n) for n in range(5))
    images["*"] = a
    images["my/*"] = b
    images["my/job:1"] = c
    images.pods["db-*"] = d
    images.containers["db-0/sidecar"] = e
    find = images.program_for
    assert find("other", "default", "x", "main") is a
    assert find("my/job:2", "default", "x", "main") is b
    assert find("docker.io/my/job:1", "default", "x", "main") is c
    assert find("my/job:1", "default", "db-0", "main") is d
    assert find("my/job:1", "default", "db-0", "sidecar") is e
    assert find("my/job:1", "default", "db-1", "sidecar") is d
    del images["my/job:1"]
    assert find("my/job:1", "default", "x", "main") is b


def test_what_is_no_program_is_refused():
    with pytest.raises(UsageError, match="is not a program"):
        Images()["x"] = 3


# -- addresses and durations -----------------------------------------------------------------


def test_addresses_are_given_in_turn_and_come_back_late():
    network = HostLocal("10.0.0.0/29")
    first = [network.allocate("a") for _ in range(3)]
    assert first == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    network.release("10.0.0.3", "somebody else")
    network.release("10.0.0.2", "a")
    assert [network.allocate("b") for _ in range(3)] == ["10.0.0.5", "10.0.0.6", "10.0.0.2"]
    with pytest.raises(NoAddressesLeft, match=r"no IP addresses available in range set: 10\.0\.0\.1-10\.0\.0\.6"):
        network.allocate("c")


@given(st.lists(st.integers(0, 20), max_size=60))
def test_an_address_has_one_owner(choices):
    network, held = HostLocal("10.0.0.0/27"), []
    for choice in choices:
        if held and choice % 3 == 0:
            network.release(held.pop(choice % len(held)), "x")
        elif len(held) < 29:
            held.append(network.allocate("x"))
    assert len(set(held)) == len(held)
