"""How the StatefulSet controller makes, corrects and deletes its pods with their claims.

Follows `pkg/controller/statefulset/stateful_pod_control.go`: a pod's claims come before the pod;
every change is told in an event of the set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import retry, stateful_pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError, WrappedError
from pytest_kubesim.controller_manager.controller_ref_manager import aggregate

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.record import EventRecorder
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.controller_manager.consistency import ConsistencyStore


class StatefulPodControl:
    """The writes of the StatefulSet controller.

    Parameters: `client`, `recorder`; `pods` and `claims`, the informers' stores; `consistency`,
    which is told of every write.
    """

    __slots__ = ("_claims", "_client", "_consistency", "_pods", "_recorder")

    def __init__(
        self,
        client: RESTClient,
        recorder: EventRecorder,
        pods: Store,
        claims: Store,
        consistency: ConsistencyStore,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._pods = pods
        self._claims = claims
        self._consistency = consistency

    async def create(self, stateful_set: Object, pod: Object) -> None:
        """Create a pod, its claims first."""
        try:
            await self._create_claims(stateful_set, pod)
        except RETRIABLE as error:
            self._tell("Create", stateful_set, pod, error)
            raise
        failure: Exception | None = None
        try:
            created = await self._client.create(PODS, meta.namespace(stateful_set), pod)
            self._consistency.wrote(key_of(stateful_set), PODS, created)
        except RETRIABLE as error:
            if status.is_already_exists(error):
                raise
            failure = error
        await self._keep_policy_or_tell(stateful_set, pod)
        self._tell("Create", stateful_set, pod, failure)
        if failure is not None:
            raise failure

    async def update(self, stateful_set: Object, pod: Object) -> None:
        """Put right a pod's identity, storage and claims."""
        current = pod
        attempted = False

        async def attempt() -> None:
            nonlocal current, attempted
            wanted = current
            consistent = True
            try:
                if not stateful_pods.identity_matches(stateful_set, wanted):
                    wanted = stateful_pods.with_identity(stateful_set, wanted)
                    consistent = False
                if not stateful_pods.storage_matches(stateful_set, wanted):
                    wanted = stateful_pods.with_storage(stateful_set, wanted)
                    consistent = False
                    await self._create_claims(stateful_set, wanted)
                if not self.claims_match_policy(stateful_set, wanted):
                    await self.keep_policy(stateful_set, wanted)
                    consistent = False
            except RETRIABLE as error:
                self._tell("Update", stateful_set, wanted, error)
                raise
            if consistent:
                return
            attempted = True
            try:
                updated = await self._client.update(PODS, meta.namespace(stateful_set), wanted)
                self._consistency.wrote(key_of(stateful_set), PODS, updated)
            except RETRIABLE:
                current = self._pods.get(key_of(wanted)) or wanted
                raise

        failure: Exception | None = None
        try:
            await retry.on_conflict(self._client.process, retry.DEFAULT_BACKOFF, attempt)
        except RETRIABLE as error:
            failure = error
        if attempted:
            self._tell("Update", stateful_set, pod, failure)
        if failure is not None:
            raise failure

    async def delete(self, stateful_set: Object, pod: Object) -> None:
        """Delete a pod; one that is gone already is as good."""
        try:
            await self._client.delete(PODS, meta.namespace(pod), meta.name(pod))
        except RETRIABLE as error:
            if not status.is_not_found(error):
                self._tell("Delete", stateful_set, pod, error)
                raise
        self._tell("Delete", stateful_set, pod, None)

    def claims_match_policy(self, stateful_set: Object, pod: Object) -> bool:
        """Whether the owners of the pod's claims are what the retention policy says."""
        return all(
            stateful_pods.is_claim_owner_up_to_date(claim, stateful_set, pod)
            for _, claim in self._existing_claims(stateful_set, pod)
        )

    async def keep_policy(self, stateful_set: Object, pod: Object) -> None:
        """Give the pod's claims the owners that the retention policy says."""
        for name, claim in self._existing_claims(stateful_set, pod):
            if stateful_pods.has_unexpected_controller(claim, stateful_set, pod):
                message = (
                    f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as "
                    "a manging controller, the retention policy is ignored for this claim"
                )
                self._recorder.event(stateful_set, "Warning", "ConflictingController", message)
            if stateful_pods.is_claim_owner_up_to_date(claim, stateful_set, pod):
                continue
            owned = stateful_pods.with_claim_owners(claim, stateful_set, pod)
            try:
                updated = await self._client.update(
                    PERSISTENTVOLUMECLAIMS, meta.namespace(claim), owned
                )
            except RETRIABLE as error:
                raise WrappedError(
                    f"could not update claim {name} for delete policy ownerRefs: {error}", error
                ) from error
            self._consistency.wrote(key_of(stateful_set), PERSISTENTVOLUMECLAIMS, updated)

    async def create_missing_claims(self, stateful_set: Object, pod: Object) -> None:
        """Create what claims a pending pod lacks."""
        await self._create_claims(stateful_set, pod)
        await self._keep_policy_or_tell(stateful_set, pod)

    def claim_is_stale(self, stateful_set: Object, pod: Object) -> bool:
        """Whether a claim still belongs to the pod of that name before."""
        if stateful_pods.retention_policy(stateful_set)[1] == stateful_pods.RETAIN:
            return False
        return any(
            stateful_pods.has_stale_owner(claim, pod, stateful_pods.POD_KIND)
            for _, claim in self._existing_claims(stateful_set, pod)
        )

    # -- inside -------------------------------------------------------------------------------

    def _existing_claims(self, stateful_set: Object, pod: Object) -> list[tuple[str, Object]]:
        ordinal = stateful_pods.ordinal_of(pod)
        found: list[tuple[str, Object]] = []
        for template in stateful_pods.claim_templates(stateful_set):
            name = stateful_pods.claim_name(stateful_set, template, ordinal)
            claim = self._claims.get_by_name(meta.namespace(stateful_set), name)
            if claim is not None:
                found.append((name, claim))
        return found

    async def _keep_policy_or_tell(self, stateful_set: Object, pod: Object) -> None:
        try:
            await self.keep_policy(stateful_set, pod)
        except RETRIABLE as error:
            self._tell("Update", stateful_set, pod, error)
            raise

    async def _create_claims(self, stateful_set: Object, pod: Object) -> None:
        errors: list[Exception] = []
        for claim in stateful_pods.claims_of(stateful_set, pod).values():
            name, namespace = meta.name(claim), meta.namespace(claim)
            existing = self._claims.get_by_name(namespace, name)
            if existing is not None:
                if meta.deletion_timestamp(existing):
                    errors.append(SyncError(f"pvc {name} is being deleted"))
                continue
            try:
                created = await self._client.create(PERSISTENTVOLUMECLAIMS, namespace, claim)
            except RETRIABLE as error:
                errors.append(SyncError(f"failed to create PVC {name}: {error}"))
                if not status.is_already_exists(error):
                    self._tell_claim(stateful_set, pod, claim, error)
                continue
            self._consistency.wrote(key_of(stateful_set), PERSISTENTVOLUMECLAIMS, created)
            self._tell_claim(stateful_set, pod, claim, None)
        if errors:
            raise aggregate(errors)

    def _tell(
        self, verb: str, stateful_set: Object, pod: Object, error: Exception | None
    ) -> None:
        about = f"{verb} Pod {meta.name(pod)} in StatefulSet {meta.name(stateful_set)}"
        if error is None:
            self._recorder.event(
                stateful_set, "Normal", f"Successful{verb}", f"{about} successful"
            )
        else:
            self._recorder.event(
                stateful_set, "Warning", f"Failed{verb}", f"{about} failed error: {error}"
            )

    def _tell_claim(
        self, stateful_set: Object, pod: Object, claim: Object, error: Exception | None
    ) -> None:
        name, owner = meta.name(pod), meta.name(stateful_set)
        if error is None:
            message = f"Create Claim {meta.name(claim)} Pod {name} in StatefulSet {owner} success"
            self._recorder.event(stateful_set, "Normal", "SuccessfulCreate", message)
        else:
            message = (
                f"Create Claim {meta.name(claim)} for Pod {name} in StatefulSet {owner} "
                f"failed error: {error}"
            )
            self._recorder.event(stateful_set, "Warning", "FailedCreate", message)
