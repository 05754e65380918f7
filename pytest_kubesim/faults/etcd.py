"""Faults of etcd: members that crash, a leader that is lost, slow and full disks, lost history.

    kubesim.faults.etcd().slow("2s", for_="1m")
    kubesim.faults.etcd("etcd-2").crash().for_("30s")

With one member there is nobody to take over: what happens to it happens to all requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.etcd.messages import (
    CompactionRequest,
    DeleteRangeRequest,
    ErrCompacted,
    ErrConnectionRefused,
    ErrTimeout,
    PutRequest,
    TxnRequest,
)
from pytest_kubesim.faults import wording
from pytest_kubesim.faults.fault import Call, Speech
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.etcd.group import Group
    from pytest_kubesim.etcd.member import Member, MemberSnapshot
    from pytest_kubesim.etcd.member_process import MemberProcess
    from pytest_kubesim.etcd.mvcc.watchable_store import WatchableStore
    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.faults.fault import Fault
    from pytest_kubesim.sim.faultpoints import FaultPoints
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.network import Network

PASSIVE = False
POINT = "etcd.request"
DISK = "disk.sync"

_WRITES = (PutRequest, DeleteRangeRequest, TxnRequest)
_OF_MEMBERS = frozenset({"crash", "pause", "lose_leader"})


class Ground(Protocol):
    """What a fault of etcd needs of the cluster."""

    kernel: Kernel
    network: Network
    faultpoints: FaultPoints
    backups: dict[str, MemberSnapshot]
    """Backups that were taken, by name."""

    @property
    def group(self) -> Group | None:
        """The members, where there are several."""
        ...

    @property
    def member(self) -> Member:
        """The only member, or the one that follows all of them."""
        ...

    @property
    def observed(self) -> WatchableStore:
        """What is stored."""
        ...

    def restart_api_servers(self, meanwhile: Callable[[], object]) -> None:
        """Stop all API servers, do something, start those that ran."""
        ...

    def restore_etcd(self, snapshot: MemberSnapshot) -> None:
        """Give etcd the data of a backup."""
        ...


class EtcdFaults(Speech):
    """What can happen to etcd.

    Every method takes also `at=`, `until=`, `when=` and `for_=`; see `fault.Fault`.
    """

    def crash(self, **timing: Any) -> Any:
        """Kill the member (the only one, or all, where none is named); its end starts it again."""
        return self._fault(Call.of("crash"), timing)

    def pause(self, **timing: Any) -> Any:
        """Freeze the member, as SIGSTOP does."""
        return self._fault(Call.of("pause"), timing)

    def lose_leader(self, **timing: Any) -> Any:
        """Kill the member that leads now; its end starts it again, as one that follows."""
        return self._fault(Call.of("lose_leader"), timing)

    def move_leader(self, to: str, **timing: Any) -> Any:
        """Have the leader hand over to that member (`etcdctl move-leader`)."""
        return self._fault(Call.of("move_leader", to), timing)

    def lose_quorum(self, **timing: Any) -> Any:
        """Cut the members off from each other: nobody can agree on anything."""
        return self._fault(Call.of("lose_quorum"), timing)

    def unavailable(self, **timing: Any) -> Any:
        """Let every request fail: no member can be reached."""
        return self._fault(Call.of("unavailable"), timing)

    def time_out(self, *, times: int | None = None, **timing: Any) -> Any:
        """Let requests fail with `etcdserver: request timed out` (`times` of them; None: all)."""
        wording.counted("time_out", times, 0)
        return self._fault(Call.of("time_out", times=times), timing)

    def slow(self, duration: Duration, **timing: Any) -> Any:
        """Let each write to disk take that long besides (a slow fsync)."""
        wording.duration(duration, "slow")
        return self._fault(Call.of("slow", duration), timing)

    def disk_full(self, **timing: Any) -> Any:
        """Raise the alarm NOSPACE: nothing that makes the database larger is accepted."""
        return self._fault(Call.of("disk_full"), timing)

    def compact(self, **timing: Any) -> Any:
        """Forget all history now: watches and continue tokens of older revisions get 410."""
        return self._fault(Call.of("compact"), timing)

    def backup(self, name: str, **timing: Any) -> Any:
        """Take a backup under that name (`etcdctl snapshot save`)."""
        return self._fault(Call.of("backup", name), timing)

    def restore(self, name: str, **timing: Any) -> Any:
        """Put the backup of that name in place of the data, and start the API servers anew.

        Revisions go back with it, as they do in production.
        """
        return self._fault(Call.of("restore", name), timing)


def check(ground: Ground, fault: Fault) -> None:
    """Raises: `UsageError` for a member that there is not."""
    group = ground.group
    there = ["etcd"] if group is None else list(group.members)
    named = [*fault.target.args]
    if fault.what == "move_leader":
        named += fault.args
    for name in named:
        if name not in there:
            raise UsageError(
                f"faults: there is no member {name!r} of etcd;",
                f"{suggestion(name, there)}there are: {', '.join(there)}",
            )
    if group is None and fault.what in ("lose_leader", "move_leader", "lose_quorum", "pause"):
        raise UsageError(
            f"faults: {fault!r}: this cluster has one member of etcd; make it with "
            "@pytest.mark.kubesim(etcd_members=3), or say unavailable()"
        )
    if fault.what == "restore" and fault.immediate and fault.args[0] not in ground.backups:
        known = ", ".join(map(repr, ground.backups)) or "none; take one with etcd().backup(name)"
        raise UsageError(f"faults: there is no backup {fault.args[0]!r}; there are: {known}")


def begin(ground: Ground, armed: Armed) -> Callable[[], None] | None:
    """Let it begin."""
    what = armed.fault.what
    if ground.group is not None and what in _OF_MEMBERS:
        return _members(ground.group, armed)
    if what == "crash":
        what = "unavailable"
    begins: dict[str, Callable[[Ground, Armed], Callable[[], None] | None]] = {
        "unavailable": _unavailable, "time_out": _time_out, "slow": _slow,
        "disk_full": _disk_full, "compact": _compact, "backup": _backup, "restore": _restore,
        "lose_quorum": _lose_quorum, "move_leader": _move_leader,
    }
    return begins[what](ground, armed)


# -- several members ---------------------------------------------------------------------------


def _members(group: Group, armed: Armed) -> Callable[[], None]:
    what = armed.fault.what
    if what == "lose_leader":
        leader = group.leader
        if leader is None:
            raise UsageError(f"faults: {armed.fault!r}: etcd has no leader at this moment")
        chosen = [leader]
    else:
        names = armed.fault.target.args or tuple(group.members)
        chosen: list[MemberProcess] = [group.members[name] for name in names]
    for member in chosen:
        armed.strike(member.name, member=member.name)
        if what == "pause":
            member.process.pause()
        else:
            member.crash()

    def end() -> None:
        for member in chosen:
            if what == "pause":
                member.process.resume()
            else:
                member.start()

    return end


def _lose_quorum(ground: Ground, armed: Armed) -> Callable[[], None]:
    group, network = ground.group, ground.network
    assert group is not None
    hosts = [member.host for member in group.members.values()]
    ways = [(a, b) for a in hosts for b in hosts if a != b]
    armed.strike()
    for way in ways:
        network.cut(*way)

    def end() -> None:
        for way in ways:
            network.heal(*way)

    return end


def _move_leader(ground: Ground, armed: Armed) -> None:
    assert ground.group is not None
    armed.strike()
    ground.group.transfer_leadership(armed.fault.args[0])


# -- requests ----------------------------------------------------------------------------------


def _unavailable(ground: Ground, armed: Armed) -> Callable[[], None]:
    return _each_request(ground, armed, lambda _: _raise(ErrConnectionRefused))


def _time_out(ground: Ground, armed: Armed) -> Callable[[], None]:
    times = armed.fault.option("times")

    def act(_: Any) -> None:
        if times is not None and armed.struck >= times:
            ground.kernel.call_soon(armed.disarm)
        raise ErrTimeout

    return _each_request(ground, armed, act, times)


def _raise(error: type[Exception]) -> None:
    raise error


def _each_request(
    ground: Ground, armed: Armed, act: Callable[[Any], Any], times: int | None = None
) -> Callable[[], None]:
    def consulted(attributes: dict[str, Any]) -> Any:
        if times is not None and armed.struck >= times:
            return None
        armed.seen += 1
        armed.strike("etcd", request=_name(attributes.get("request")))
        return act(attributes)

    return _consulted(ground, POINT, consulted)


def _name(request: Any) -> str:
    return request if isinstance(request, str) else type(request).__name__


def _consulted(
    ground: Ground, point: str, consulted: Callable[[dict[str, Any]], Any]
) -> Callable[[], None]:
    """Arm at a point that a lone member consults only while that is worth it."""
    member, points = ground.member, ground.faultpoints
    disarm = points.arm(point, consulted)
    if ground.group is None:
        def consult(name: str, attributes: dict[str, Any]) -> Any:
            return points.consult(name, **attributes)

        member.consult = consult

    def end() -> None:
        disarm()
        if ground.group is None and not points.armed(POINT):
            member.consult = None

    return end


def _slow(ground: Ground, armed: Armed) -> Callable[[], None]:
    delay_ns = to_ns(armed.fault.args[0])
    members = armed.fault.target.args
    if ground.group is not None:
        def synced(attributes: dict[str, Any]) -> int | None:
            if members and attributes["disk"] not in members:
                return None
            armed.strike(attributes["disk"])
            return delay_ns

        ground.group.wake()
        return ground.faultpoints.arm(DISK, synced)

    def consulted(attributes: dict[str, Any]) -> Any:
        request = attributes.get("request")
        if not isinstance(request, _WRITES):
            return None
        armed.strike("etcd", request=_name(request))
        return ground.kernel.sleep(delay_ns)

    return _consulted(ground, POINT, consulted)


# -- what is stored ----------------------------------------------------------------------------


def _disk_full(ground: Ground, armed: Armed) -> Callable[[], None]:
    from pytest_kubesim.etcd.messages import AlarmRequest

    armed.strike("etcd")
    member, kernel = ground.member, ground.kernel
    kernel.spawn(
        member.alarm(AlarmRequest("ACTIVATE", "NOSPACE")), name="etcd: alarm", eager=True
    )

    def end() -> None:
        kernel.spawn(
            member.alarm(AlarmRequest("DEACTIVATE", "NOSPACE")), name="etcd: alarm", eager=True
        )

    return end


def _compact(ground: Ground, armed: Armed) -> None:
    revision = ground.observed.revision
    armed.strike("etcd", revision=revision)

    async def compact() -> None:
        try:
            await ground.member.compact(CompactionRequest(revision))
        except ErrCompacted:
            pass

    ground.kernel.spawn(compact(), name="etcd: compact", eager=True)


def _backup(ground: Ground, armed: Armed) -> None:
    armed.strike("etcd", revision=ground.observed.revision)
    group = ground.group
    ground.backups[armed.fault.args[0]] = (
        ground.member.snapshot() if group is None else group.snapshot()
    )


def _restore(ground: Ground, armed: Armed) -> None:
    name = armed.fault.args[0]
    if name not in ground.backups:
        raise UsageError(f"faults: there is no backup {name!r} at that moment")
    armed.strike("etcd", revision=ground.observed.revision)
    ground.restart_api_servers(lambda: ground.restore_etcd(ground.backups[name]))
