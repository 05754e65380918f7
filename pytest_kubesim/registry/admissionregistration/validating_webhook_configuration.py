"""ValidatingWebhookConfigurations.

Follows `pkg/registry/admissionregistration/validatingwebhookconfiguration/strategy.go`.
"""

from __future__ import annotations

from pytest_kubesim.registry.admissionregistration.webhooks import (
    WebhookConfigurationStrategy,
    webhooks_row,
)
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rest import Kind


class ValidatingWebhookConfigurationStrategy(WebhookConfigurationStrategy):
    """`/validatingwebhookconfigurations`."""

    mutating = False


KIND = Kind(
    strategy=ValidatingWebhookConfigurationStrategy(),
    printer=printer("ValidatingWebhook", webhooks_row),
)
