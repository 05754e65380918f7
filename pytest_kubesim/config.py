"""What a cluster can be told: the marker's and the factory's options, checked.

Options merge from far to near: the command line's seed, then markers from the module inwards, then
the factory's arguments.  An unknown name or a value that cannot be meant is an error that lists the
right ones.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from typing import Any, cast

import attrs

from pytest_kubesim.errors import ReplayError, UsageError, suggestion

VERSIONS = ("1.37",)
COMPONENTS = ("apiserver", "controllers", "all")
CONTAINER_RUNTIMES = ("containerd", "cri-o", "docker")
DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)


@attrs.frozen(slots=True)
class ClusterConfig:
    """The options of one cluster.

    `nodes`, how many to begin with; `seed` of all randomness; `version` of Kubernetes;
    `control_planes` and `etcd_members`, how many of each; `container_runtime` of nodes that say
    nothing else; `start_time`, an aware datetime; `components`: `"apiserver"` alone, with
    `"controllers"` and scheduler, or `"all"`, kubelets too; `instant`: no simulated latencies;
    `faults` to arm at the beginning: records, as `pytest_kubesim.fault` says them;
    `admission_plugins` that run besides the default ones, by their names (`"NodeRestriction"`),
    or with a minus before it, that don't (`"-ResourceQuota"`); `scheduler_config`, a
    KubeSchedulerConfiguration: a path, YAML text or a dict.
    """

    nodes: int = 0
    seed: int = 0
    version: str = "1.37"
    control_planes: int = 1
    etcd_members: int = 1
    container_runtime: str = "containerd"
    start_time: datetime = DEFAULT_START
    components: str = "all"
    instant: bool = False
    faults: tuple[Any, ...] = ()
    admission_plugins: tuple[str, ...] = ()
    scheduler_config: Any = None


OPTIONS = tuple(field.name for field in attrs.fields(ClusterConfig))


def merge(base: ClusterConfig, options: Mapping[str, Any], where: str) -> ClusterConfig:
    """`base` with `options` in it; `where` is named in errors (`@pytest.mark.kubesim`).

    Raises: `UsageError` for an unknown option or an impossible value.
    """
    for name in options:
        if name not in OPTIONS:
            raise UsageError(
                f"{where}: unknown option {name!r};",
                f"{suggestion(name, OPTIONS)}the options are {', '.join(OPTIONS)}",
            )
    if "faults" in options:
        options = {**options, "faults": (*base.faults, *_faults(where, options["faults"]))}
    if "admission_plugins" in options:
        plugins = _plugins(where, options["admission_plugins"])
        options = {**options, "admission_plugins": (*base.admission_plugins, *plugins)}
    if not isinstance(options.get("scheduler_config"), str | PathLike | Mapping | None):
        raise UsageError(
            f"{where}: scheduler_config={options['scheduler_config']!r}: give a path, YAML text "
            "or a dict with a KubeSchedulerConfiguration"
        )
    config = attrs.evolve(base, **options)
    _whole(where, "nodes", config.nodes, 0, 10_000)
    _whole(where, "control_planes", config.control_planes, 1, 9)
    _whole(where, "etcd_members", config.etcd_members, 1, 9)
    if not isinstance(config.seed, int) or isinstance(config.seed, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{where}: seed={config.seed!r}: a seed is a whole number")
    _one_of(where, "version", config.version, VERSIONS)
    _one_of(where, "components", config.components, COMPONENTS)
    _one_of(where, "container_runtime", config.container_runtime, CONTAINER_RUNTIMES)
    if not isinstance(config.start_time, datetime) or config.start_time.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"{where}: start_time={config.start_time!r}: give an aware datetime, such as "
            "datetime(2026, 1, 1, tzinfo=UTC)"
        )
    return config


def _faults(where: str, faults: Any) -> tuple[Any, ...]:
    """Records of faults; anything else is an error."""
    from pytest_kubesim.faults import wording
    from pytest_kubesim.faults.fault import Fault

    several = isinstance(faults, list | tuple)
    given: tuple[Any, ...] = tuple(cast("Sequence[Any]", faults)) if several else (faults,)
    for each in given:
        if isinstance(each, wording.Vocabulary) and not isinstance(each, Fault):
            raise UsageError(
                f"{where}: faults={each!r}: say what happens to it:", wording.offers(each)
            )
        if not isinstance(each, Fault):
            raise UsageError(
                f"{where}: faults={each!r}: give a list of faults, said with the words of "
                "pytest_kubesim.fault: fault.node('node-1').crash(at='5m')"
            )
    return given


def switched(plugins: Sequence[str]) -> tuple[list[str], list[str]]:
    """The admission plugins that are switched on, and those that are switched off."""
    on = [name for name in plugins if not name.startswith("-")]
    return on, [name[1:] for name in plugins if name.startswith("-")]


def _plugins(where: str, plugins: Any) -> tuple[str, ...]:
    """Names of admission plugins; anything else is an error."""
    from pytest_kubesim.apiserver.admission import chain

    if isinstance(plugins, str):
        plugins = plugins.split(",")
    if not isinstance(plugins, list | tuple) or not all(
        isinstance(name, str) for name in cast("Sequence[Any]", plugins)
    ):
        raise UsageError(
            f"{where}: admission_plugins={plugins!r}: give a list of names, such as "
            "['NodeRestriction', '-ResourceQuota']"
        )
    names = tuple(name.strip() for name in cast("Sequence[str]", plugins))
    try:
        chain.chosen(*switched(names))
    except ValueError as error:
        raise UsageError(f"{where}: admission_plugins: {error}") from None
    return names


def _whole(where: str, name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{where}: {name}={value!r}: give a whole number from {least} to {most}")


def _one_of(where: str, name: str, value: Any, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UsageError(f"{where}: {name}={value!r}: the valid values are {', '.join(valid)}")


@attrs.frozen(slots=True)
class Replay:
    """What a replay token holds.

    `seed`; `digest`, the first digits of the journal's; `schedule`, the faults that were drawn at
    random, as JSON.
    """

    seed: int
    digest: str
    schedule: tuple[dict[str, Any], ...] = ()


_TOKEN = re.compile(r"k1-(-?\d+)-([0-9a-f]{12})(?:-([0-9A-Za-z._]+))?-([0-9a-f]{4})")


def replay_token(seed: int, digest: str, schedule: Sequence[Mapping[str, Any]] = ()) -> str:
    """The token that brings a run back: seed, where it led, and a check against typing errors.

    Parameters: `schedule`, the faults that were drawn at random, as JSON: they are packed into it.
    """
    body = f"k1-{seed}-{digest[:12]}"
    if schedule:
        packed = zlib.compress(json.dumps(list(schedule), separators=(",", ":")).encode(), 9)
        body += "-" + base64.b64encode(packed, b"._").decode().rstrip("=")
    return f"{body}-{zlib.crc32(body.encode()) & 0xFFFF:04x}"


def _unpacked(text: str) -> tuple[dict[str, Any], ...]:
    padded = text + "=" * (-len(text) % 4)
    return tuple(json.loads(zlib.decompress(base64.b64decode(padded, b"._"))))


def parse_replay_token(token: str) -> Replay:
    """What `token` holds.

    Raises: `ReplayError` for what `replay_token` has not made.
    """
    found = _TOKEN.fullmatch(token.strip())
    body, _, check = token.strip().rpartition("-")
    if found is None or f"{zlib.crc32(body.encode()) & 0xFFFF:04x}" != check:
        raise ReplayError(
            f"--kubesim-replay {token!r} is not a replay token (or part of one is missing); copy "
            "it whole from the failure's output: it looks like k1-7-0123456789ab-cdef"
        )
    return Replay(int(found[1]), found[2], _unpacked(found[3]) if found[3] else ())
