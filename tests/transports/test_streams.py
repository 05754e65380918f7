"""Streams through client libraries in this process: commands, attached clients, ports, logs."""

from __future__ import annotations

import asyncio

import kubernetes
import pytest
from kubernetes.client import ApiException
from kubernetes.stream import portforward, stream

from pytest_kubesim.cri.programs import runs_forever

pytestmark = pytest.mark.kubesim(components="all", nodes=1)


@pytest.fixture
def core(kubesim):
    kubernetes.config.load_kube_config()
    return kubernetes.client.CoreV1Api()


def start(kubesim, name, image, *command, **more):
    container = {"name": "c", "image": image, **more}
    if command:
        container["command"] = list(command)
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container]},
    })
    kubesim.eventually(f"pod/{name}", {"status": {"phase": "Running"}}, within="1m")
    kubesim.advance("1s")


@pytest.fixture
def box(kubesim, core):
    start(kubesim, "box", "busybox:1", "sleep", "36000")
    return core


def run(core, *command, name="box", **options):
    return stream(
        core.connect_get_namespaced_pod_exec, name, "default", command=list(command),
        **{"stdout": True, "stderr": True, "stdin": False, "tty": False, **options},
    )


def test_a_command_reads_what_is_typed(box):
    cat = run(box, "cat", stdin=True, _preload_content=False)
    cat.write_stdin("one\n")
    cat.update(timeout=5)
    assert cat.read_stdout() == "one\n"
    cat.write_stdin("two\n")
    cat.update(timeout=5)
    assert cat.read_stdout() == "two\n"
    cat.close()


def test_a_shell_that_is_told_what_to_do(box):
    shell = run(box, "sh", stdin=True, _preload_content=False)
    shell.write_stdin("echo $((6*7)); exit 9\n")
    shell.run_forever(timeout=5)
    assert shell.read_stdout() == "42\n"
    assert shell.returncode == 9


def test_a_terminal_echoes_and_has_a_size(box):
    shell = run(box, "sh", stdin=True, tty=True, _preload_content=False)
    shell.write_channel(4, '{"Width":80,"Height":24}')
    shell.write_stdin("echo $((6*7))\r")
    for _ in range(20):
        if shell.peek_stdout().endswith("42\r\n/ # "):
            break
        shell.update(timeout=5)
    shell.write_stdin("exit\r")
    shell.run_forever(timeout=5)
    assert shell.read_stdout() == "/ # echo $((6*7))\r\n42\r\n/ # exit\r\n"


def test_bytes_are_not_text(box):
    command = run(
        box, "sh", "-c", "printf '\\000\\377\\200'", binary=True, _preload_content=False
    )
    command.run_forever(timeout=5)
    assert command.read_stdout() == b"\x00\xff\x80"


def test_a_program_that_is_not_there(box):
    command = run(box, "nope", _preload_content=False)
    command.run_forever(timeout=5)
    assert 'exec: \\"nope\\": executable file not found in $PATH' in command.read_channel(3)


def test_a_hook_may_talk_to_its_client(core, kubesim):
    async def parrot(container, command, session):
        while data := await session.stdin.read():
            session.stdout.write(data.upper())
        return 4

    kubesim.images["parrot:1"] = runs_forever().having(exec=parrot)
    start(kubesim, "parrot", "parrot:1")
    talk = run(core, "say", name="parrot", stdin=True, _preload_content=False)
    talk.write_stdin("hello")
    talk.update(timeout=5)
    assert talk.read_stdout() == "HELLO"
    talk.close()


def test_a_client_that_never_reads_costs_little(core, kubesim):
    written = []

    async def flood(container, command, session):
        while True:
            session.stdout.write(bytes(10_000))
            written.append(10_000)
            await session.stdout.drain()

    kubesim.images["flood:1"] = runs_forever().having(exec=flood)
    start(kubesim, "flood", "flood:1")
    run(core, "flood", name="flood", _preload_content=False)
    kubesim.advance("10s")
    assert sum(written) < 1_000_000


