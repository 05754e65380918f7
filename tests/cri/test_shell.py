"""What scripts in containers do: the shell's language, word by word."""

import pytest
from shell_world import Box

SCRIPTS = [
    ("echo hello world", "hello world\n", 0),
    ("echo 'a  b' \"c  $HOME\" d\\ e", "a  b c  /root d e\n", 0),
    ("a=1; b=${a}2; echo $b ${b#1} ${x:-none} ${x-n} ${a:+set} ${#b}", "12 2 none n set 2\n", 0),
    ("f=/a/b.tar.gz; echo ${f##*/} ${f%.*} ${f%%.*} ${f#*/}", "b.tar.gz /a/b.tar /a/b a/b.tar.gz\n", 0),
    ("echo $((1 + 2 * 3)) $(( (4 > 3) && 2 ))", "7 1\n", 0),
    ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo $i; done", "1\n2\n3\n", 0),
    ("for x in a b 'c d'; do echo \"<$x>\"; done", "<a>\n<b>\n<c d>\n", 0),
    ("case foo.txt in *.md) echo md;; *.txt|x) echo txt;; esac", "txt\n", 0),
    ("if false; then echo 1; elif true; then echo 2; else echo 3; fi", "2\n", 0),
    ("f() { echo $1 $#; return 3; }; f a b; echo $?", "a 2\n3\n", 0),
    ("false || echo or && echo and; ! true; echo $?", "or\nand\n1\n", 0),
    ("echo a | tr a b | cat -", "b\n", 0),
    ('x=$(echo hi; echo ho); echo "$x" $x', "hi\nho hi ho\n", 0),
    ("echo err >&2 2>/dev/null; echo out > /tmp/f; cat < /tmp/f; echo more >> /tmp/f; wc -l < /tmp/f", "err\nout\n2\n", 0),
    ("cat <<EOF\nx $((1+1))\nEOF\ncat <<'EOF'\n$x\nEOF", "x 2\n$x\n", 0),
    ("(cd /tmp; pwd); pwd", "/tmp\n/\n", 0),
    ("set -e; echo a; false; echo b", "a\n", 1),
    ("set -e; if false; then :; fi; false || true; echo ok", "ok\n", 0),
    ("set -u; echo $nope; echo b", "sh: nope: parameter not set\n", 2),
    ("set -x; echo a", "+ echo a\na\n", 0),
    ("nope; echo $?", "sh: nope: not found\n127\n", 0),
    ("exit 7", "", 7),
    ("set -- a 'b c'; for x in \"$@\"; do echo \"$x\"; done; shift; echo $1 $#", "a\nb c\nb c 1\n", 0),
    ("trap 'echo bye' EXIT; echo hi", "hi\nbye\n", 0),
    ("echo 'a b c' | { read x y; echo $y-$x; }", "b c-a\n", 0),
    ("sleep 1 & wait $!; echo $?", "0\n", 0),
    ("touch /tmp/b /tmp/a; cd /tmp; echo *; echo z*", "a b\nz*\n", 0),
    ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n", 0),
    ("echo -n foo; echo -e 'x\\ty'", "foox\ty\n", 0),
    ("[ -f /etc/passwd ] && [ ! -d /nope ] && test a = a -a 1 -lt 2 && echo y", "y\n", 0),
    ("if [[ -r /etc/passwd ]]\nthen\n  exit 0\nelse\n  exit 1\nfi", "", 0),
    ("echo 1 > /tmp/a; mv -v /tmp/a /tmp/b; cat /tmp/b", "'/tmp/a' -> '/tmp/b'\n1\n", 0),
    ("sh -c 'echo $0 $1' zero one", "zero one\n", 0),
    ("x=5 sh -c 'echo $x'; echo \"[$x]\"", "5\n[]\n", 0),
    ("f() { local v=2; echo $v; }; v=1; f; echo $v", "2\n1\n", 0),
    ("eval 'a=3; echo $a'", "3\n", 0),
    ("for i in 1 2 3 4; do [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done", "1\n3\n", 0),
    ("echo a,b,c | cut -d, -f2; echo 'x y z' | awk '{print $3\"-\"$1, NF}'", "b\nz-x 3\n", 0),
    ("printf 'b\\na\\nb\\n' | sort | uniq -c", "      1 a\n      2 b\n", 0),
    ("echo foo | sed 's/o/0/g; s/^f/F/'", "F00\n", 0),
    ("echo hi > /tmp/x; chmod 600 /tmp/x; stat -c '%a %s %U' /tmp/x; ls -l /tmp/x | cut -c1-10", "600 3 root\n-rw-------\n", 0),
    ("mkdir -p /tmp/a/b; echo 1 > /tmp/a/b/c; tar cf - -C /tmp a | tar tf -", "a/\na/b/\na/b/c\n", 0),
    ("echo hello | md5sum; echo -n hi | base64", "b1946ac92492d2347c6235b4d2611184  -\naGk=\n", 0),
    ("kill -0 1; kill -9 999; echo $?", "sh: can't kill pid 999: No such process\n1\n", 0),
    ("hostname; id -u; whoami", "pod-1\n0\nroot\n", 0),
    ("timeout 2 sleep 10; echo $?; seq 3 | xargs echo", "143\n1 2 3\n", 0),
    ("echo a > /proc/1/fd/1; exec echo done", "a\ndone\n", 0),
    ("cat /nope; rm /nope; mkdir /tmp; cp /nope /x", "cat: can't open '/nope': No such file or directory\nrm: can't remove '/nope': No such file or directory\nmkdir: can't create directory '/tmp': File exists\ncp: can't stat '/nope': No such file or directory\n", 1),
    ("echo $(", 'sh: syntax error: end of file unexpected (expecting ")")\n', 2),
    ('IFS=:; x=a:b::c; for p in $x; do echo "[$p]"; done', "[a]\n[b]\n[]\n[c]\n", 0),
    ("yes | head -2", "y\ny\n", 0),
    ("(sleep 2; kill -TERM 1) & trap 'echo got; exit 4' TERM; while true; do sleep 1; done", "got\n", 4),
]


@pytest.mark.parametrize(("script", "output", "code"), SCRIPTS, ids=range(len(SCRIPTS)))
def test_a_script_writes_and_ends_as_in_ash(script, output, code):
    assert Box().sh(script) == (output, code)
