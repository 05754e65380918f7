"""Servers inside the simulation: health endpoints of operators, stand-ins for external systems."""

from __future__ import annotations

import asyncio

import pytest

web = pytest.importorskip("aiohttp.web")
import aiohttp  # noqa: E402
import httpx  # noqa: E402
import requests  # noqa: E402


async def serve(answer, port):
    async def handle(request):
        return await answer()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", port).start()
    return runner


def test_a_stand_in_for_an_external_system_that_is_slow(kubesim):
    seen = []

    async def stand_in():
        async def answer():
            await asyncio.sleep(20)
            return web.Response(text="done")

        await serve(answer, 8080)
        await asyncio.sleep(1e6)

    async def operator():
        async with aiohttp.ClientSession() as session, session.get("http://localhost:8080/") as response:
            seen.append((await response.text(), kubesim.clock.time))
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get("http://127.0.0.1:8080/", timeout=5)
        seen.append(kubesim.clock.time)

    kubesim.run(stand_in)
    kubesim.run(operator)
    kubesim.advance("1m")
    assert seen == [("done", 20), 25]


def test_the_test_looks_at_an_operators_health(kubesim):
    async def operator():
        async def answer():
            return web.Response(text="ok")

        runner = await serve(answer, 8081)
        await asyncio.sleep(60)
        await runner.cleanup()
        await asyncio.sleep(1e6)

    running = kubesim.run(operator)
    kubesim.advance("1s")
    assert requests.get("http://localhost:8081/", timeout=5).text == "ok"
    kubesim.advance("2m")
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get("http://localhost:8081/", timeout=5)
    running.restart()
    kubesim.advance("1s")
    assert requests.get("http://localhost:8081/", timeout=5).ok
    running.crash()
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get("http://localhost:8081/", timeout=5)


def test_replicas_have_ports_of_their_own(kubesim):
    async def operator():
        name = asyncio.get_running_loop().actor.name

        async def answer():
            return web.Response(text=name)

        await serve(answer, 8080)
        async with httpx.AsyncClient() as client:
            assert (await client.get("http://localhost:8080/")).text == name
        await asyncio.sleep(1e6)

    running = kubesim.run(operator, name="twin", replicas=2)
    kubesim.advance("1m")
    assert running.running


async def test_a_server_in_an_async_test(kubesim):
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    assert await reader.read() == b"hello\n"
    writer.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match="in the simulation"):
        await asyncio.open_connection("127.0.0.1", port)


def test_the_health_endpoint_of_kopf(kubesim):
    kopf = pytest.importorskip("kopf")
    registry = kopf.OperatorRegistry()

    @kopf.on.probe(registry=registry, id="now")
    def probe(**_):
        return "fine"

    @kopf.on.login(registry=registry)
    def login(**kwargs):
        return kopf.login_via_client(**kwargs)

    async def operator():
        await kopf.operator(registry=registry, clusterwide=True, standalone=True, liveness_endpoint="http://0.0.0.0:8080/healthz")

    kubesim.run(operator)
    kubesim.advance("5s")
    assert requests.get("http://localhost:8080/healthz", timeout=5).json()["now"] == "fine"
