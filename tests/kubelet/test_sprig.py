"""What templates of stages may call: sprig's functions, with the clock and the chance of a run."""

import itertools

import pytest

from pytest_kubesim.apimachinery.go_template_functions import TemplateError
from pytest_kubesim.kubelet.stages import rendering

NOW = 1_767_322_805_120_000_000
"""2026-01-02T03:00:05.12Z"""


def rendered(template, obj=None):
    counter = itertools.count(3)
    addresses = rendering.Addresses(lambda _name: None)
    known = rendering.functions(NOW, NOW, addresses, "", lambda bound: next(counter) * 7 % bound)
    return rendering.render(f"x: |-\n  {template}", obj or {}, known)["x"]


@pytest.mark.parametrize(("template", "text"), [
    ('{{ now | date "2006-01-02T15:04:05.000Z07:00" }}', "2026-01-02T03:00:05.120Z"),
    ('{{ now | date "Mon, Jan _2 3:04PM 06" }}', "Fri, Jan  2 3:00AM 26"),
    ('{{ now | dateModify "-1h30m" | unixEpoch }}', "1767317405"),
    ('{{ toDate "2006-01-02" "2026-01-01" | ago }} {{ duration 90 }}', "27h0m5s 1m30s"),
    ("{{ randAlphaNum 4 }} {{ randInt 10 20 }} {{ uuidv4 | len }}", "Vcjq 19 36"),
    ('{{ "hello world" | camelcase }} {{ "FirstName" | snakecase }} {{ "FirstName" | kebabcase }}', "HelloWorld first_name first-name"),
    ('{{ regexReplaceAll "a(x*)b" "-ab-axxb-" "${1}W" }} {{ regexMatch "^\\\\d+$" "12" }} {{ regexFind "[0-9]+" "a12" }}', "-W-xxW- true 12"),
    ("{{ until 3 }} {{ untilStep 3 9 3 }} {{ seq 1 2 5 }} {{ round 2.345 2 }} {{ ceil 1.2 }}", "[0 1 2] [3 6] 1 3 5 2.35 2"),
    ("{{ list 1 2 2 3 | uniq | rest | reverse }} {{ concat (list 1) (list 2) }} {{ without (list 1 2) 1 }} {{ mustFirst (list 7) }}", "[3 2] [1 2] [2] 7"),
    ('{{ $d := dict "a" 1 }}{{ $_ := set $d "b" 2 }}{{ merge $d (dict "a" 9 "c" 3) | toRawJson }} {{ dig "a" "z" 0 (dict "a" (dict "z" 5)) }}', '{"a":1,"b":2,"c":3} 5'),
    ('{{ kindOf "s" }} {{ kindIs "map" (dict) }} {{ (split "/" "a/b")._1 }} {{ cat "a" 1 }} {{ plural "one" "many" 2 }}', "string true b a 1 many"),
])
def test_templates_call_sprig(template, text):
    assert rendered(template) == text


def test_a_template_may_fail():
    with pytest.raises(TemplateError, match="no weight"):
        rendered('{{ fail "no weight" }}')


def test_yaml_writes_out_what_an_object_shares_within_itself():
    labels = {"app": "x"}
    assert rendering.as_yaml({"a": labels, "b": labels}) == "a:\n  app: x\nb:\n  app: x\n"
