"""The storage version migrator: every object of a resource is written once more, as it is.

The law: of the migrations of one resource the oldest runs, the others wait.  It first learns a
resource version, then patches what is not newer with nothing but its own version; an object that
has changed or gone meanwhile needs no migration.  For a custom resource the definition says so, and
at the end its `storedVersions` are what it stores now.

Three loops as upstream: `run` (one key for a resource), `version` and `migrate` (one for a
migration).

Follows `pkg/controller/storageversionmigrator/{migrationrunner,resourceversion,
storageversionmigrator}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.discovery import APIResource, preferred, server_resources
from pytest_kubesim.client_go.resources import CUSTOMRESOURCEDEFINITIONS, STORAGEVERSIONMIGRATIONS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller, SyncError
from pytest_kubesim.controller_manager.retry import DEFAULT_RETRY, on_conflict
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pytest_kubesim.apimachinery.meta import Object

    _Tell: TypeAlias = Callable[[Object], tuple[str, str, str, bool]]

RUNNING, FAILED, SUCCEEDED = "Running", "Failed", "Succeeded"
RUNNING_REASON = "MigrationRunning"
SUCCEEDED_REASON = "StorageVersionMigrationSucceeded"
FAILED_REASON = "StorageVersionMigrationFailed"
STORAGE_MIGRATING = "StorageMigrating"
RUNNER = "migration-runner-controller"
NO_NAMESPACE = "@fake:svm_ns!"
"""No namespace has such a name: a list of it is empty and has the newest version."""
VERBS = ("update", "patch", "list")
PATIENCE_NS = 60 * NS
"""How long a resource may be unknown: discovery is asked again every half a minute."""


class StorageVersionMigratorController(Controller):
    """Migrates."""

    name = "storage-version-migrator-controller"
    service_account = "storage-version-migrator-controller"
    workers = 5

    def setup(self) -> None:
        """Listen to migrations."""
        self.migrations = self.watch(
            STORAGEVERSIONMIGRATIONS,
            add=self._changed,
            update=lambda _old, new: self._changed(new),
            delete=self._changed,
        )

    def _changed(self, migration: Object) -> None:
        name = meta.name(migration)
        self.queue.add("run " + "/".join(_group_resource(migration)))
        self.queue.add(f"version {name}")
        self.queue.add(f"migrate {name}")

    async def reconcile(self, key: str) -> None:
        """One step of one of the loops."""
        loop, _, name = key.partition(" ")
        if loop == "run":
            await self._run_resource(*name.split("/"))
            return
        migration = self.migrations.get(name)
        if migration is None or _is(migration, SUCCEEDED) or _is(migration, FAILED):
            return
        if loop == "version":
            await self._learn_version(migration)
        else:
            await self._migrate(migration)

    async def _write(self, migration: Object) -> None:
        await self.client.update(STORAGEVERSIONMIGRATIONS, "", migration, subresource="status")

    # -- which one runs -----------------------------------------------------------------------

    async def _run_resource(self, group: str, resource: str) -> None:
        of_it = [m for m in self.migrations.list() if _group_resource(m) == (group, resource)]
        running = [m for m in of_it if _is(m, RUNNING)]
        done = [m for m in of_it if _is(m, SUCCEEDED) or _is(m, FAILED)]
        for migration in running:
            if migration in done:
                await self._clean_up(migration)
        if any(migration not in done for migration in running):
            return
        waiting = [m for m in of_it if m not in running and m not in done]
        if waiting:
            oldest = min(waiting, key=lambda m: (meta.creation_timestamp(m) or "", meta.name(m)))
            await self._promote(oldest)

    async def _promote(self, migration: Object) -> None:
        message = f"Migration {meta.name(migration)} is running"
        await self._tell_definition(
            migration, lambda _definition: ("True", RUNNING_REASON, message, False)
        )
        new = self._set(migration, RUNNING, RUNNING_REASON, running_message(0, 0))
        await self._write(new)

    async def _clean_up(self, migration: Object) -> None:
        succeeded = _is(migration, SUCCEEDED)

        def end(definition: Object) -> tuple[str, str, str, bool]:
            if not succeeded:
                same = _observed(definition)
                return "False", "MigrationFailed", "The migration has failed", same
            message = "The migration has succeeded"
            if _observed(definition):
                message += " and the stored versions have been updated"
            else:
                message += (
                    " but the stored versions have not been updated due to a generation mismatch"
                )
            return "False", "MigrationSucceeded", message, _observed(definition)

        await self._tell_definition(migration, end)
        new = meta.with_condition(
            migration, RUNNING, "False", now=self.now(), reason="MigrationCompleted",
            message="Migration completed", observed_generation=meta.generation(migration),
        )
        await self._write(new)

    async def _tell_definition(self, migration: Object, tell: _Tell) -> None:
        """Say in a custom resource's definition how its migration stands."""
        group, resource = _group_resource(migration)
        name = f"{resource}.{group}"

        async def attempt() -> None:
            definition = await self.client.get(CUSTOMRESOURCEDEFINITIONS, "", name)
            state, reason, message, stored = tell(definition)
            condition = {
                "type": STORAGE_MIGRATING,
                "status": state,
                "lastTransitionTime": self.now(),
                "reason": reason,
                "message": message,
                "observedGeneration": meta.generation(definition),
            }
            new: Object = {"conditions": [condition]}
            if stored:
                versions = fields.objects(fields.spec(definition), "versions")
                new["storedVersions"] = [v["name"] for v in versions if v.get("storage")]
            applied = {
                "kind": "CustomResourceDefinition",
                "apiVersion": CUSTOMRESOURCEDEFINITIONS.api_version,
                "metadata": {
                    "name": name, "resourceVersion": meta.resource_version(definition),
                },
                "status": new,
            }
            await self.client.patch(
                CUSTOMRESOURCEDEFINITIONS, "", name, applied, patch_type="apply",
                subresource="status", field_manager=RUNNER, force=True,
            )

        try:
            await on_conflict(self.process, DEFAULT_RETRY, attempt)
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise

    # -- from which version on ----------------------------------------------------------------

    async def _learn_version(self, migration: Object) -> None:
        if not _is(migration, RUNNING) or fields.status(migration).get("resourceVersion"):
            return
        resource = await self._resource_of(migration)
        if resource is None:
            if self._is_young(migration):
                raise SyncError(
                    "resource does not exist in our rest mapper, requeuing to attempt again"
                )
            await self._fail(migration, "resource does not exist in discovery")
            return
        if not resource.supports(*VERBS):
            gvr = resource.gvr
            shown = f"{gvr.group}/{gvr.version}, Resource={gvr.resource}"
            await self._fail(
                migration,
                f'resource "{shown}" does not support discovery operations: '
                f"[{' '.join(VERBS)}]",
            )
            return
        namespace = NO_NAMESPACE if resource.namespaced else ""
        listed = await self.client.list(resource.gvr, namespace, limit=1)
        version = listed["metadata"]["resourceVersion"]
        await self._write(meta.with_status(migration, resourceVersion=version))

    async def _resource_of(self, migration: Object) -> APIResource | None:
        wanted = _group_resource(migration)
        for resource in preferred(await server_resources(self.client)):
            if (resource.gvr.group, resource.gvr.resource) == wanted:
                return resource
        return None

    def _is_young(self, migration: Object) -> bool:
        made_ns = timestamps.parse_time(meta.creation_timestamp(migration) or "")
        return made_ns + PATIENCE_NS > self.now_ns()

    async def _fail(self, migration: Object, message: str) -> None:
        await self._write(self._set(migration, FAILED, FAILED_REASON, message))

    def _set(self, migration: Object, type_: str, reason: str, message: str) -> Object:
        return meta.with_condition(
            migration, type_, "True", now=self.now(), reason=reason, message=message
        )

    # -- the migration itself -----------------------------------------------------------------

    async def _migrate(self, migration: Object) -> None:
        version = fields.text(fields.status(migration), "resourceVersion")
        if not version:
            return
        resource = await self._resource_of(migration)
        if resource is None:
            if self._is_young(migration):
                raise SyncError(
                    "resource does not exist in rest mapper, requeuing to attempt again"
                )
            await self._stop(migration, "unable to obtain GVR from discovery", None)
            return
        found = fields.objects(await self.client.list(resource.gvr), "items")
        old = [obj for obj in found if int(meta.resource_version(obj)) <= int(version)]
        for done, obj in enumerate(old):
            counts = (len(old) - done, len(found))
            try:
                await self._touch(resource, obj)
            except ConnectionLost as error:
                await self._hesitate(migration, counts, error)
                raise
            except status.APIStatus as error:
                if status.is_conflict(error) or status.is_not_found(error):
                    continue
                if _is_transient(error):
                    await self._hesitate(migration, counts, error)
                    raise
                await self._stop(migration, str(error), counts)
                return
        message = running_message(0, len(found))
        new = self._set(migration, RUNNING, RUNNING_REASON, message)
        new = self._set(new, SUCCEEDED, SUCCEEDED_REASON, "Migration completed")
        await self._write(new)

    async def _touch(self, resource: APIResource, obj: Object) -> None:
        """Change nothing: the server stores the object in the version that it stores now."""
        patch = {
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": meta.resource_version(obj)},
        }
        await self.client.patch(
            resource.gvr, meta.namespace(obj), meta.name(obj), patch, patch_type="merge",
            field_manager=self.name,
        )

    async def _hesitate(
        self, migration: Object, counts: tuple[int, int], error: Exception
    ) -> None:
        message = running_message(*counts, str(error))
        new = self._set(migration, RUNNING, RUNNING_REASON, message)
        if new is not migration:
            await self._write(new)

    async def _stop(
        self, migration: Object, why: str, counts: tuple[int, int] | None
    ) -> None:
        message = f"migration encountered unhandled error: {why}"
        new = migration
        if counts is not None:
            left, total = counts
            message = f"{left}/{total} not yet migrated. {message}"
            new = self._set(new, RUNNING, RUNNING_REASON, running_message(left, total))
        await self._fail(new, message)


def running_message(left: int, total: int, transient: str = "") -> str:
    """How a migration goes (`migrationRunningMessage`): `left` of `total` are still to be done."""
    message = "The migration is running"
    if total and left:
        message += f", {left}/{total} objects not yet migrated"
    elif total:
        message += f", {total} objects verified migrated"
    return f"{message}; transient error: {transient}" if transient else message


def _group_resource(migration: Object) -> tuple[str, str]:
    resource = fields.mapping(fields.spec(migration), "resource")
    return fields.text(resource, "group"), fields.text(resource, "resource")


def _is(migration: Object, type_: str) -> bool:
    return meta.is_condition_true(migration, type_)


def _observed(definition: Object) -> bool:
    """Whether the definition is what it was when the migration began."""
    condition = meta.condition(definition, STORAGE_MIGRATING) or {}
    return condition.get("observedGeneration") == meta.generation(definition)


def _is_transient(error: status.APIStatus) -> bool:
    return (
        status.is_server_timeout(error)
        or status.is_too_many_requests(error)
        or status.is_service_unavailable(error)
        or status.is_internal_error(error)
        or status.is_timeout(error)
    )


CONTROLLER = StorageVersionMigratorController
