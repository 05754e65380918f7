"""Go's text templates."""

import pytest

from pytest_kubesim.apimachinery import gotemplate
from pytest_kubesim.apimachinery.go_template_functions import TemplateError, printf
from pytest_kubesim.errors import NotSimulated

DATA = {"a": {"b": "x"}, "list": [{"n": 1}, {"n": 2}], "map": {"k2": 2, "k1": 1}, "no": False}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ .a.b }}", "x"),
        ("{{ .a.missing.more }}", "<no value>"),
        ("{{ .list }} {{ .map }} {{ .no }}", "[map[n:1] map[n:2]] map[k1:1 k2:2] false"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{/* nothing */}}", ""),
        ("{{ if .no }}1{{ else if .a }}2{{ else }}3{{ end }}", "2"),
        ("{{ with .missing }}1{{ else }}{{ .a.b }}{{ end }}", "x"),
        ("{{ with $x := .a }}{{ .b }}{{ $x.b }}{{ $.no }}{{ end }}", "xxfalse"),
        ("{{ range $i, $x := .list }}{{ $i }}={{ $x.n }};{{ end }}", "0=1;1=2;"),
        ("{{ range $k, $v := .map }}{{ $k }}{{ $v }}{{ end }}", "k11k22"),
        ("{{ range .missing }}1{{ else }}none{{ end }}", "none"),
        ("{{ range 3 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "02"),
        ("{{ $f := false }}{{ range .list }}{{ $f = true }}{{ end }}{{ $f }}", "true"),
        ('{{ or .missing "" "z" }}|{{ and .a.b "y" }}|{{ not .no }}', "z|y|true"),
        ('{{ index .map "k1" }}{{ index .list 1 | printf "%v" }}{{ len .list }}', "1map[n:2]2"),
        ('{{ eq .a.b "w" "x" }} {{ ne 1 2 }} {{ lt 1 2 }}', "true true true"),
        ('{{ .a.b | upper | quote }} {{ default "d" .missing }}', '"X" d'),
        ("{{ (index .list 0).n }}", "1"),
        ('{{ `raw "text"` }}', 'raw "text"'),
    ],
)
def test_it_renders(source, text):
    assert gotemplate.parse(source).render(DATA) == text


def test_functions_can_be_added():
    assert gotemplate.parse("{{ Twice 2 }}").render({}, {"Twice": lambda n: n * 2}) == "4"


@pytest.mark.parametrize(
    "source", ["{{ .a.b.c }}", "{{ index .missing 0 }}", "{{ index .list 9 }}", "{{ $x }}"]
)
def test_what_go_refuses_is_an_error(source):
    with pytest.raises(TemplateError):
        gotemplate.parse(source).render(DATA)


@pytest.mark.parametrize("source", ["{{ if .a }}", "{{ end }}", "{{ .a"])
def test_what_is_no_template_is_an_error(source):
    with pytest.raises(TemplateError):
        gotemplate.parse(source)


def test_what_is_not_known_says_so():
    with pytest.raises(NotSimulated):
        gotemplate.parse("{{ genCA 1 }}").render({})


def test_printf_is_gos():
    assert printf("%s %05d %q %v %.1f %%", "a", 42, 'x"', True, 1.25) == 'a 00042 "x\\"" true 1.2 %'
    assert printf("%d") == "%!d(MISSING)"
