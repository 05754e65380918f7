"""ValidatingAdmissionWebhook: webhooks that may refuse, all asked at once.

Follows `admission/plugin/webhook/validating/dispatcher.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission import webhooks
from pytest_kubesim.apiserver.admission.chain import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Plugin,
)
from pytest_kubesim.apiserver.admission.matching import Match, Versioned

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.admission.webhooks import Hook

CONFIGURATIONS = "validatingwebhookconfigurations"
FAILED_OPEN = "failed-open.validation.webhook.admission.k8s.io/"


class ValidatingAdmissionWebhook(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, DELETE, CONNECT)
    configured_by = GroupResource(webhooks.GROUP, CONFIGURATIONS)

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Asks all webhooks; the first refusal counts."""
        wanted: list[tuple[Hook, Match]] = []
        for hook in webhooks.hooks(attributes, CONFIGURATIONS):
            match = webhooks.match_of(attributes, hook, obj)
            if match is not None:
                wanted.append((hook, match))
        if not wanted:
            return
        refusals: list[APIStatus] = []

        async def ask(index: int, hook: Hook, match: Match) -> None:
            try:
                shown = await Versioned(attributes).seen(obj, match.kind)
                await webhooks.ask(attributes, hook, match, shown, mutating=False)
            except webhooks.CallFailed as error:
                if hook.ignores_failures:
                    key = f"{FAILED_OPEN}round_0_index_{index}"
                    attributes.scope.audit[key] = hook.name
                else:
                    refusals.append(status.new_internal_error(error))
            except status.APIStatus as error:
                refusals.append(error)

        server = attributes.server
        calls = [ask(index, hook, match) for index, (hook, match) in enumerate(wanted)]
        if len(calls) == 1:
            await calls[0]
        else:
            kernel, process = server.kernel, server.process
            tasks = [
                kernel.spawn(call, name="webhook", process=process, eager=True, daemon=True)
                for call in calls
            ]
            for task in tasks:
                await task
        if refusals:
            raise refusals[0]


PLUGIN = ValidatingAdmissionWebhook()
