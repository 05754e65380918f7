"""A failure under random faults is brought back by one line, and so is what was written by hand."""

from __future__ import annotations

import re

import pytest

OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest_kubesim.NeverStruck")
TEST = """
    import pytest
    from pytest_kubesim import fault

    @pytest.mark.kubesim(nodes=2, faults=[fault.node("node-1").crash(at="1m").for_("30s")])
    def test_it(kubesim):
        kubesim.faults.random(3, within="2m", kinds=["kubelet-stop", "partition", "node-freeze"])
        kubesim.advance("5m")
        assert 0
"""


def test_a_token_brings_back_seed_and_random_schedule(pytester: pytest.Pytester) -> None:
    file = pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess(*OPTIONS, "--kubesim-seed", "11", file)
    result.stdout.fnmatch_lines([
        "*fault: kubesim.faults.node('node-1').crash(at='1m').for_('30s') (struck 1 times)*",
    ])
    output = result.stdout.str()
    drawn = re.findall(r"fault: (kubesim\.faults\.\S+.*) \(", output)
    assert len(drawn) == 4
    token = re.search(r"--kubesim-replay (\S+)", output)
    assert token is not None
    again = pytester.runpytest_subprocess(*OPTIONS, "--kubesim-replay", token[1], file)
    again.stdout.fnmatch_lines(["*replayed: the same run as the one that printed the token*", f"*{token[1]}*"])
    assert re.findall(r"fault: (kubesim\.faults\.\S+.*) \(", again.stdout.str()) == drawn


def test_what_is_no_fault_in_a_marker_is_refused(pytester: pytest.Pytester) -> None:
    file = pytester.makepyfile("""
        import pytest

        @pytest.mark.kubesim(faults=["crash everything"])
        def test_it(kubesim): ...
    """)
    result = pytester.runpytest_subprocess(*OPTIONS, file)
    result.stdout.fnmatch_lines(["*faults='crash everything': give a list of faults, said with the words of*"])
