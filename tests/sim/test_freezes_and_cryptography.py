"""Certificates are made on both sides of a run, whoever makes the first."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("cryptography")

ASK = """
    import datetime

    from pytest_kubesim.sim.freezes import Freezes

    def certificate():
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ed25519

        key, name, at = ed25519.Ed25519PrivateKey.generate(), x509.Name([]), datetime.datetime(2026, 1, 1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, at, at)
        return builder.sign(key, None).not_valid_before_utc

    freezes = Freezes(lambda: 10**18, {})
    BEFORE
    freezes.start()
    assert certificate().year == 2026
    freezes.stop()
    assert certificate().year == 2026
"""


@pytest.mark.parametrize("before", ["import cryptography.x509", "certificate()", "pass"])
def test_certificates_are_made_in_a_run_and_after_it(before):
    code = textwrap.dedent(ASK).replace("BEFORE", before)
    subprocess.run([sys.executable, "-c", code], check=True)
