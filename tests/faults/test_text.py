"""Faults as text, for tests in other languages: every fault can be said as it prints."""

import pytest

from pytest_kubesim import fault
from pytest_kubesim.transports import fault_language


@pytest.mark.parametrize("record", [
    fault.api(client="manager", verb="update").fail(409, times=2, at="1h"),
    fault.partition("node-1", "control-plane", at="1h").for_("90s"),
    fault.node("node-1").crash(when=fault.changed("node/node-1", "spec.unschedulable", to=True)),
    fault.view(client="manager", kind="Pod").freeze(
        at="1h", until=fault.holds("pods", {"status": {"phase": "Running"}}, count=3)
    ),
    fault.etcd().slow("1s", when=fault.after_write(2, client="manager")),
], ids=repr)
@pytest.mark.kubesim(nodes=1)
@pytest.mark.filterwarnings("ignore:a fault never struck")
def test_a_fault_is_said_by_its_text(kubesim, record):
    armed = fault_language.arm(kubesim.faults, fault_language.from_text(repr(record)))
    assert armed is not None
    assert armed.fault == record
