"""MutatingAdmissionWebhook: webhooks that change objects, one after the other.

The law: each is given what the one before made of the object.  Where an object was changed after a
webhook with `reinvocationPolicy: IfNeeded` had seen it, that one is called once more, in a second
round of all mutating plugins.

Follows `admission/plugin/webhook/mutating/{dispatcher,reinvocationcontext}.go`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import jsonpatch, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import json_syntax, patience
from pytest_kubesim.apiserver.admission import patching, webhooks
from pytest_kubesim.apiserver.admission.chain import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Plugin,
)
from pytest_kubesim.apiserver.admission.matching import Versioned
from pytest_kubesim.apiserver.admission.rounds import Rounds

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object
    from pytest_kubesim.apiserver.admission.matching import Match
    from pytest_kubesim.apiserver.admission.webhooks import Hook

NAME = "MutatingAdmissionWebhook"
CONFIGURATIONS = "mutatingwebhookconfigurations"
PATCH_ANNOTATION = "patch.webhook.admission.k8s.io/"
MUTATION_ANNOTATION = "mutation.webhook.admission.k8s.io/"
FAILED_OPEN = f"failed-open.{MUTATION_ANNOTATION}"


class MutatingAdmissionWebhook(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, DELETE, CONNECT)
    configured_by = GroupResource(webhooks.GROUP, CONFIGURATIONS)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """What the webhooks make of the object."""
        hooks = list(webhooks.hooks(attributes, CONFIGURATIONS))
        if not hooks:
            return obj
        reinvocation = attributes.reinvocation
        rounds: Rounds = reinvocation.values.setdefault(NAME, Rounds())
        again = reinvocation.is_reinvoke
        if again and rounds.output != obj:
            rounds.changed()
        for index, hook in enumerate(hooks):
            match = webhooks.match_of(attributes, hook, obj)
            if match is None or (again and hook.uid not in rounds.again):
                continue
            note = f"round_{int(again)}_index_{index}"
            changed, obj = await _call(attributes, hook, match, obj, note)
            if changed:
                rounds.changed()
                reinvocation.should_reinvoke = True
            if hook.webhook.get("reinvocationPolicy") == "IfNeeded":
                rounds.called[hook.uid] = None
        rounds.output = obj
        return obj


async def _call(
    attributes: Attributes, hook: Hook, match: Match, obj: Object | None, note: str
) -> tuple[bool, Object | None]:
    """Whether a webhook changed the object, and what it made of it.  Raises `APIStatus`."""
    audit = attributes.scope.audit
    versioned = Versioned(attributes)
    shown = await versioned.seen(obj, match.kind)
    changed = False
    try:
        verdict = await webhooks.ask(attributes, hook, match, shown, mutating=True)
        patch = _patch(hook, verdict.patch, verdict.patch_type)
        if patch:
            if shown is None:
                raise status.new_internal_error(
                    f"admission webhook {quote(hook.name)} attempted to modify the object, which "
                    "is not supported for this operation"
                )
            new = _patched(attributes, shown, patch, match.kind)
            changed = new != shown
            audit[f"{PATCH_ANNOTATION}{note}"] = _noted(hook, patch=patch, patchType="JSONPatch")
            if changed:
                obj = await patience.patiently(lambda: versioned.kept(new, match.kind))
    except webhooks.CallFailed as error:
        if not hook.ignores_failures:
            raise status.new_internal_error(error) from None
        audit[f"{FAILED_OPEN}{note}"] = hook.name
    finally:
        audit[f"{MUTATION_ANNOTATION}{note}"] = _noted(hook, mutated=changed)
    return changed, obj


def _noted(hook: Hook, **more: Any) -> str:
    noted = {"configuration": hook.configuration, "webhook": hook.name, **more}
    return json.dumps(noted, separators=(",", ":"))


def _patch(hook: Hook, patch: bytes, patch_type: str) -> list[dict[str, Any]]:
    """The operations of a patch.  Raises `CallFailed`."""
    if not patch:
        return []
    try:
        operations = jsonpatch.decode(json_syntax.loads(patch))
    except ValueError as error:
        reason = f"received undecodable patch in webhook response: {error}"
        raise webhooks.CallFailed(hook.name, reason) from None
    if operations and patch_type != "JSONPatch":
        raise webhooks.CallFailed(hook.name, f"unsupported patch type {quote(patch_type)}")
    return operations


def _patched(
    attributes: Attributes, obj: Object, patch: list[dict[str, Any]], kind: GroupVersionKind
) -> Object:
    """The object with a patch applied, decoded anew.  Raises `APIStatus` (500)."""
    try:
        patched: Any = jsonpatch.apply(obj, patch)
    except jsonpatch.JSONPatchError as error:
        raise status.new_internal_error(error) from None
    return patching.decoded(attributes, patched, kind)


PLUGIN = MutatingAdmissionWebhook()
