"""Commands that scripts seldom need."""

import pytest
from shell_world import Box


@pytest.mark.parametrize(("script", "output"), [
    ("printf '1\\n2\\n' > /tmp/a; printf 'x\\ny\\nz\\n' > /tmp/b; paste /tmp/a /tmp/b; seq 4 | paste -sd+ ", "1\tx\n2\ty\n\tz\n1+2+3+4\n"),
    ("printf 'a\\nb\\nc\\n' > /tmp/a; printf 'b\\nd\\n' > /tmp/b; comm /tmp/a /tmp/b; comm -13 /tmp/a /tmp/b", "a\n\t\tb\nc\n\td\nd\n"),
    ("echo 'one two three' | fold -s -w 8; echo abcdef | fold -w 4", "one two \nthree\nabcd\nef\n"),
    ("shuf -i 1-9 | sort | tr -d '\\n'; shuf -e a b c -n 1 | grep -c '[abc]'", "1234567891\n"),
    ("echo x > /tmp/s; install -D -m 640 /tmp/s /tmp/deep/er/t; stat -c %a /tmp/deep/er/t; install -d /tmp/new; ls -d /tmp/new; install /tmp/s /tmp/new; stat -c %a /tmp/new/s", "640\n/tmp/new\n755\n"),
    ("flock /tmp/l sleep 5 & sleep 1; flock -n /tmp/l echo no || echo held; flock -w 9 /tmp/l -c 'echo mine'; date +%S", "held\nmine\n05\n"),
    ("setsid echo a; nice -n 5 echo b; ionice -c 3 echo c; arch; tty; echo d | less; usleep 1500000; date +%S", "a\nb\nc\nx86_64\nnot a tty\nd\n01\n"),
    ("timeout 5 watch -t -n 2 date +%S", "00\n02\n04\n"),
    ("stdbuf -oL echo x", "sh: stdbuf: not found\n"),
])
def test_rarer_commands(script, output):
    assert Box().sh(script)[0] == output


def test_debian_has_stdbuf():
    assert Box().sh("stdbuf -oL echo x", image="debian:12")[0] == "x\n"
