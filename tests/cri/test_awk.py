"""awk as the scripts of charts and operators use it (POSIX.1-2017, "awk")."""

import pytest
from shell_world import Box

IN = "printf 'a 1\\nb 2\\na 3\\n' | awk "


@pytest.mark.parametrize(("script", "output"), [
    ("awk 'BEGIN { for (i = 0; i < 3; i++) printf \"%d \", i; print \"\" }'", "0 1 2 \n"),
    (IN + "'{ sum[$1] += $2 } END { for (k in sum) print k, sum[k] }'", "a 4\nb 2\n"),
    (IN + "'!seen[$1]++'", "a 1\nb 2\n"),
    (IN + "'{ s += $2 } END { print s / NR, NR }'", "2 3\n"),
    (IN + "'/^a/ && $2 > 1 { print $2; exit } END { print \"end\" }'", "3\nend\n"),
    (IN + "'NR == 2 { next } { $2 = $2 * 10; print }'", "a 10\na 30\n"),
    (IN + "'$1 ~ /b/ { print NR\":\"$0 }'", "2:b 2\n"),
    (IN + "'{ print $NF, $(NF-1) }' | head -1", "1 a\n"),
    (IN + "'{ l = l (l ? \",\" : \"\") $1 } END { print l }'", "a,b,a\n"),
    (IN + "'{ print > (\"/tmp/\" $1) }'; cat /tmp/a", "a 1\na 3\n"),
    ("echo a.b.c | awk '{ n = split($0, p, \".\"); while (n > 0) printf \"%s\", p[n--]; print \"\" }'", "cba\n"),
    ("echo x-y-z | awk -F- -v OFS=: '{ gsub(/-/, \"&&\"); $1 = $1; print; print NF }'", "x::y::z\n5\n"),
    ("echo x-y-z | awk '{ sub(\"-\", \"+\"); print; print match($0, /y.z/), RSTART, RLENGTH }'", "x+y-z\n3 3 3\n"),
    ("awk 'function max(a, b) { return a > b ? a : b } BEGIN { print max(3, 7), toupper(\"x\") length(\"four\") }'", "7 X4\n"),
    ("awk 'function fact(n) { if (n <= 1) return 1; return n * fact(n - 1) } BEGIN { print fact(5), 2^3^2, 7 % 3, -3 }'", "120 512 1 -3\n"),
    ("awk 'BEGIN { a[\"x\"]; if (\"x\" in a) print \"in\"; delete a[\"x\"]; if (!(\"x\" in a)) print \"out\"; print length(a) }'", "in\nout\n0\n"),
    ("awk 'BEGIN { do { i++; if (i == 2) continue; if (i > 3) break; print i } while (1) }  # done'", "1\n3\n"),
    ("awk 'BEGIN { if (x == 0 && x == \"\") print sprintf(\"%05.1f|%-4s|\", 2.25, \"ab\"); exit 3 }'; echo $?", "002.2|ab  |\n3\n"),
    ("echo '{ print $2 }' > /tmp/p; echo 1 2 | awk -f /tmp/p; echo a:b | awk -F: '{print $2}'", "2\nb\n"),
    ("echo 'MemTotal:  16 kB' | awk '/MemTotal/ {print int($2/3)}; /None/ {print 1}'", "5\n"),
    ("awk 'BEGIN { while (1) i++ }'", "awk: cmd. line:1: Unexpected token: a loop without end\n"),
    ("awk 'BEGIN { print 1 > \"/dev/stderr\"; print substr(\"hello\", 2, 3), index(\"hello\", \"l\") }' 2>/dev/null", "ell 3\n"),
])
def test_awk(script, output):
    assert Box().sh(script)[0] == output
