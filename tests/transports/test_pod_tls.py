"""Clients outside speak TLS in earnest to pods that do so in name."""

import ssl

import pytest

from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.pipes import connection
from pytest_kubesim.transports import pod_tls

pytest.importorskip("cryptography")


@pytest.fixture
def kernel():
    return Kernel(seed=1)


def served(kernel):
    client, server = connection(kernel)

    async def answer():
        said = await server.incoming.read_until(b"\n")
        server.write(b"you said " + said)
        server.close()

    kernel.spawn(answer(), name="server", daemon=True)
    return pod_tls.ended(kernel, client)


def turn(kernel, stream):
    kernel.run(until_ns=kernel.now_ns + 1_000)
    return stream.incoming.read_nowait()


def test_a_handshake_is_answered(kernel):
    stream = served(kernel)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(heard, said)

    def insist(work):
        for _ in range(20):
            try:
                result = work()
            except ssl.SSLWantReadError:
                result = None
            if data := said.read():
                stream.write(data)
            heard.write(turn(kernel, stream))
            if result is not None:
                return result
        raise AssertionError("no answer")

    insist(lambda: tls.do_handshake() or True)
    insist(lambda: tls.write(b"hi\n"))
    assert insist(lambda: tls.read(100)) == b"you said hi\n"


def test_who_speaks_plainly_is_let_be(kernel):
    stream = served(kernel)
    stream.write(b"hi\n")
    assert turn(kernel, stream) == b"you said hi\n"
