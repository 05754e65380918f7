"""nonewprivs: a setuid program that says who runs it (Kubernetes' test image)."""

from __future__ import annotations

from pytest_kubesim.cri.software.agnhost.small import nonewprivs
from pytest_kubesim.cri.software.rootfs import Software, program

NONEWPRIVS = Software(
    name="nonewprivs",
    entrypoint=("/nnp",),
    programs={"nonewprivs": program(nonewprivs)},
    paths={"nnp": "nonewprivs"},
)
