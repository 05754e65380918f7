"""`pods/eviction`: a deletion that asks the disruption budgets first.

Follows `pkg/registry/core/pod/storage/eviction.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import labels, meta, status
from pytest_kubesim.apimachinery.managedfields import fieldmanager
from pytest_kubesim.apimachinery.meta import (
    GroupResource,
    GroupVersionKind,
    get_path,
    is_condition_true,
)
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apiserver import decoding, responses
from pytest_kubesim.apiserver.handlers import write
from pytest_kubesim.apiserver.metadata import ensure_namespace
from pytest_kubesim.apiserver.options import field_validation, write_options

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store
    from pytest_kubesim.wire import Response

KIND = GroupVersionKind("policy", "v1", "Eviction")
OLD_KIND = GroupVersionKind("policy", "v1beta1", "Eviction")
BUDGETS = GroupResource("policy", "poddisruptionbudgets")
BUDGET = GroupResource("policy", "poddisruptionbudget")
MAX_DISRUPTED_PODS = 2000
REFUSAL = "Cannot evict pod as it would violate the pod's disruption budget."

_SUCCESS: Object = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}
_TOO_MANY_BUDGETS: Object = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": (
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not "
        "support."
    ),
    "code": 500,
}


async def evict(scope: RequestScope) -> Response:
    """Delete a pod if its budget allows.  Raises `APIStatus` (429 where it does not)."""
    options = write_options(scope, "CreateOptions")
    kind = _kind(scope)
    given = decoding.read_object(scope, kind, schema_for(*KIND), field_validation(options))
    given = {**given, "apiVersion": KIND.api_version}
    given = ensure_namespace(given, scope.namespace)
    name = get_path(given, "metadata", "name") or ""
    if name != scope.name:
        raise status.new_bad_request("name in URL does not match name in Eviction object")
    given = await write.admit(scope, options, given, None, kind=KIND)
    await write.validator(scope, options, kind=KIND)(given, None)
    delete_options = _delete_options(given, options)
    scope.context_for(options, "")
    scope.context.dry_run = bool(delete_options.get("dryRun"))
    store = scope.server.store(scope.served)
    pod = await store.get(scope, scope.name)
    if _needs_no_budget(pod):
        if get_path(pod, "status", "phase") == "Pending" and not _deleting(pod):
            delete_options = _pinned(delete_options, pod, override=False)
        await _mark_and_delete(scope, store, delete_options)
        return responses.written(scope, 201, _SUCCESS)
    budgets = _budgets(scope, pod)
    if len(budgets) > 1:
        return responses.written(scope, 500, _TOO_MANY_BUDGETS)
    if budgets and not await _allowed(scope, pod, budgets[0]):
        delete_options = _pinned(delete_options, pod)
    await _mark_and_delete(scope, store, delete_options)
    return responses.written(scope, 201, _SUCCESS)


def _kind(scope: RequestScope) -> GroupVersionKind:
    """What the body says it is: kubectl of long ago sends `policy/v1beta1`, which is the same."""
    given = scope.request.obj
    if given is not None:
        old = given.get("apiVersion") == OLD_KIND.api_version
    else:
        old = OLD_KIND.api_version.encode() in (scope.request.body or b"")
    return OLD_KIND if old else KIND


def _delete_options(given: Object, options: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict(given.get("deleteOptions") or {})
    if options.get("dryRun") and not found.get("dryRun"):
        found["dryRun"] = options["dryRun"]
    return found


def _needs_no_budget(pod: Object) -> bool:
    phase = get_path(pod, "status", "phase")
    return phase in ("Succeeded", "Failed", "Pending") or _deleting(pod)


def _deleting(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _budgets(scope: RequestScope, pod: Object) -> list[Object]:
    """The budgets that select the pod (`getPodDisruptionBudgets`)."""
    found: list[Object] = []
    pod_labels = meta.labels(pod)
    for budget in scope.server.reader.list(BUDGETS, scope.namespace):
        try:
            selector = labels.from_label_selector(get_path(budget, "spec", "selector"))
        except ValueError:
            continue
        if selector.matches(pod_labels):
            found.append(budget)
    return found


async def _allowed(scope: RequestScope, pod: Object, budget: Object) -> bool:
    """Take one disruption out of the budget.  Raises `APIStatus` (429).

    False: the budget is not concerned, as the pod is unhealthy and may go.
    """
    policy = get_path(budget, "spec", "unhealthyPodEvictionPolicy")
    if not is_condition_true(pod, "Ready"):
        state: Object = budget.get("status") or {}
        healthy = state.get("currentHealthy", 0)
        if policy == "AlwaysAllow" or (
            policy in (None, "IfHealthyBudget")
            and healthy >= state.get("desiredHealthy", 0)
            and state.get("desiredHealthy", 0) > 0
        ):
            return False
    resource = scope.server.catalog.of(*BUDGETS)
    assert resource is not None
    store = scope.server.store(resource)
    key = store.key(scope.namespace, budget["metadata"]["name"])

    async def taken(existing: Object | None) -> Object:
        assert existing is not None
        changed = store.printed(_take(scope, existing), store.resource)
        # The server is its own client here, and is told of as such.
        return fieldmanager.update(
            existing,
            changed,
            schema=resource.schema,
            manager="kube-apiserver",
            api_version=resource.api_version,
            now=scope.context.now,
            subresource="status",
        )

    await store.storage.guaranteed_update(key, taken, dry_run=scope.context.dry_run)
    return True


def _take(scope: RequestScope, budget: Object) -> Object:
    """The budget with one disruption less (`checkAndDecrement`)."""
    name: str = budget["metadata"]["name"]
    state: Object = budget.get("status") or {}
    if state.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused(
            status.new_too_many_requests(REFUSAL, 10),
            f"The disruption budget {name} is still being processed by the server.",
        )
    allowed = state.get("disruptionsAllowed", 0)
    not_now = f"The disruption budget {name} does not allow evicting pods currently"
    if allowed < 0:
        reason = "pdb disruptions allowed is negative"
        raise _refused(status.new_forbidden(BUDGET, name, reason), f"{not_now}: {reason}")
    disrupted: Object = state.get("disruptedPods") or {}
    if len(disrupted) > MAX_DISRUPTED_PODS:
        reason = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise _refused(
            status.new_forbidden(BUDGET, name, reason),
            f"{not_now}: too many pending evictions not confirmed by PDB controller",
        )
    if allowed == 0:
        raise _refused(status.new_too_many_requests(REFUSAL, 0), _why_none(budget, not_now))
    fields: Object = {
        "disruptionsAllowed": allowed - 1,
        "disruptedPods": {**disrupted, scope.name: scope.context.now},
    }
    changed = meta.with_status(budget, **fields)
    if allowed == 1:
        changed = meta.with_condition(
            changed,
            "DisruptionAllowed",
            "False",
            now=scope.context.now,
            reason="InsufficientPods",
            observed_generation=state.get("observedGeneration"),
        )
    return changed


def _refused(error: status.APIStatus, message: str) -> status.APIStatus:
    return error.with_details(causes=[status.cause("DisruptionBudget", message)])


def _why_none(budget: Object, not_now: str) -> str:
    """Why no disruption is allowed; after a failed sync the numbers are not to be trusted."""
    state: Object = budget.get("status") or {}
    condition = meta.condition(budget, "DisruptionAllowed") or {}
    told = condition.get("status") == "False" and condition.get("message")
    if told and condition.get("reason") == "SyncFailed":
        return f"{not_now} because it failed sync: {told}"
    wanted, healthy = state.get("desiredHealthy", 0), state.get("currentHealthy", 0)
    if healthy <= wanted:
        needs = f"The disruption budget {budget['metadata']['name']} needs {wanted} healthy pods"
        return f"{needs} and has {healthy} currently"
    if told:
        return f"{not_now} ({condition.get('reason')}): {told}"
    return not_now


def _pinned(options: dict[str, Any], pod: Object, *, override: bool = True) -> dict[str, Any]:
    """Delete the pod only as it was looked at (`setPreconditionsResourceVersion`)."""
    preconditions = dict(options.get("preconditions") or {})
    if override or not preconditions.get("resourceVersion"):
        preconditions["resourceVersion"] = pod["metadata"]["resourceVersion"]
    return {**options, "preconditions": preconditions}


async def _mark_and_delete(
    scope: RequestScope, store: Store, options: dict[str, Any]
) -> None:
    """Say on the pod why it goes (`DisruptionTarget`), then delete it."""
    if scope.context.dry_run:
        await _delete(scope, store, options)
        return
    preconditions: dict[str, Any] = options.get("preconditions") or {}

    async def marked(existing: Object | None) -> Object:
        if existing is None:
            raise status.new_not_found(store.name, scope.name)
        _check(scope.name, preconditions, existing["metadata"])
        entry: Object = {
            "type": "DisruptionTarget",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": scope.context.now,
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        return store.printed(_with_condition(existing, entry), store.resource)

    key = store.key(scope.namespace, scope.name)
    out = await store.storage.guaranteed_update(key, marked)
    if preconditions.get("resourceVersion"):
        version = out["metadata"]["resourceVersion"]
        options = {**options, "preconditions": {**preconditions, "resourceVersion": version}}
    await _delete(scope, store, options)


def _check(name: str, preconditions: dict[str, Any], found: Object) -> None:
    for field, shown, what in (
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ):
        wanted = preconditions.get(field)
        if wanted and wanted != found[field]:
            raise status.new_conflict(
                GroupResource("", "Pod"),
                name,
                f"the {shown} in the precondition ({wanted}) does not match the {shown} in record "
                f"({found[field]}). The object might have been {what}",
            )


def _with_condition(pod: Object, entry: Object) -> Object:
    """The pod with a condition (`UpdatePodCondition`): in its place, with its time if it holds."""
    before: list[Object] = get_path(pod, "status", "conditions") or []
    for index, old in enumerate(before):
        if old["type"] == entry["type"]:
            if old.get("status") == entry["status"]:
                entry = {**entry, "lastTransitionTime": old.get("lastTransitionTime")}
            conditions = [*before[:index], entry, *before[index + 1 :]]
            return meta.with_status(pod, conditions=conditions)
    return meta.with_status(pod, conditions=[*before, entry])


async def _delete(scope: RequestScope, store: Store, options: dict[str, Any]) -> None:
    await store.delete(scope, scope.name, options, write.delete_validator(scope, options))
