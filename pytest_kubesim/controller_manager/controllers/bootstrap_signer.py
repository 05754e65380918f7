"""The bootstrap signer: `kube-public/cluster-info` carries a signature by every bootstrap token.

The law: a signature is a detached JWS (HS256, the token's secret as key) over the entry
`kubeconfig`; what no token signs any more is taken away.  Off by default, as upstream.

Follows `pkg/controller/bootstrap/bootstrapsigner.go` and `cluster-bootstrap/token/jws/jws.go`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.client_go.resources import CONFIGMAPS, SECRETS
from pytest_kubesim.controller_manager import bootstrap_tokens, fields
from pytest_kubesim.controller_manager.controller import Controller

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NAMESPACE, NAME = "kube-public", "cluster-info"
SIGNED_KEY = "kubeconfig"
PREFIX = "jws-kubeconfig-"


class BootstrapSignerController(Controller):
    """Signs the ConfigMap that new nodes read first."""

    name = "bootstrap-signer-controller"
    service_account = "bootstrap-signer"

    def setup(self) -> None:
        """Listen to the ConfigMap and to tokens."""
        self.config_maps = self.watch(
            CONFIGMAPS, add=self._config_map, update=lambda _old, new: self._config_map(new)
        )
        self.secrets = self.watch(
            SECRETS,
            add=self._secret,
            update=lambda _old, new: self._secret(new),
            delete=self._secret,
        )

    def _config_map(self, config_map: Object) -> None:
        if (meta.namespace(config_map), meta.name(config_map)) == (NAMESPACE, NAME):
            self.enqueue(config_map)

    def _secret(self, secret: Object) -> None:
        if bootstrap_tokens.is_token(secret):
            self.queue.add(f"{NAMESPACE}/{NAME}")

    async def reconcile(self, key: str) -> None:
        """Sign anew what is not signed right."""
        config_map = self.config_maps.get(key)
        data = fields.strings(config_map or {}, "data")
        content = data.get(SIGNED_KEY)
        if config_map is None or content is None:
            return
        wanted = {k: v for k, v in data.items() if not k.startswith(PREFIX)}
        for token_id, token in self._tokens().items():
            wanted[PREFIX + token_id] = detached_signature(content, token_id, token)
        if wanted == data:
            return
        try:
            await self.client.update(CONFIGMAPS, NAMESPACE, {**config_map, "data": wanted})
        except status.APIStatus as error:
            # Whatever is refused is not tried again: the next change does.
            self.kernel.journal.record("sync failed", self.name, key=key, error=str(error))

    def _tokens(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for secret in self.secrets.list():
            if bootstrap_tokens.is_token(secret):
                token = bootstrap_tokens.for_signing(secret, self.now_ns())
                if token is not None:
                    found.setdefault(*token)
        return found


def detached_signature(content: str, token_id: str, token: str) -> str:
    """The JWS of `content` by a token, with its payload left out."""
    header = _encoded(json_text({"alg": "HS256", "kid": token_id}).encode())
    payload = _encoded(content.encode())
    signed = hmac.new(token.encode(), f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}..{_encoded(signed)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


CONTROLLER = BootstrapSignerController
