"""A plain loop with the official client: certificates in Secrets, renewed after 60 days.

Every Secret labelled `example.com/issue=true` gets a certificate that is valid for 90 days; the
operator looks once an hour and renews what has 30 days left.
"""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta

from kubernetes import client, config

VALID_FOR = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
EXPIRES = "example.com/expires"
SERIAL = "example.com/serial"


def main():
    config.load_incluster_config()
    core = client.CoreV1Api()
    while True:
        for secret in core.list_secret_for_all_namespaces(label_selector="example.com/issue=true").items:
            renew_if_due(core, secret)
        time.sleep(3600)


def renew_if_due(core, secret):
    annotations = secret.metadata.annotations or {}
    expires = annotations.get(EXPIRES)
    now = datetime.now(UTC)
    if expires and datetime.fromisoformat(expires) - now > RENEW_BEFORE:
        return
    serial = int(annotations.get(SERIAL, 0)) + 1
    until = now + VALID_FOR
    certificate = f"certificate {serial} of {secret.metadata.name}, until {until:%Y-%m-%d}"
    body = {
        "metadata": {
            "resourceVersion": secret.metadata.resource_version,
            "annotations": {EXPIRES: until.isoformat(), SERIAL: str(serial)},
        },
        "data": {"tls.crt": base64.b64encode(certificate.encode()).decode()},
    }
    try:
        core.patch_namespaced_secret(secret.metadata.name, secret.metadata.namespace, body)
        print(f"issued {certificate}")
    except client.ApiException as error:
        if error.status != 409:
            raise
        print(f"{secret.metadata.name} has changed meanwhile; the next round will do")


if __name__ == "__main__":
    main()
