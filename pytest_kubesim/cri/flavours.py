"""The three runtimes as data: containerd, CRI-O, and Docker behind cri-dockerd.

What differs between them is what a user sees: version strings, prefixes of container ids, how image
names are spelled, and the text of errors.  Behaviour is `runtime`'s and the same for all.
"""

from __future__ import annotations

import attrs

from pytest_kubesim.errors import UsageError


@attrs.frozen(slots=True)
class Flavour:
    """One container runtime.

    Texts hold `{image}` (as it was asked for, with a tag), `{full}` (with registry and path),
    `{repository}` and `{tag}`.
    """

    name: str
    version: str
    full_image_names: bool
    """Whether status says `docker.io/library/nginx:1` where the pod said `nginx:1`."""
    image_id_prefix: str
    not_found: str
    denied: str
    unreachable: str
    unpack: str
    """How any other failure of a pull is wrapped; holds `{problem}` too."""
    reports_user: bool
    """Whether the status of a container tells the user it runs as."""
    lost_container: tuple[int, str]
    """Exit code and reason of a container that was running when its host went down."""
    start_failure: str
    """What is said of a command that cannot be run; holds `{problem}` in runc's words, or
    `{crun}` in crun's."""
    start_failure_code: int = 128
    start_failure_reason: str = "StartError"
    start_failure_wrap: str = "{problem}"
    """What the kubelet hears of it; holds `{id}` of the container and `{problem}`, the failure."""
    fails_at_creation: bool = False
    """Whether that comes out when a container is made, so that there is none."""
    user_namespaces: bool = True
    socket: str = "run/containerd/containerd.sock"
    """Where it listens on its node."""


CONTAINERD = Flavour(
    name="containerd",
    version="2.2.1",
    full_image_names=True,
    image_id_prefix="",
    not_found=(
        'rpc error: code = NotFound desc = failed to pull and unpack image "{full}": '
        'failed to resolve reference "{full}": {full}: not found'
    ),
    denied=(
        'rpc error: code = Unknown desc = failed to pull and unpack image "{full}": '
        'failed to resolve reference "{full}": pull access denied, repository does not exist or '
        "may require authorization: server message: insufficient_scope: authorization failed"
    ),
    unreachable=(
        'rpc error: code = Unknown desc = failed to pull and unpack image "{full}": '
        'failed to resolve reference "{full}": failed to do request: '
        'Head "https://{registry}/v2/{path}/manifests/{tag}": dial tcp: lookup {registry}: '
        "no such host"
    ),
    unpack=(
        'rpc error: code = Unknown desc = failed to pull and unpack image "{full}": {problem}'
    ),
    reports_user=True,
    lost_container=(255, "Unknown"),
    start_failure=(
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
        "runc create failed: unable to start container process: error during container init: "
        "{problem}"
    ),
)

CRI_O = Flavour(
    name="cri-o",
    socket="run/crio/crio.sock",
    version="1.37.0",
    full_image_names=True,
    image_id_prefix="",
    not_found=(
        "rpc error: code = Unknown desc = unable to pull image or OCI artifact: pull image err: "
        "initializing source docker://{full}: reading manifest {tag} in {repository}: "
        "manifest unknown; artifact err: provided artifact is a container image"
    ),
    denied=(
        "rpc error: code = Unknown desc = unable to pull image or OCI artifact: pull image err: "
        "initializing source docker://{full}: reading manifest {tag} in {repository}: "
        "requested access to the resource is denied; artifact err: provided artifact is a "
        "container image"
    ),
    unreachable=(
        "rpc error: code = Unknown desc = unable to pull image or OCI artifact: pull image err: "
        "initializing source docker://{full}: pinging container registry {registry}: "
        'Get "https://{registry}/v2/": dial tcp: lookup {registry}: no such host'
    ),
    unpack="rpc error: code = Unknown desc = unable to pull image or OCI artifact: {problem}",
    reports_user=True,
    lost_container=(255, "Error"),
    start_failure="container create failed: {crun}",
    fails_at_creation=True,
)

DOCKER = Flavour(
    name="docker",
    socket="run/docker.sock",
    version="29.1.3",
    full_image_names=False,
    image_id_prefix="docker-pullable://",
    not_found=(
        "rpc error: code = Unknown desc = Error response from daemon: manifest for {image} not "
        "found: manifest unknown: manifest unknown"
    ),
    denied=(
        "rpc error: code = Unknown desc = Error response from daemon: pull access denied for "
        "{short}, repository does not exist or may require 'docker login': denied: requested "
        "access to the resource is denied"
    ),
    unreachable=(
        "rpc error: code = Unknown desc = Error response from daemon: "
        'Get "https://{registry}/v2/": dial tcp: lookup {registry}: no such host'
    ),
    unpack="rpc error: code = Unknown desc = Error response from daemon: {problem}",
    reports_user=False,
    lost_container=(255, "Error"),
    start_failure=(
        "failed to create task for container: failed to create shim task: OCI runtime create "
        "failed: runc create failed: unable to start container process: error during container "
        "init: {problem}"
    ),
    start_failure_code=127,
    start_failure_reason="ContainerCannotRun",
    start_failure_wrap=(
        'failed to start container "{id}": Error response from daemon: {problem}'
    ),
    user_namespaces=False,
)

FLAVOURS = {flavour.name: flavour for flavour in (CONTAINERD, CRI_O, DOCKER)}
_ALIASES = {"crio": "cri-o", "cri-dockerd": "docker", "dockerd": "docker"}


def flavour(name: str) -> Flavour:
    """The runtime of that name.

    Raises `UsageError` that lists the known ones.
    """
    found = FLAVOURS.get(_ALIASES.get(name, name))
    if found is None:
        raise UsageError(
            f"No container runtime is called {name!r}.",
            f"Known are {', '.join(sorted(FLAVOURS))}.",
        )
    return found
