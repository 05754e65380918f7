"""What a checker has found: a law and how it was broken."""

from __future__ import annotations

import attrs

from pytest_kubesim.errors import KubesimError


@attrs.frozen(slots=True)
class Violation:
    """`law` is broken; `what` says by whom and how."""

    law: str
    what: str

    def __str__(self) -> str:
        return f"{self.law}: {self.what}"


class LawBroken(KubesimError):
    """Something happened that cannot happen in Kubernetes: a defect of pytest-kubesim."""

    def __init__(self, violations: list[Violation]) -> None:
        shown = "\n".join(f"  {violation}" for violation in violations[:20])
        super().__init__(
            f"this cannot happen in Kubernetes, it is a defect of pytest-kubesim:\n{shown}\n",
            "Please report it with the seed and the journal (--kubesim-journal FILE).",
        )
