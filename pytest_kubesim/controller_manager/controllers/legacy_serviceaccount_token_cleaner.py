"""The cleaner of old tokens: those of service accounts that nobody has used for a year.

The law: once a day; a token that was made by itself (its service account lists it), that no pod
mounts and that was not used for a year is marked as invalid, and deleted a year after that.
Nothing is done before uses have been tracked for a year.

Follows `pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.client_go.resources import CONFIGMAPS, PODS, SECRETS, SERVICEACCOUNTS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DAY_NS = 24 * 3600 * NS
CLEAN_UP_NS = 365 * DAY_NS

TOKEN_TYPE = "kubernetes.io/service-account-token"
NAME_ANNOTATION = "kubernetes.io/service-account.name"
UID_ANNOTATION = "kubernetes.io/service-account.uid"
LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", (
    "kubernetes.io/legacy-token-invalid-since"
)
TRACKED_SINCE = "kube-apiserver-legacy-service-account-token-tracking"


class LegacyServiceAccountTokenCleanerController(Controller):
    """Deletes old tokens."""

    name = "legacy-serviceaccount-token-cleaner-controller"
    service_account = "legacy-service-account-token-cleaner"

    def setup(self) -> None:
        """Read service accounts, secrets and pods."""
        self.period_ns: int = self.context.setting(
            "legacy-service-account-token-clean-up-period", CLEAN_UP_NS
        )
        self.accounts = self.informer(SERVICEACCOUNTS).store
        self.secrets = self.informer(SECRETS).store
        self.pods = self.informer(PODS).store

    async def run(self) -> None:
        """Look once a day."""
        while True:
            try:
                await self._look()
            except RETRIABLE as error:
                self.kernel.journal.record("sync failed", self.name, key="", error=str(error))
            await self.kernel.sleep(DAY_NS, periodic=True)

    async def _look(self) -> None:
        if not any(secret.get("type") == TOKEN_TYPE for secret in self.secrets.list()):
            return
        tracked = await self.client.get(CONFIGMAPS, "kube-system", TRACKED_SINCE)
        since = fields.strings(tracked, "data").get("since", "")
        if not _is_date(since):
            return
        now_ns = self.now_ns()
        if now_ns < timestamps.parse_time(f"{since}T00:00:00Z") + DAY_NS + self.period_ns:
            return
        for secret in self.secrets.list():
            if self._is_old(secret, now_ns - self.period_ns):
                await self._mark_or_delete(secret, now_ns)

    def _is_old(self, secret: Object, before_ns: int) -> bool:
        if secret.get("type") != TOKEN_TYPE or meta.deletion_timestamp(secret):
            return False
        created = meta.creation_timestamp(secret)
        if created is None or timestamps.parse_time(created) >= before_ns:
            return False
        used = meta.labels(secret).get(LAST_USED)
        if used is not None and (not _is_date(used) or used >= _date(before_ns)):
            return False
        annotations, namespace = meta.annotations(secret), meta.namespace(secret)
        account = self.accounts.get_by_name(namespace, annotations.get(NAME_ANNOTATION, ""))
        if account is None or annotations.get(UID_ANNOTATION) not in {None, meta.uid(account)}:
            return False
        name = meta.name(secret)
        return any(
            entry.get("name") == name for entry in fields.objects(account, "secrets")
        ) and not any(name in _mounted(pod) for pod in self.pods.list(namespace))

    async def _mark_or_delete(self, secret: Object, now_ns: int) -> None:
        namespace, name = meta.namespace(secret), meta.name(secret)
        since = meta.labels(secret).get(INVALID_SINCE, "")
        try:
            if not _is_date(since):
                patch = {
                    "metadata": {"uid": meta.uid(secret), "labels": {INVALID_SINCE: _date(now_ns)}}
                }
                await self.client.patch(SECRETS, namespace, name, patch, patch_type="merge")
            elif since < _date(now_ns - self.period_ns):
                await self.client.delete(
                    SECRETS, namespace, name, resource_version=meta.resource_version(secret)
                )
        except RETRIABLE as error:
            # Tomorrow again.
            self.kernel.journal.record(
                "sync failed", self.name, key=meta.key_of(secret), error=str(error)
            )


def _date(time_ns: int) -> str:
    return timestamps.format_time(time_ns)[:10]


def _is_date(text: str) -> bool:
    try:
        timestamps.parse_time(f"{text}T00:00:00Z")
    except ValueError:
        return False
    return True


def _mounted(pod: Object) -> set[str]:
    """The secrets that a pod names."""
    spec = fields.spec(pod)
    found = {entry.get("name", "") for entry in fields.objects(spec, "imagePullSecrets")}
    for volume in fields.objects(spec, "volumes"):
        found.add(fields.text(fields.mapping(volume, "secret"), "secretName"))
        for source in fields.objects(fields.mapping(volume, "projected"), "sources"):
            found.add(fields.text(fields.mapping(source, "secret"), "name"))
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in fields.objects(spec, kind):
            for source in fields.objects(container, "envFrom"):
                found.add(fields.text(fields.mapping(source, "secretRef"), "name"))
            for variable in fields.objects(container, "env"):
                reference = fields.mapping(fields.mapping(variable, "valueFrom"), "secretKeyRef")
                found.add(fields.text(reference, "name"))
    return found


CONTROLLER = LegacyServiceAccountTokenCleanerController
