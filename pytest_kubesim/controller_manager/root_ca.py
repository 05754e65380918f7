"""The certificate by which pods trust the API server, where nobody has given one."""

from __future__ import annotations

PLACEHOLDER = """\
-----BEGIN CERTIFICATE-----
bm8gY2VydGlmaWNhdGUgaGFzIGJlZW4gZ2l2ZW4=
-----END CERTIFICATE-----
"""
"""Published where nobody serves TLS, so that a volume with it can be mounted."""
