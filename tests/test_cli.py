"""The command line: what is wrong with it is said once, with what would be right."""

from __future__ import annotations

import pytest

from pytest_kubesim import __version__, cli


def run(capsys, *arguments):
    try:
        status = cli.main(arguments)
    except SystemExit as ended:
        status = ended.code
    told = capsys.readouterr()
    return status, told.out, told.err


def test_the_version(capsys):
    assert run(capsys, "--version") == (0, f"kubesim {__version__}\n", "")


def test_help_names_the_commands_and_the_options_of_serve(capsys):
    _, out, _ = run(capsys, "--help")
    assert "demo" in out
    assert "serve" in out
    _, out, _ = run(capsys, "serve", "--help")
    for option in (
        "--port", "--token", "--kubeconfig", "--components", "--nodes", "--manage-all-nodes",
        "--clock-scale", "--instant", "--seed", "--version",
    ):
        assert option in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("dance",), "invalid choice: 'dance'"),
        (("serve", "--components", "some"), "apiserver"),
        (("serve", "--nodes", "many"), "invalid int value: 'many'"),
        (("serve", "--nodes", "-1"), "--nodes -1"),
        (("serve", "--port", "70000"), "--port 70000"),
        (("serve", "--clock-scale", "0"), "--clock-scale 0.0"),
        (("serve", "--clock-scale", "nan"), "--clock-scale nan"),
        (("serve", "--version", "1.2"), "1.37"),
        (("serve", "--audit-policy-file", "policy.yaml"), "give --audit-log-path FILE too"),
        (("serve", "--token", ""), "--token"),
        (("serve", "--token", "a b"), "--token"),
        (("serve", "--components", "apiserver", "--nodes", "1"), "--components apiserver has no kubelets"),
        (("serve", "--components", "controllers", "--manage-all-nodes"), "--components controllers has no kubelets"),
        (("serve", "--components", "apiserver", "--kubeconfig", "/dev/null/none"), "--kubeconfig /dev/null/none"),
        (("serve", "--verbose"), "unrecognized arguments: --verbose"),
    ],
)
def test_a_wrong_option_is_one_error_that_names_it(capsys, arguments, words):
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert err.count("error") <= 1
