"""The cleaner of bootstrap tokens: a token's Secret is deleted when its time is over.

Off by default, as upstream.

Follows `pkg/controller/bootstrap/tokencleaner.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import SECRETS
from pytest_kubesim.controller_manager import bootstrap_tokens
from pytest_kubesim.controller_manager.controller import Controller, Result

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class TokenCleanerController(Controller):
    """Deletes tokens that have expired."""

    name = "token-cleaner-controller"
    service_account = "token-cleaner"

    def setup(self) -> None:
        """Listen to tokens."""
        self.secrets = self.watch(
            SECRETS, add=self._changed, update=lambda _old, new: self._changed(new)
        )

    def _changed(self, secret: Object) -> None:
        if bootstrap_tokens.is_token(secret):
            self.enqueue(secret)

    async def reconcile(self, key: str) -> Result | None:
        """Delete one token, or come back when it is time."""
        secret = self.secrets.get(key)
        if secret is None or not bootstrap_tokens.is_token(secret):
            return None
        left_ns = bootstrap_tokens.remaining_ns(secret, self.now_ns())
        if left_ns is None:
            return None
        if left_ns:
            return Result(left_ns)
        try:
            await self.client.delete(
                SECRETS, meta.namespace(secret), meta.name(secret), uid=meta.uid(secret)
            )
        except status.APIStatus as error:
            # Whatever is refused is not tried again: the next change of the Secret does.
            self.kernel.journal.record("sync failed", self.name, key=key, error=str(error))
        return None


CONTROLLER = TokenCleanerController
