"""As whom a container runs, and whether it may.

Follows `pkg/kubelet/kuberuntime/{security_context,security_context_others}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.kubelet.errors import StartError
from pytest_kubesim.kubelet.host import full_name

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


def check_non_root(
    pod: Object, container: Object, context: dict[str, Any], image_user: int | None
) -> None:
    """`verifyRunAsNonRoot`; `image_user` is None for images of which nothing is known."""
    if not context.get("runAsNonRoot"):
        return
    wanted = context.get("runAsUser")
    if wanted == 0:
        problem = "container's runAsUser breaks non-root policy"
    elif wanted is None and image_user == 0:
        problem = "container has runAsNonRoot and image will run as root"
    else:
        return
    where = f'(pod: "{full_name(pod)}", container: {container["name"]})'
    raise StartError("CreateContainerConfigError", f"{problem} {where}")


def user_of(context: dict[str, Any], default: int) -> tuple[int, int, tuple[int, ...]]:
    """User, group and supplemental groups; `default` is the image's user."""
    uid = context.get("runAsUser")
    uid = default if uid is None else uid
    gid = context.get("runAsGroup") or 0
    groups = {gid, *(context.get("supplementalGroups") or ())}
    if (fs_group := context.get("fsGroup")) is not None:
        groups.add(fs_group)
    return uid, gid, tuple(sorted(groups))
