"""stress, resource-consumer-controller, and the image resource-consumer: what uses cpu and memory.

The law: nothing is computed; a container says what it uses (`Container.use`), and metrics, limits
and autoscalers see that.  Follows `third_party/forked/vishhstress`,
`test/images/agnhost/resource-consumer-controller` and `test/images/resource-consumer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery.timestamps import parse_duration
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.network import Unresolved, get, url_of
from pytest_kubesim.cri.software.agnhost.flags import forever, go_program, klog, parse
from pytest_kubesim.cri.software.busybox import DEBIAN, DEBIAN_PATHS, PROGRAMS
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import ConnectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.cri.linux.process import Proc

MIB = 1 << 20
"""What `stress` takes `M` for."""
CPU, MEMORY, METRIC, STATUS = "/ConsumeCPU", "/ConsumeMem", "/BumpMetric", "/GetCurrentStatus"
NOT_POST = "Bad request. Not a POST request"
UNKNOWN = "unknown function"
INCORRECT, NOT_GIVEN = "incorrect function argument", "not given function argument"
_PROBLEMS = (ConnectError, Unresolved, http1.MessageFault)


async def stress(proc: Proc, args: list[str]) -> int:
    """`stress [--cpus n] [--mem-total q] [--mem-alloc-size q] [--mem-alloc-sleep d]`."""
    flags = await parse(
        proc, args,
        {"cpus": "0", "mem-total": "0", "mem-alloc-size": "4Ki", "mem-alloc-sleep": "1ms"},
    )
    container = proc.system.surroundings
    total, step = quantity.value(flags["mem-total"]), quantity.value(flags["mem-alloc-size"])
    pause_ns = parse_duration(flags["mem-alloc-sleep"])
    await klog(
        proc, "I", "stress.go:67",
        f'Allocating "{flags["mem-total"]}" memory, in "{flags["mem-alloc-size"]}" chunks, with a '
        f"{flags['mem-alloc-sleep']} sleep between allocations",
    )
    for _ in range(flags.number("cpus")):
        await klog(proc, "I", "stress.go:80", "Spawning a thread to consume CPU")
        container.use(cpu_milli=1000)
    # Many small steps are taken as one, every second: nobody looks more often.
    at_once = max(1, NS // pause_ns) if pause_ns else max(1, total // step)
    left = total // step
    while left:
        count = min(left, at_once)
        left -= count
        container.use(memory=count * step)
        await proc.system.sleep(count * pause_ns)
    await klog(proc, "I", "stress.go:70", f'Allocated "{flags["mem-total"]}" memory')
    return await forever(proc)


# -- consumers -------------------------------------------------------------------------------


def form_of(request: http1.Request) -> dict[str, str]:
    """What a request says in its body and in its query; the body first."""
    found = dict(reversed(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True)))
    return {**request.query, **found}


def _numbers(form: dict[str, str], *wanted: str) -> list[int] | str:
    """Arguments as numbers, or what is wrong with them."""
    texts = [form.get(name, "") for name in wanted]
    if not all(texts):
        return NOT_GIVEN
    try:
        return [int(text) for text in texts]
    except ValueError:
        return INCORRECT


def _refused(status: int, text: str) -> http1.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return http1.Response(status, f"{text}\n".encode(), headers)


class Consumer:
    """What a consumer is told to use, and for how long."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._metrics: dict[str, float] = {}

    async def answer(self, request: http1.Request) -> http1.Response:
        """The answer to a request."""
        if request.path == "/metrics":
            return http1.Response(200, self._shown().encode())
        if request.method != "POST":
            return _refused(400, NOT_POST)
        form = form_of(request)
        match request.path:
            case "/ConsumeCPU":
                return self._consume(form, "millicores", CPU, self._cpu)
            case "/ConsumeMem":
                return self._consume(form, "megabytes", MEMORY, self._memory)
            case "/BumpMetric":
                return self._bump(form)
            case "/GetCurrentStatus":
                return http1.Response(200, f"Warning: not implemented!\n{STATUS[1:]}".encode())
            case path:
                return _refused(404, f"{UNKNOWN}: {path}")

    def _consume(
        self, form: dict[str, str], unit: str, function: str, use: Callable[[int], None]
    ) -> http1.Response:
        found = _numbers(form, "durationSec", unit)
        if isinstance(found, str):
            return _refused(400, found)
        seconds, amount = found

        async def run() -> None:
            use(amount)
            await self._proc.system.sleep(seconds * NS)
            use(-amount)

        self._proc.system.thread(run(), function)
        lines = [function[1:], f"{amount} {unit}", f"{seconds} durationSec"]
        return http1.Response(200, "".join(f"{line}\n" for line in lines).encode())

    def _cpu(self, millicores: int) -> None:
        self._proc.system.surroundings.use(cpu_milli=millicores)

    def _memory(self, megabytes: int) -> None:
        self._proc.system.surroundings.use(memory=megabytes * MIB)

    def _bump(self, form: dict[str, str]) -> http1.Response:
        metric, seconds = form.get("metric", ""), form.get("durationSec", "")
        if not metric or not seconds or not form.get("delta"):
            return _refused(400, NOT_GIVEN)
        try:
            delta, length_ns = float(form["delta"]), int(seconds) * NS
        except ValueError:
            return _refused(400, INCORRECT)

        async def run() -> None:
            self._metrics[metric] = self._metrics.get(metric, 0.0) + delta
            await self._proc.system.sleep(length_ns)
            self._metrics[metric] -= delta

        self._proc.system.thread(run(), METRIC)
        lines = [METRIC[1:], f"{metric} metric", f"{delta:g} delta", f"{seconds} durationSec"]
        return http1.Response(200, "".join(f"{line}\n" for line in lines).encode())

    def _shown(self) -> str:
        return "".join(
            f"# HELP {name} info message.\n# TYPE {name} gauge\n{name} {value:f}\n"
            for name, value in sorted(self._metrics.items())
        )