def test_many_at_once(box):
    commands = [run(box, "cat", stdin=True, _preload_content=False) for _ in range(30)]
    for number, command in enumerate(commands):
        command.write_stdin(f"{number}\n")
    for number, command in enumerate(commands):
        command.update(timeout=5)
        assert command.read_stdout() == f"{number}\n"
        command.close()


def test_attached_to_the_first_process(core, kubesim):
    start(kubesim, "shell", "busybox:1", "sh", stdin=True)
    attached = stream(
        core.connect_get_namespaced_pod_attach, "shell", "default",
        stdin=True, stdout=True, stderr=True, _preload_content=False,
    )
    attached.write_stdin("echo to $HOSTNAME; exit 3\n")
    attached.run_forever(timeout=5)
    assert attached.read_stdout() == "to shell\n"
    kubesim.eventually(
        "pod/shell", {"status": {"containerStatuses": [{"lastState": {"terminated": {"exitCode": 3}}}]}},
        within="1m",
    )
    assert core.read_namespaced_pod_log("shell", "default", previous=True) == "to shell\n"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("exec", 'container not found ("c")'), ("attach", "container c not found in pod waits_default")],
)
def test_a_container_that_does_not_run(core, kubesim, kind, message):
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"},
        "spec": {
            "initContainers": [{"name": "i", "image": "busybox:1", "command": ["sleep", "9999"]}],
            "containers": [{"name": "c", "image": "busybox:1"}],
        },
    })
    kubesim.advance("10s")
    call = getattr(core, f"connect_get_namespaced_pod_{kind}")
    more = {"command": ["ls"]} if kind == "exec" else {}
    with pytest.raises(ApiException) as caught:
        stream(call, "waits", "default", container="c", stdout=True, **more)
    assert message in str(caught.value)
    assert "500" in str(caught.value)


def test_a_pod_without_a_node(core, kubesim):
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "far"},
        "spec": {"nodeSelector": {"no": "where"}, "containers": [{"name": "c", "image": "a:1"}]},
    })
    with pytest.raises(ApiException, match="pod far does not have a host assigned"):
        run(core, "ls", name="far")


# -- ports ----------------------------------------------------------------------------------------


def test_a_forwarded_port(core, kubesim):
    start(kubesim, "web", "nginx:1")
    ports = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="80,81")
    sock = ports.socket(80)
    sock.setblocking(True)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    answer = b""
    while piece := sock.recv(4096):
        answer += piece
    sock.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Welcome to nginx!" in answer
    assert ports.error(80) is None
    assert ports.error(81).startswith("error forwarding port 81 to pod ")
    assert "dial tcp4 127.0.0.1:81: connect: connection refused" in ports.error(81)


def test_through_the_proxy_of_a_pod_and_of_a_service(core, kubesim):
    start(kubesim, "web", "nginx:1", ports=[{"containerPort": 80}])
    kubesim.apply({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": 80}]},
    })
    kubesim.advance("5s")
    assert "Welcome to nginx!" in core.connect_get_namespaced_pod_proxy_with_path("web", "default", "/")
    assert "Welcome to nginx!" in core.connect_get_namespaced_service_proxy_with_path(
        "front:8080", "default", "/"
    )
    for name, message in (
        ("web:81", "error trying to reach service: dial tcp "),
        ("none", 'pods \\"none\\" not found'),
        ("a:b:c:d", 'invalid pod request \\"a:b:c:d\\"'),
    ):
        with pytest.raises(ApiException) as caught:
            core.connect_get_namespaced_pod_proxy_with_path(name, "default", "/")
        assert message in caught.value.body
    for name, message in (
        ("none", 'no endpoints available for service \\"none\\"'),
        ("front:81", 'no service port 81 found for service \\"front\\"'),
    ):
        with pytest.raises(ApiException) as caught:
            core.connect_get_namespaced_service_proxy_with_path(name, "default", "/")
        assert caught.value.status == 503
        assert message in caught.value.body


