"""Laws of the shell's language, for texts of all kinds."""

import shlex

from hypothesis import given
from hypothesis import strategies as st
from shell_world import Box

from pytest_kubesim.cri.shell.arithmetic import evaluate, wrapped
from pytest_kubesim.cri.shell.parser import parse
from pytest_kubesim.cri.shell.words import SyntaxFault

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_what_is_quoted_arrives_as_it_is(words):
    script = "printf '%s\\n' " + " ".join(shlex.quote(word) for word in words)
    output, code = Box().sh(script, seconds=1)
    assert code == 0
    assert output == "".join(f"{word}\n" for word in words)


@given(st.text(max_size=40))
def test_any_text_is_a_script_or_a_syntax_error(text):
    try:
        parse(text)
    except SyntaxFault as fault:
        assert str(fault)


NUMBERS = st.integers(-(1 << 31), 1 << 31)


@given(NUMBERS, NUMBERS, st.sampled_from(["+", "-", "*", "&", "|", "^", "<", "<=", "==", "!="]))
def test_arithmetic_is_c_s(a, b, operator):
    expected = int(eval(f"({a}) {operator} ({b})"))
    assert evaluate(f"({a}) {operator} ({b})", lambda name: "", lambda name, text: None) == wrapped(expected)


@given(st.lists(st.sampled_from(["a", "b", "c d", "", "*"]), max_size=4))
def test_positional_parameters_survive_being_passed_on(words):
    script = "f() { for x in \"$@\"; do printf '<%s>' \"$x\"; done; }; g() { f \"$@\"; }; g " + " ".join(
        shlex.quote(word) for word in words
    )
    assert Box().sh(script, seconds=1)[0] == "".join(f"<{word}>" for word in words)