async def consumer(proc: Proc) -> int:
    """`consumer [-port n]`: the program of the image resource-consumer."""
    go_program(proc)
    flags = await parse(proc, list(proc.argv[1:]), {"port": "8080"}, short={"port": "port"})
    serving = Consumer(proc)
    proc.system.serve(
        flags.number("port"), lambda stream: http1.serve(stream, serving.answer)
    )
    return await forever(proc)


# -- their controller ------------------------------------------------------------------------


@attrs.frozen(slots=True)
class _Split:
    """How a request for much is told in requests for little."""

    amount: str
    size: str
    announced: str
    told: str


_SPLITS = {
    CPU: _Split(
        "millicores", "requestSizeMillicores",
        "RC manager: sending {count} requests to consume {size} millicores each and 1 request to "
        "consume {rest} millicores\n",
        "Consumed {amount} millicores\n",
    ),
    MEMORY: _Split(
        "megabytes", "requestSizeMegabytes",
        "RC manager: sending {count} requests to consume {size} MB each and 1 request to consume "
        "{rest} MB\n",
        "Consumed {amount} megabytes\n",
    ),
    METRIC: _Split(
        "delta", "requestSizeMetrics",
        "RC manager: sending {count} requests to bump custom metric by {size} each and 1 request "
        "to bump by {rest}\n",
        "Bumped metric {metric} by {amount}\n",
    ),
}


async def resource_consumer_controller(proc: Proc, args: list[str]) -> int:
    """`resource-consumer-controller [--port n] [--consumer-port n] [--consumer-service-name s]`."""
    flags = await parse(
        proc, args,
        {"port": "8080", "consumer-port": "8080", "consumer-service-name": "resource-consumer",
         "consumer-service-namespace": "default"},
    )
    name, namespace = flags["consumer-service-name"], flags["consumer-service-namespace"]

    async def send(path: str, form: dict[str, str]) -> str:
        """Ask one consumer; what went wrong, empty if nothing did."""
        domain = next(
            (d[4:] for d in names.resolv_conf(proc.system).search if d.startswith("svc.")), ""
        )
        url = f"http://{name}.{namespace}.svc.{domain}:{flags['consumer-port']}{path}"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            await get(
                proc, url_of(url), method="POST", body=urlencode(form).encode(), headers=headers
            )
        except _PROBLEMS as error:
            return f'Failed to connect to consumer: Post "{url}": {str(error).lower()}\n'
        return ""

    async def answer(request: http1.Request) -> http1.Response:
        if request.method != "POST":
            return _refused(400, NOT_POST)
        split = _SPLITS.get(request.path)
        if split is None:
            return _refused(404, UNKNOWN)
        form = form_of(request)
        if split.amount == "delta" and not form.get("metric"):
            return _refused(400, NOT_GIVEN)
        found = _numbers(form, "durationSec", split.amount, split.size)
        if isinstance(found, str) or found[2] <= 0:
            return _refused(400, found if isinstance(found, str) else INCORRECT)
        _, whole, size = found
        count, rest = divmod(whole, size)
        text = split.announced.format(count=count, size=size, rest=rest)
        kept = {key: form[key] for key in ("durationSec", "metric") if key in form}
        for amount in (*[size] * count, *([rest] if rest else ())):
            problem = await send(request.path, {**kept, split.amount: str(amount)})
            text += problem or split.told.format(amount=amount, metric=form.get("metric", ""))
        return http1.Response(200, text.encode())

    proc.system.serve(flags.number("port"), lambda stream: http1.serve(stream, answer))
    return await forever(proc)


COMMANDS = {"stress": stress, "resource-consumer-controller": resource_consumer_controller}

RESOURCE_CONSUMER = attrs.evolve(
    DEBIAN,
    name="resource-consumer",
    entrypoint=("/consumer",),
    command=(),
    programs={**PROGRAMS, "consumer": consumer},
    paths={**DEBIAN_PATHS, "consumer": "consumer"},
)
