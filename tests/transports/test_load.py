"""Many clients at a time: a served cluster answers all of them, and keeps nothing of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket

import pytest
import served

pytestmark = pytest.mark.slow
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WATCHES, CLIENTS, REQUESTS = 200, 20, 60


@pytest.fixture(scope="module")
def server():
    server = served.Served("--components", "apiserver")
    yield server
    complaints = server.stderr()
    assert server.stop() == 0
    assert not complaints


def head(method, path, body=b""):
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def config_map(name, text):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": text}}).encode()


async def asked(reader, writer, request):
    writer.write(request)
    answer = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    return int(answer[9:12])


async def load(server):
    """What the clients were answered, and how many events each watch saw."""
    context = server.context()
    seen = [0] * WATCHES

    async def watch(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(head("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion={since}"))
        await writer.drain()
        while seen[number] < CLIENTS * (REQUESTS // 10):
            seen[number] += (await reader.read(1 << 16)).count(b'{"type":')
        writer.close()

    async def client(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        name = f"load-{number}"
        codes = set()
        for turn in range(REQUESTS):
            request = head("GET", f"{CONFIG_MAPS}/{name}")
            if turn % 10 == 0:
                body = config_map(name, str(turn))
                request = head("PUT", f"{CONFIG_MAPS}/{name}", body) if turn else head("POST", CONFIG_MAPS, body)
            codes.add(await asked(reader, writer, request))
        writer.close()
        return codes

    since = server.ask("GET", CONFIG_MAPS)[1]["metadata"]["resourceVersion"]
    watches = [asyncio.create_task(watch(number)) for number in range(WATCHES)]
    answers = await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    await asyncio.wait_for(asyncio.gather(*watches), 60)
    return set().union(*answers), seen


def memory(server):
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_hundreds_of_watches_and_clients_get_all_that_is_theirs(server):
    codes, seen = asyncio.run(load(server))
    assert codes == {200, 201}
    assert set(seen) == {CLIENTS * (REQUESTS // 10)}


async def come_and_go(server, count):
    """Watches that are opened, seen to begin, and left."""
    context = server.context()
    for _ in range(0, count, 50):
        opened = [await asyncio.open_connection("127.0.0.1", server.port, ssl=context) for _ in range(50)]
        for reader, writer in opened:
            writer.write(head("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=0"))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc on this system")
def test_nothing_is_kept_of_clients_that_have_gone(server):
    asyncio.run(come_and_go(server, 200))
    before = memory(server)
    asyncio.run(come_and_go(server, 600))
    assert memory(server) - before < 16 * 1024 * 1024


def test_many_watches_share_a_connection(server):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("h2")
    from contextlib import ExitStack

    headers = {"Authorization": f"Bearer {served.TOKEN}"}
    with (
        httpx.Client(http2=True, verify=server.context(), base_url=server.url, headers=headers, timeout=20) as client,
        ExitStack() as stack,
    ):
        since = client.get(CONFIG_MAPS).json()["metadata"]["resourceVersion"]
        query = {"watch": "1", "resourceVersion": since}
        watches = [stack.enter_context(client.stream("GET", CONFIG_MAPS, params=query)) for _ in range(80)]
        assert client.post(CONFIG_MAPS, content=config_map("shared", "1"), headers={"Content-Type": "application/json"})
        assert {json.loads(next(watch.iter_lines()))["object"]["metadata"]["name"] for watch in watches} == {"shared"}


def test_a_watcher_that_never_reads_holds_nobody_up(server):
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        server.context().wrap_socket(plain, server_hostname="127.0.0.1") as deaf,
    ):
        deaf.sendall(head("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=0"))
        for number in range(30):
            body = json.loads(config_map(f"deaf-{number}", "x" * 500_000))
            assert server.ask("POST", CONFIG_MAPS, body)[0] == 201
        assert server.ask("GET", "/healthz") == (200, "ok")


def test_cbor_is_off_as_it_is_by_default(server):
    assert server.ask("GET", CONFIG_MAPS, headers={"Accept": "application/cbor"})[0] == 406
    status, refusal = server.ask("POST", CONFIG_MAPS, b"\xa0", headers={"Content-Type": "application/cbor"})
    assert (status, refusal["reason"]) == (415, "UnsupportedMediaType")
