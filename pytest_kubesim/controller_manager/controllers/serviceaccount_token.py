"""The token controller: secrets that are to hold a service account's token get one.

The law: such a secret lives as long as the service account that it names, under the same UID; a
service account's list of secrets loses those that are gone.

The setting `service-account-signer` makes a token of claims, `root-ca-file` is the certificate that
goes with it (PEM text); without a signer nothing is filled, as upstream without a key.

Follows `pkg/controller/serviceaccount/tokens_controller.go`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import SECRETS, SERVICEACCOUNTS
from pytest_kubesim.controller_manager import fields, root_ca
from pytest_kubesim.controller_manager.controller import Controller
from pytest_kubesim.controller_manager.retry import DEFAULT_RETRY, on_conflict

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

TOKEN_TYPE = "kubernetes.io/service-account-token"
NAME_ANNOTATION = "kubernetes.io/service-account.name"
UID_ANNOTATION = "kubernetes.io/service-account.uid"
ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount/"

Signer = Callable[["Object"], str]


class ServiceAccountTokenController(Controller):
    """Fills secrets with tokens."""

    name = "serviceaccount-token-controller"
    service_account = "service-account-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-serviceaccount-token-syncs"
    max_retries: ClassVar[int | None] = 10

    def setup(self) -> None:
        """Listen to service accounts and to secrets for tokens.

        It comes before every other controller, and so it has no service account of its own.
        """
        self.client = self.context.client
        self.signer: Signer | None = self.context.setting("service-account-signer", None)
        self.root_ca: str = self.context.setting("root-ca-file", root_ca.PLACEHOLDER)
        self.accounts = self.watch(SERVICEACCOUNTS, delete=self._account_deleted)
        self.secrets = self.watch(
            SECRETS, add=self._secret, update=self._secret_updated, delete=self._secret_deleted
        )

    def _secret(self, secret: Object) -> None:
        if secret.get("type") == TOKEN_TYPE:
            self.queue.add(_key("secret", secret, _account_of(secret)))

    def _secret_updated(self, _old: Object, secret: Object) -> None:
        self._secret(secret)

    def _secret_deleted(self, secret: Object) -> None:
        if secret.get("type") == TOKEN_TYPE:
            self.queue.add(_key("gone", secret, _account_of(secret)))

    def _account_deleted(self, account: Object) -> None:
        self.queue.add(_key("account", account, ""))

    async def reconcile(self, key: str) -> None:
        """Sync one secret, or the secrets of a service account that is gone."""
        what, namespace, name, uid, account = key.split("|")
        if what == "account":
            await self._delete_tokens(namespace, name, uid)
        elif what == "gone":
            await self._remove_reference(namespace, account, name)
        else:
            secret = self.secrets.get_by_name(namespace, name)
            if secret is not None and meta.uid(secret) == uid and account:
                await self._sync(secret, namespace, account)

    async def _sync(self, secret: Object, namespace: str, name: str) -> None:
        wanted_uid = meta.annotations(secret).get(UID_ANNOTATION)
        account = self.accounts.get_by_name(namespace, name)
        if account is None or (wanted_uid and meta.uid(account) != wanted_uid):
            account = await self._live_account(namespace, name)
        if account is None or (wanted_uid and meta.uid(account) != wanted_uid):
            await self._delete(secret)
        elif self.signer is not None:
            await self._fill(secret, account, self.signer)

    async def _live_account(self, namespace: str, name: str) -> Object | None:
        try:
            return await self.client.get(SERVICEACCOUNTS, namespace, name)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return None
            raise

    async def _delete(self, secret: Object) -> None:
        try:
            await self.client.delete(
                SECRETS, meta.namespace(secret), meta.name(secret), uid=meta.uid(secret)
            )
        except status.APIStatus as error:
            if not status.is_not_found(error) and not status.is_conflict(error):
                raise

    async def _delete_tokens(self, namespace: str, name: str, uid: str) -> None:
        present = self.accounts.get_by_name(namespace, name)
        if present is not None and meta.uid(present) == uid:
            return
        for secret in self.secrets.list(namespace):
            annotations = meta.annotations(secret)
            if (
                secret.get("type") == TOKEN_TYPE
                and annotations.get(NAME_ANNOTATION) == name
                and annotations.get(UID_ANNOTATION, uid) == uid
            ):
                await self._delete(secret)

    async def _fill(self, secret: Object, account: Object, signer: Signer) -> None:
        if not self._lacks(secret):
            return
        namespace, name = meta.namespace(secret), meta.name(secret)
        try:
            live = await self.client.get(SECRETS, namespace, name)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return
            raise
        lacking = self._lacks(live)
        if meta.resource_version(live) != meta.resource_version(secret) or not lacking:
            return
        data = dict(fields.strings(live, "data"))
        if "ca.crt" in lacking:
            data["ca.crt"] = _encoded(self.root_ca)
        if "namespace" in lacking:
            data["namespace"] = _encoded(namespace)
        if "token" in lacking:
            data["token"] = _encoded(signer(_claims(account, live)))
        annotations = {
            **meta.annotations(live),
            NAME_ANNOTATION: meta.name(account),
            UID_ANNOTATION: meta.uid(account),
        }
        new = meta.with_metadata({**live, "data": data}, annotations=annotations)
        try:
            await self.client.update(SECRETS, namespace, new)
        except status.APIStatus as error:
            if not status.is_conflict(error) and not status.is_not_found(error):
                raise

    def _lacks(self, secret: Object) -> set[str]:
        data = fields.strings(secret, "data")
        lacking = {name for name in ("namespace", "token") if not data.get(name)}
        if self.root_ca and data.get("ca.crt") != _encoded(self.root_ca):
            lacking.add("ca.crt")
        return lacking

    async def _remove_reference(self, namespace: str, name: str, secret: str) -> None:
        account = self.accounts.get_by_name(namespace, name)
        if account is None:
            return

        async def attempt() -> None:
            live = await self._live_account(namespace, name)
            if live is None:
                return
            kept = [entry for entry in fields.objects(live, "secrets") if entry["name"] != secret]
            if len(kept) < len(fields.objects(live, "secrets")):
                await self.client.update(SERVICEACCOUNTS, namespace, {**live, "secrets": kept})

        await on_conflict(self.process, DEFAULT_RETRY, attempt)


def _key(what: str, obj: Object, account: str) -> str:
    return "|".join((what, meta.namespace(obj), meta.name(obj), meta.uid(obj), account))


def _account_of(secret: Object) -> str:
    return meta.annotations(secret).get(NAME_ANNOTATION, "")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _claims(account: Object, secret: Object) -> Object:
    """What the token says (`LegacyClaims`)."""
    namespace, name = meta.namespace(account), meta.name(account)
    return {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{namespace}:{name}",
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": meta.name(secret),
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": meta.uid(account),
    }


CONTROLLER = ServiceAccountTokenController
