from __future__ import annotations

from pytest_kubesim.sim.kernel import Kernel


def journal_of(seed: int, *names: str) -> str:
    kernel = Kernel(seed=seed)
    for name in names:
        kernel.call_later(5, kernel.journal.record, "request", name)
    kernel.run()
    return kernel.journal.digest()


def test_equal_runs_have_equal_digests_and_others_have_others() -> None:
    assert journal_of(1, "a", "b") == journal_of(2, "a", "b")
    assert journal_of(1, "a", "b") != journal_of(1, "b", "a")


def test_the_order_of_an_entrys_fields_is_of_no_account() -> None:
    one, other = Kernel(), Kernel()
    one.journal.record("request", "a", x=1, y=2)
    other.journal.record("request", "a", y=2, x=1)
    assert one.journal.digest() == other.journal.digest()


def test_entries_are_found_by_kind_and_actor() -> None:
    kernel = Kernel()
    kernel.journal.record("request", "a", n=1)
    kernel.journal.record("fault", "a", n=2)
    kernel.journal.record("request", "b", n=3)
    found = kernel.journal.entries("request", "a")
    assert [e.fields["n"] for e in found] == [1]
