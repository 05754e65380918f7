"""What bash and busybox's ash know beyond POSIX, and what only bash knows."""

import pytest
from shell_world import Box


@pytest.mark.parametrize(("script", "output"), [
    ("s=abcabc; echo ${s/b/X} ${s//b/X} ${s/#a/Y} ${s/%c/Z} ${s//b} ${s:1:3} ${s:4} ${s: -2}", "aXcabc aXcaXc Ybcabc abcabZ acac bca bc bc\n"),
    ("n=2; s=abcdef; echo ${s:n:n+1} ${s:$n}; set -- x y z; echo ${#@} ${2:-none}", "cde cdef\n3 y\n"),
    ("x=5; [[ $x -gt 3 && ( $x == 6 || ! $x < 5 ) ]] && echo in; [[ a\\ b == a* ]] && echo glob", "in\nglob\n"),
    ("v='a b'; [[ $v == 'a b' ]] && echo whole; [[ abc == 'a*' ]] || echo quoted; [[ -z $none && -n x && -d /tmp ]]; echo $?", "whole\nquoted\n0\n"),
    ("[[ web-3 =~ -([0-9]+)$ ]] && echo yes; [[ web =~ ^[[:alpha:]]{3}$ ]] && echo letters", "yes\nletters\n"),
    ("echo $'a\\tb\\x41\\n' | wc -l; function f { echo f$1; }; f 1; ls /nope &> /tmp/o; cat /tmp/o", "2\nf1\nls: /nope: No such file or directory\n"),
    ("echo hello | gzip > /tmp/h.gz; zcat /tmp/h.gz; gunzip /tmp/h.gz; ls /tmp", "hello\nh\n"),
    ("sleep 99 & pidof sleep; pgrep sleep; pkill sleep; wait; pgrep sleep || echo none", "2\n2\nnone\n"),
    ("httpd -p 80 -h /tmp; echo page > /tmp/index.html; wget -qO- http://localhost/", "page\n"),
    ("tr '\\0' ' ' < /proc/1/cmdline | cut -c1-5", "sh -c\n"),
])
def test_busybox_knows_more_than_posix(script, output):
    assert Box().sh(script) == (output, 0)


@pytest.mark.parametrize(("script", "problem"), [
    ("a=(1 2)", 'unexpected "("'), ("cat <<< x", 'unexpected "<"'), ("echo ${a[0]}", "bad substitution"),
    ("echo ${a^^}", "bad substitution"),
])
def test_busybox_does_not_know_what_only_bash_knows(script, problem):
    output, code = Box().sh(script)
    assert (output, code) == (f"sh: syntax error: {problem}\n", 2)


@pytest.mark.parametrize(("script", "output"), [
    ('a=(1 "2 3" 4); a+=(5); echo ${a[1]} ${#a[@]} ${a[-1]} $a; for x in "${a[@]}"; do echo "<$x>"; done', "2 3 4 5 1\n<1>\n<2 3>\n<4>\n<5>\n"),
    ('a=($(seq 4)); echo "${a[@]:1:2}" $((a[1] + a[2])); a[9]=x; unset "a[0]"; echo ${!a[@]} "${a[*]}"', "2 3 5\n1 2 3 9 2 3 4 x\n"),
    ('declare -A m; m[x]=1; m["y z"]=2; m[x]+=0; for k in "${!m[@]}"; do echo "$k=${m[$k]}"; done; echo ${#m[@]}', "x=10\ny z=2\n2\n"),
    ("f() { local -a own=(1 2); local v=in; echo ${own[1]} $v; }; v=out; own=x; f; echo $own $v", "2 in\nx out\n"),
    ("[[ mysql-2 =~ -([0-9]+)$ ]] || exit 1; echo ${BASH_REMATCH[1]} ${BASH_REMATCH[0]}", "2 -2\n"),
    ("for ((i = 0; i < 3; i++)); do echo -n $i; done; ((i += 2)); echo .$i; ((0)) || echo no", "012.5\nno\n"),
    ("echo {1..4} {c..a} x{1,2}y {08..10} {a,b}{1,2} '{1,2}' {x} a{,b}", "1 2 3 4 c b a x1y x2y 08 09 10 a1 a2 b1 b2 {1,2} {x} a ab\n"),
    ('read -r x y <<< "1 2 3"; echo "$x|$y"; IFS=, read -ra p <<< a,b,c; echo ${p[1]} ${#p[@]}', "1|2 3\nb 3\n"),
    ("while read -r l; do echo [$l]; done < <(printf 'a\\nb\\n'); diff <(echo a) <(echo a) && echo same", "[a]\n[b]\nsame\n"),
    ("s=Hello; n=s; echo ${s^^} ${s,,} ${s^} ${!n}; printf -v z %03d 7; echo $z", "HELLO hello Hello Hello\n007\n"),
    ("mapfile -t l < <(seq 3); echo ${#l[@]} ${l[2]}; trap 'echo failed' ERR; false; true", "3 3\nfailed\n"),
    ('set -euo pipefail; a=(); echo ${#a[@]} "${a[@]}" .; [[ -v a ]] && echo set; false | true; echo not here', "0 .\n"),
])
def test_bash_knows_its_own(script, output):
    box = Box()
    container = box.start("bash", "-c", script, image="debian:12")
    box.run(60)
    assert "".join(line.text + ("" if line.partial else "\n") for line in container.logs) == output


def test_a_script_says_who_reads_it():
    script = "printf '#!/bin/bash\\na=(1 2); echo ${a[1]}\\n' > /tmp/x; chmod +x /tmp/x; /tmp/x"
    assert Box().sh(script, image="debian:12") == ("2\n", 0)
