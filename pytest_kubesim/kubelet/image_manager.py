"""Images for containers: pull policies, events, backoff of failed pulls.

Follows `pkg/kubelet/images/{image_manager,puller,types}.go`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.timestamps import format_duration
from pytest_kubesim.cri.images import problem_of, with_tag
from pytest_kubesim.cri.services import Image, RuntimeServiceError
from pytest_kubesim.kubelet.backoff import Backoff
from pytest_kubesim.kubelet.errors import StartError
from pytest_kubesim.kubelet.host import NORMAL, WARNING
from pytest_kubesim.sim.tasks import Future

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host

ERR_IMAGE_PULL = "ErrImagePull"
ERR_IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
ERR_INVALID_IMAGE_NAME = "InvalidImageName"
REGISTRY_UNAVAILABLE, SIGNATURE_INVALID = "RegistryUnavailable", "SignatureValidationFailed"

_MS = 1_000_000


class ImageManager:
    """Brings images to the node for one kubelet."""

    def __init__(self, host: Host) -> None:
        self._host = host
        config = host.config
        self._backoff = Backoff(
            config.image_back_off_initial_ns,
            config.image_back_off_max_ns,
            2 * config.image_back_off_max_ns,
        )
        self._previous: dict[str, str] = {}
        self._pulling = False
        self._waiting: deque[Future[None]] = deque()

    async def ensure_image_exists(self, pod: Object, container: Object) -> Image:
        """The image of a container, pulled if its policy asks for it.

        Raises: `StartError` with the reason and message that the container's status shows.
        """
        requested: str = container.get("image") or ""
        name, runtime = container["name"], self._host.runtime
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        hollow = self._host.config.hollow
        if (wrong := problem_of(requested)) and not hollow:
            message = (
                f'Failed to apply default image tag "{requested}": couldn\'t parse image name '
                f'"{requested}": {wrong}'
            )
            self._event(pod, name, WARNING, "InspectFailed", message)
            raise StartError(ERR_INVALID_IMAGE_NAME, message)
        image = with_tag(requested)
        present = None if policy == "Always" else runtime.image_status(image)
        if present is not None:
            self._event(
                pod, name, NORMAL, "Pulled",
                f'Container image "{requested}" already present on machine and can be accessed by '
                "the pod",
            )
            return present
        if policy == "Never" and not hollow:
            message = f'Container image "{requested}" is not present with pull policy of Never'
            self._event(pod, name, WARNING, ERR_IMAGE_NEVER_PULL, message)
            raise StartError(ERR_IMAGE_NEVER_PULL, message)
        return await self._pull(pod, name, requested, image)

    async def _pull(self, pod: Object, name: str, requested: str, image: str) -> Image:
        host = self._host
        key = f"{pod['metadata']['uid']}_{requested}"
        now_ns = host.now_ns()
        if self._backoff.since_update(key, now_ns):
            message = f'Back-off pulling image "{requested}"'
            self._event(pod, name, NORMAL, "BackOff", message)
            if previous := self._previous.get(key):
                message = f"{message}: {previous}"
            raise StartError(ERR_IMAGE_PULL_BACK_OFF, message)
        self._previous.pop(key, None)
        self._event(pod, name, NORMAL, "Pulling", f'Pulling image "{requested}"')
        await self._turn()
        begun_ns = host.now_ns()
        try:
            found = await host.runtime.pull_image(image)
        except RuntimeServiceError as error:
            reason, message = _evaluate(requested, str(error))
            self._event(
                pod, name, WARNING, "Failed", f'Failed to pull image "{requested}": {error}'
            )
            self._backoff.next(key, host.now_ns(), host.now_ns())
            self._previous[key] = f"{reason}: {message}"
            raise StartError(reason, message) from None
        finally:
            self._done()
        took_ns, waited_ns = host.now_ns() - begun_ns, host.now_ns() - now_ns
        took, waited = (
            format_duration(ns // _MS * _MS) for ns in (took_ns, waited_ns)
        )
        self._event(
            pod, name, NORMAL, "Pulled",
            f'Successfully pulled image "{requested}" in {took} ({waited} including waiting). '
            f"Image size: {found.size} bytes.",
        )
        return found

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._backoff.forget(f"{uid}_")
        for key in [key for key in self._previous if key.startswith(f"{uid}_")]:
            del self._previous[key]

    async def _turn(self) -> None:
        """Pulls are done one after the other (`serializeImagePulls`)."""
        if not self._host.config.serialize_image_pulls:
            return
        if self._pulling:
            gate: Future[None] = Future(self._host.kernel)
            self._waiting.append(gate)
            await gate
        self._pulling = True

    def _done(self) -> None:
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._pulling = False

    def _event(self, pod: Object, name: str, type_: str, reason: str, message: str) -> None:
        self._host.container_event(pod, name, type_, reason, message)


def _evaluate(image: str, problem: str) -> tuple[str, str]:
    for reason, words in (
        (REGISTRY_UNAVAILABLE, "the registry is unavailable"),
        (SIGNATURE_INVALID, "the signature validation failed"),
    ):
        if problem.startswith(reason):
            rest = problem.removeprefix(reason)
            return reason, f"image pull failed for {image} because {words}{rest}"
    return ERR_IMAGE_PULL, problem
