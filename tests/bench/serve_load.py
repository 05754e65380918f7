"""What `kubesim serve` bears: watches that hang on it while others write.

Run: `python tests/bench/serve_load.py [--watches 200] [--rate 300] [--seconds 10] [--url URL --token T]`.
Without a URL it starts a server of its own and tells its memory too.  Exit status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))

CONNECTIONS = 20
NAMESPACES = 10
TURNS = 6
"""A connection makes an object, reads it, changes it, lists, reads and deletes it."""
FEWEST = TURNS * CONNECTIONS


class Load:
    def __init__(self, url: str, token: str) -> None:
        self.port = urlsplit(url).port
        self.context = ssl._create_unverified_context()
        self.head = f"Host: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self.events = 0
        self.watching = 0

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context, limit=1 << 24)

    async def ask(self, reader, writer, method, path, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        size = next(int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length"))
        answer = await reader.readexactly(size)
        if status >= 400:
            self.failures.append(f"{method} {path}: {status} {answer[:200]!r}")

    async def watch(self, number):
        reader, writer = await self.connect()
        path = f"/api/v1/namespaces/load-{number % NAMESPACES}/configmaps?watch=1&resourceVersion=0"
        writer.write(f"GET {path} HTTP/1.1\r\n{self.head}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            self.failures.append(f"watch: {head[:100]!r}")
        self.watching += 1
        while line := await reader.readline():
            if line.startswith(b"{"):
                self.events += 1
        self.failures.append("a watch ended")

    async def work(self, number, queue):
        reader, writer = await self.connect()
        path = f"/api/v1/namespaces/load-{number % NAMESPACES}/configmaps"
        while (due := await queue.get()) is not None:
            turn, at = due
            name = f"c-{number}"
            requests = {
                0: ("POST", path, {"metadata": {"name": name}, "data": {"a": "1"}}),
                1: ("GET", f"{path}/{name}", None),
                2: ("PUT", f"{path}/{name}", {"metadata": {"name": name}, "data": {"a": str(turn)}}),
                3: ("GET", f"{path}?limit=10", None),
                4: ("GET", f"{path}/{name}", None),
                5: ("DELETE", f"{path}/{name}", None),
            }
            await self.ask(reader, writer, *requests[turn % TURNS])
            self.latencies.append(time.perf_counter() - at)
        writer.close()

    async def run(self, watches, rate, seconds):
        reader, writer = await self.connect()
        for number in range(NAMESPACES):
            await self.ask(reader, writer, "POST", "/api/v1/namespaces", {"metadata": {"name": f"load-{number}"}})
        self.failures.clear()  # they may be there already
        tasks = [asyncio.create_task(self.watch(n)) for n in range(watches)]
        while self.watching < watches and not self.failures:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        queues = [asyncio.Queue() for _ in range(CONNECTIONS)]
        workers = [asyncio.create_task(self.work(n, q)) for n, q in enumerate(queues)]
        started = time.perf_counter()
        total = rate * seconds // FEWEST * FEWEST
        for sent in range(total):
            at = started + sent / rate
            wait = at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            queues[sent % CONNECTIONS].put_nowait((sent // CONNECTIONS, at))
        for queue in queues:
            queue.put_nowait(None)
        await asyncio.gather(*workers)
        took = time.perf_counter() - started
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        return took


def rss(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watches", type=int, default=200)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url")
    parser.add_argument("--token")
    options = parser.parse_args()
    if options.rate * options.seconds < FEWEST:
        parser.error(
            f"--rate {options.rate} for --seconds {options.seconds}: too few; they are sent in turns of {FEWEST}, "
            f"so let rate times seconds be {FEWEST} or more"
        )
    server = None
    if options.url is None:
        import served

        server = served.Served("--components", "all", "--nodes", "3")
        options.url, options.token = server.url, served.TOKEN
    failed = False
    for number in range(options.rounds):
        load = Load(options.url, options.token)
        before = cpu(server.process.pid) if server else 0
        took = asyncio.run(load.run(options.watches, options.rate, options.seconds))
        found = sorted(load.latencies)
        print(
            f"round {number + 1}: {len(found)} requests in {took:.1f} s, {len(load.failures)} failed, "
            f"p50 {found[len(found) // 2] * 1e3:.1f} ms, p99 {found[len(found) * 99 // 100] * 1e3:.1f} ms, "
            f"most {found[-1] * 1e3:.1f} ms; {load.events} events in {options.watches} watches"
            + (f"; server {rss(server.process.pid):.0f} MB, {cpu(server.process.pid) - before:.1f} s of CPU" if server else "")
        )
        for failure in load.failures[:5]:
            print("   ", failure)
        failed = failed or bool(load.failures)
    if server is not None:
        complaints = server.stderr()
        print(complaints, end="")
        failed = server.stop() != 0 or failed or bool(complaints)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
