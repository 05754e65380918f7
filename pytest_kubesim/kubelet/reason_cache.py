"""Why containers could not be started, by pod and name (`pkg/kubelet/reason_cache.go`)."""

from __future__ import annotations


class ReasonCache:
    """`(reason, message)` of the last failed start of each container."""

    def __init__(self) -> None:
        self._reasons: dict[str, dict[str, tuple[str, str]]] = {}

    def get(self, uid: str, name: str) -> tuple[str, str] | None:
        """The reason of a container of a pod, or None."""
        of_pod = self._reasons.get(uid)
        return of_pod.get(name) if of_pod else None

    def put(self, uid: str, name: str, reason: str, message: str) -> None:
        """Remember it."""
        self._reasons.setdefault(uid, {})[name] = (reason, message)

    def remove(self, uid: str, name: str) -> None:
        """It was started."""
        of_pod = self._reasons.get(uid)
        if of_pod:
            of_pod.pop(name, None)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._reasons.pop(uid, None)
