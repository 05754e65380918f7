"""Go's regular expressions: what they match and what Go says of bad ones."""

from __future__ import annotations

import pytest

from pytest_kubesim.apimachinery import go_regexp


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),
        ("b", "abc", True),
        (r"^\d+$", "\u0661", False),
        (r"^\w+$", "é", False),
        (r"\bfoo\b", "a foo b", True),
        ("(?i)^ABC$", "abc", True),
        ("^(?i:a)b$", "Ab", True),
        ("^(?i:a)b$", "AB", False),
        ("(?s)^.$", "\n", True),
        ("^.$", "\n", False),
        ("(?m)^b$", "a\nb\nc", True),
        (r"^[[:alpha:]_]+$", "a_b", True),
        (r"^[^[:digit:]]$", "a", True),
        (r"^\p{Lu}\pL*$", "Éa", True),
        (r"^\PL$", "1", True),
        (r"^\p{Greek}$", "α", True),
        (r"^[\D5]+$", "a5", True),
        (r"^[^\D5]$", "4", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"^\x41\x{1F600}$", "A😀", True),
        ("a{,2}", "a{,2}", True),
        ("^a{2,3}$", "aaaa", False),
        ("^(?P<x>a)(?<y>b)$", "ab", True),
        (r"^[\]\-]+$", "]-", True),
        ("^[a&&b]$", "&", True),
        (r"^\/$", "/", True),
    ],
)
def test_patterns_match_as_in_go(pattern: str, text: str, matches: bool) -> None:
    assert go_regexp.matches(pattern, text) is matches


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(abc", "missing closing ): `(abc`"),
        ("abc)", "unexpected ): `abc)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<=a)", "invalid or unsupported Perl syntax: `(?<=`"),
        ("(?<!a)", "invalid or unsupported Perl syntax: `(?<!`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\y", r"invalid escape sequence: `\y`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("[z-a]", "invalid character class range: `z-a`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        ("(?P<n>a)(?P<n>b)", "duplicate capture group name: `n`"),
    ],
)
def test_bad_patterns_are_refused_in_gos_words(pattern: str, problem: str) -> None:
    with pytest.raises(go_regexp.RegexpError) as refused:
        go_regexp.compile(pattern)
    assert str(refused.value) == f"error parsing regexp: {problem}"
