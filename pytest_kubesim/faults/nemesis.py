"""Random schedules of faults, drawn from the seed of the run.

    kubesim.faults.random(5, within="10m")

The law: a schedule is a function of the seed and of who is there (nodes, operators, members): the
same run draws the same faults.  Each draw is keyed by the fault's number, so that the third fault
is the same whether five are drawn or ten.
Every fault of a schedule ends, so that the cluster can heal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults.fault import Call, Fault
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_kubesim.sim.rng import Rng


class Ground(Protocol):
    """What there is to be struck."""

    def clients(self) -> list[str]:
        """The operators, and the control plane's own clients."""
        ...

    def victims(self) -> dict[str, list[str]]:
        """By kind (`node`, `operator`, `api_server`, `etcd`), the names of those that there are."""
        ...


class Draws:
    """The draws of one fault."""

    __slots__ = ("_event", "_rng")

    def __init__(self, rng: Rng, event: tuple[object, ...]) -> None:
        self._rng = rng
        self._event = event

    def choice(self, what: str, options: Sequence[Any]) -> Any:
        """One of `options`."""
        return self._rng.choice(options, "nemesis", what, *self._event)

    def below(self, what: str, bound: int) -> int:
        """A number in [0, bound)."""
        return self._rng.below(bound, "nemesis", what, *self._event)

    def seconds(self, what: str, least: int, most: int) -> str:
        """A duration in whole seconds."""
        return f"{least + self.below(what, most - least + 1)}s"



def _node(effect: str, least: int, most: int) -> Callable[..., Fault | None]:
    def pick(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
        del clients
        if not victims["node"]:
            return None
        name = draws.choice("node", victims["node"])
        return Fault(
            Call.of("node", name), Call.of(effect), lasts=draws.seconds("lasts", least, most)
        )

    return pick


def _api(effect: str, *args: Any, write: bool = False) -> Callable[..., Fault | None]:
    def pick(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
        del victims
        client = draws.choice("client", clients)
        times = 1 + draws.below("times", 3)
        target = Call.of("api", client=client, verb="write" if write else None)
        call = Call.of(effect, *args, defaults={"times": 1}, times=times)
        return Fault(target, call, lasts=draws.seconds("lasts", 20, 120))

    return pick


def _watch(effect: str, *args: Any, lasts: bool = True) -> Callable[..., Fault | None]:
    def pick(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
        del victims
        target = Call.of("api", client=draws.choice("client", clients))
        long = draws.seconds("lasts", 2, 30) if lasts else None
        return Fault(target, Call.of(effect, *args), lasts=long)

    return pick


def _view(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
    del victims
    return Fault(
        Call.of("view", client=draws.choice("client", clients)), Call.of("freeze"),
        lasts=draws.seconds("lasts", 2, 40),
    )


def _partition(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
    del clients
    if not victims["node"]:
        return None
    one_way = draws.choice("one_way", (None, None, True))
    return Fault(
        Call.of(
            "partition", draws.choice("node", victims["node"]), "control-plane", one_way=one_way
        ),
        lasts=draws.seconds("lasts", 5, 120),
    )


def _process(kind: str, effect: str, least: int, most: int) -> Callable[..., Fault | None]:
    def pick(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
        del clients
        if not victims[kind]:
            return None
        name = draws.choice(kind, victims[kind])
        return Fault(
            Call.of(kind, name), Call.of(effect), lasts=draws.seconds("lasts", least, most)
        )

    return pick


def _etcd(effect: str, *args: Any, lasts: bool = True) -> Callable[..., Fault | None]:
    def pick(draws: Draws, victims: dict[str, list[str]], clients: list[str]) -> Fault | None:
        del clients
        if effect == "lose_leader" and len(victims["etcd"]) < 3:
            return None
        long = draws.seconds("lasts", 2, 20) if lasts else None
        return Fault(Call.of("etcd"), Call.of(effect, *args), lasts=long)

    return pick


KINDS: dict[str, Callable[..., Fault | None]] = {
    "api-conflict": _api("fail", 409, write=True),
    "api-throttle": _api("fail", 429),
    "api-error": _api("fail", 500),
    "api-unavailable": _api("fail", 503),
    "api-reset": _api("reset"),
    "api-slow": _api("delay", "3s"),
    "answer-lost": _api("apply_but_drop_answer", write=True),
    "watch-cut": _watch("cut_watch", lasts=False),
    "watch-expired": _watch("expire_watch", lasts=False),
    "watch-late": _watch("delay_events", "4s"),
    "watch-held": _watch("hold_events"),
    "stale-view": _view,
    "partition": _partition,
    "node-crash": _node("crash", 10, 120),
    "node-freeze": _node("freeze", 5, 90),
    "kubelet-stop": _node("stop_kubelet", 5, 90),
    "runtime-down": _node("stop_runtime", 10, 120),
    "operator-crash": _process("operator", "crash", 1, 30),
    "operator-pause": _process("operator", "pause", 1, 60),
    "api-server-crash": _process("api_server", "crash", 1, 15),
    "etcd-slow": _etcd("slow", "500ms"),
    "etcd-compact": _etcd("compact", lasts=False),
    "etcd-leader-lost": _etcd("lose_leader"),
}
"""What a schedule is made of, by name."""


def chosen(kinds: str | Sequence[str]) -> tuple[str, ...]:
    """One kind or several.  Raises: `UsageError` for one that there is not, and for none."""
    several = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in several:
        if kind not in KINDS:
            raise UsageError(
                f"faults: there is no kind {kind!r} of random faults;",
                f"{suggestion(kind, KINDS)}there are: {', '.join(KINDS)}",
            )
    if not several:
        raise UsageError(
            f"faults: random(kinds={kinds!r}) names none; there are: {', '.join(KINDS)}"
        )
    return several


def schedule(
    rng: Rng,
    ground: Ground,
    count: int,
    *,
    begin_ns: int,
    within_ns: int,
    kinds: Sequence[str],
) -> list[Fault]:
    """`count` faults that begin between `begin_ns` and `within_ns` later, in that order.

    Instants are nanoseconds since the start of the cluster, rounded down to milliseconds.
    Raises: `UsageError` for a kind that there is not.
    """
    kinds = chosen(kinds)
    victims, clients = ground.victims(), ground.clients()
    drawn: list[tuple[int, int, Fault]] = []
    for number in range(count):
        fault, attempt = None, 0
        while fault is None and attempt < 20:
            draws = Draws(rng, (number, attempt))
            fault = KINDS[draws.choice("kind", kinds)](draws, victims, clients)
            attempt += 1
        if fault is None:
            raise UsageError(
                f"faults: nothing is there for random faults of kinds {', '.join(kinds)}; add "
                "nodes or run operators first"
            )
        at_ms = (begin_ns + Draws(rng, (number, 0)).below("at", within_ns)) // (NS // 1000)
        drawn.append((at_ms, number, fault.at(f"{at_ms}ms")))
    return [fault for *_, fault in sorted(drawn, key=lambda entry: entry[:2])]
