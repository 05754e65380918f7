"""MutatingWebhookConfigurations.

Follows `pkg/registry/admissionregistration/mutatingwebhookconfiguration/strategy.go`.
"""

from __future__ import annotations

from pytest_kubesim.registry.admissionregistration.webhooks import (
    WebhookConfigurationStrategy,
    webhooks_row,
)
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rest import Kind


class MutatingWebhookConfigurationStrategy(WebhookConfigurationStrategy):
    """`/mutatingwebhookconfigurations`."""

    mutating = True


KIND = Kind(
    strategy=MutatingWebhookConfigurationStrategy(),
    printer=printer("MutatingWebhook", webhooks_row),
)