def test_a_kubelet_through_the_proxy_of_its_node(core, kubesim):
    start(kubesim, "box", "busybox:1", "sh", "-c", "echo hello; sleep 999")
    assert core.connect_get_node_proxy_with_path("node-1", "healthz") == "ok"
    pods = core.connect_get_node_proxy_with_path("node-1", "pods")
    assert '"name":"box"' in str(pods).replace("'", '"').replace(": ", ":")
    assert core.connect_get_node_proxy_with_path("node-1", "containerLogs/default/box/c") == "hello\n"
    kubesim.nodes["node-1"].stop_kubelet()
    with pytest.raises(ApiException) as caught:
        core.connect_get_node_proxy_with_path("node-1", "healthz")
    assert caught.value.status == 503
    assert "error trying to reach service: dial tcp " in caught.value.body


# -- logs -----------------------------------------------------------------------------------------


def test_a_log_that_is_followed(core, kubesim):
    start(kubesim, "talks", "busybox:1", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 2; done")
    answer = core.read_namespaced_pod_log(
        "talks", "default", follow=True, tail_lines=1, _preload_content=False
    )
    assert answer.data == b"1\n2\n3\n4\n"


def test_a_log_that_is_followed_for_so_many_bytes(core, kubesim):
    start(kubesim, "talks", "busybox:1", "sh", "-c", "while true; do echo line; sleep 1; done")
    answer = core.read_namespaced_pod_log(
        "talks", "default", follow=True, limit_bytes=13, _preload_content=False
    )
    assert answer.data == b"line\nline\nlin"


@pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported")
def test_a_command_through_kr8s(kubesim, core):
    kr8s = pytest.importorskip("kr8s")
    start(kubesim, "box", "busybox:1", "sleep", "36000")
    pod = kr8s.objects.Pod.get("box", namespace="default")
    result = pod.exec(["sh", "-c", "echo out; echo err >&2"])
    assert (result.stdout, result.stderr, result.returncode) == (b"out\n", b"err\n", 0)


@pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported")
def test_a_port_forwarded_by_kr8s(kubesim, core):
    kr8s = pytest.importorskip("kr8s.asyncio")
    httpx = pytest.importorskip("httpx")
    start(kubesim, "web", "nginx:1")

    async def main():
        pod = await kr8s.objects.Pod.get("web", namespace="default")
        async with pod.portforward(80) as port, httpx.AsyncClient() as client:
            return (await client.get(f"http://localhost:{port}/")).text

    assert "Welcome to nginx!" in asyncio.run(main())


def test_a_command_through_kubernetes_asyncio(kubesim, core):
    client = pytest.importorskip("kubernetes_asyncio")
    from kubernetes_asyncio.stream import WsApiClient

    start(kubesim, "box", "busybox:1", "sleep", "36000")
    streams = {"stdout": True, "stderr": True, "tty": False}

    async def main():
        await client.config.load_kube_config()
        async with WsApiClient() as api:
            run = client.client.CoreV1Api(api).connect_get_namespaced_pod_exec
            whole = await run("box", "default", command=["echo", "hi"], stdin=False, **streams)
            opened = await run(
                "box", "default", command=["cat"], stdin=True, _preload_content=False, **streams
            )
            async with opened as socket:
                await socket.send_bytes(b"\0typed\n")
                assert (await socket.receive()).data == b"\1"
                return whole, (await socket.receive()).data

    assert asyncio.run(main()) == ("hi\n", b"\1typed\n")


def test_a_log_as_the_official_client_watches_it(kubesim, core):
    start(kubesim, "talks", "busybox:1", "sh", "-c", "for i in 1 2; do echo $i; sleep 9; done")
    watch = kubernetes.watch.Watch()
    seen = []
    for line in watch.stream(core.read_namespaced_pod_log, name="talks", namespace="default"):
        seen.append(line)
        if len(seen) == 2:
            watch.stop()
    assert seen == ["1", "2"]


def test_a_log_that_lightkube_follows(kubesim, core):
    lightkube = pytest.importorskip("lightkube")
    start(kubesim, "talks", "busybox:1", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 2; done")
    assert list(lightkube.Client().log("talks", follow=True, newlines=False)) == ["1", "2", "3"]
