"""A simulation without an end keeps the newest of its journal."""

from pytest_kubesim.sim.journal import Journal


def test_a_limited_journal_keeps_the_newest_and_their_numbers():
    journal = Journal(lambda: 0)
    journal.limit = 10
    for number in range(95):
        journal.record("request", "a", number=number)
    kept = journal.entries()
    assert 10 <= len(kept) < 20
    assert [e.sequence for e in kept] == [e.fields["number"] for e in kept]
    assert kept[-1].sequence == 94


def test_a_journal_keeps_all_unless_told_otherwise():
    journal = Journal(lambda: 0)
    for _ in range(1000):
        journal.record("request", "a")
    assert len(journal) == 1000
