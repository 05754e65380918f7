"""What the two kinds of webhook configurations have in common: who is called, and how it goes.

The law: a webhook that cannot be called is a `CallFailed`, which its failure policy may ignore; one
that refuses, or whose conditions cannot be evaluated, is an `APIStatus`, which nothing may.

Follows `admission/plugin/webhook/{generic,accessors,validating,mutating}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver import webhook_client
from pytest_kubesim.apiserver.admission import matching, reviews
from pytest_kubesim.apiserver.admission.matching import Match, Versioned

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.admission.chain import Attributes
    from pytest_kubesim.apiserver.admission.reviews import Verdict

DEFAULT_TIMEOUT_SECONDS = 10

GROUP = "admissionregistration.k8s.io"


class CallFailed(Exception):
    """A webhook was called in vain (`ErrCallingWebhook`)."""

    def __init__(self, webhook: str, reason: str) -> None:
        super().__init__(f"failed calling webhook {quote(webhook)}: {reason}")


@attrs.frozen
class Hook:
    """A webhook of a configuration; `uid` tells it from all others."""

    uid: str
    configuration: str
    webhook: Object

    @property
    def name(self) -> str:
        """Its name."""
        found: str = self.webhook["name"]
        return found

    @property
    def ignores_failures(self) -> bool:
        """Whether a call in vain does not matter."""
        return self.webhook.get("failurePolicy") == "Ignore"


def hooks(attributes: Attributes, plural: str) -> Iterator[Hook]:
    """The webhooks of all configurations of a kind, in order of their names."""
    if matching.is_exempt(attributes):
        return
    for configuration in attributes.server.reader.list(GroupResource(GROUP, plural)):
        name = meta.name(configuration)
        counts: dict[str, int] = {}
        for webhook in configuration.get("webhooks") or ():
            count = counts[webhook["name"]] = counts.get(webhook["name"], -1) + 1
            yield Hook(f"{name}/{webhook['name']}/{count}", name, webhook)


def match_of(attributes: Attributes, hook: Hook, obj: Object | None) -> Match | None:
    """How a webhook is to see the request; None if it is not to be called.

    Raises `APIStatus` (403) where its conditions cannot be evaluated.
    """
    webhook = hook.webhook
    try:
        if not matching.selects_namespace(webhook.get("namespaceSelector"), attributes):
            return None
        missing = None
    except APIStatus as error:
        missing = error
    if not matching.selects_object(webhook.get("objectSelector"), obj, attributes.old):
        return None
    policy = webhook.get("matchPolicy") or "Exact"
    match = matching.match(webhook.get("rules") or [], policy, attributes)
    if match is None:
        return None
    if missing is not None:
        raise missing
    if not webhook.get("matchConditions"):
        return match
    # CEL is loaded by the first configuration that has conditions, not by every cluster.
    from pytest_kubesim.apiserver.admission import conditions

    try:
        held = conditions.webhook_conditions_hold(attributes, webhook, match, obj)
    except conditions.ConditionError as error:
        resource = attributes.resource.group_resource
        raise status.new_forbidden(resource, attributes.name, error) from None
    return match if held else None


async def ask(
    attributes: Attributes, hook: Hook, match: Match, obj: Object | None, *, mutating: bool
) -> Verdict:
    """What a webhook says of the request; its warnings and annotations are noted.

    `obj` is in the version that was matched.  Raises `CallFailed` and `APIStatus`.
    """
    webhook = hook.webhook
    effects = webhook.get("sideEffects")
    if attributes.dry_run and effects not in ("None", "NoneOnDryRun"):
        if effects is None:
            raise CallFailed(hook.name, "Webhook SideEffects is nil")
        raise status.new_bad_request(
            f"admission webhook {quote(hook.name)} does not support dry run"
        )
    try:
        version = reviews.version_for(webhook.get("admissionReviewVersions") or ())
    except reviews.InvalidResponse as error:
        reason = f"could not create admission objects: {error}"
        raise CallFailed(hook.name, reason) from None
    server = attributes.server
    uid = server.draw_uid(f"admission/{hook.uid}")
    request = reviews.request_of(attributes, match.kind, match.resource)
    old = await Versioned(attributes).seen(attributes.old, match.kind)
    review = reviews.review_of(version, uid, request, obj, old)
    timeout = webhook.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS
    try:
        answer = await webhook_client.post(
            server, webhook.get("clientConfig") or {}, review, timeout, hook.name
        )
    except (webhook_client.CallError, APIStatus) as error:
        reason = f"failed to call webhook: {webhook_client.text_of(error)}"
        raise CallFailed(hook.name, reason) from None
    given = reviews.version_of(answer)
    if given not in ("", version):
        start = "failed to call webhook: converting"
        into = f"({given}.AdmissionReview) to ({version}.AdmissionReview)"
        raise CallFailed(hook.name, f"{start} {into}: unknown conversion")
    try:
        verdict = reviews.verdict_of(answer, version, uid, mutating=mutating)
    except reviews.InvalidResponse as error:
        reason = f"received invalid webhook response: {error}"
        raise CallFailed(hook.name, reason) from None
    for key, value in verdict.audit.items():
        attributes.scope.audit[f"{hook.name}/{key}"] = value
    for text in verdict.warnings:
        attributes.scope.warn(text)
    if not verdict.allowed:
        raise reviews.denial(hook.name, verdict.result)
    return verdict
