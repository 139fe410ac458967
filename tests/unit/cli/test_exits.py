"""Exit codes and the one line: what each way to fail becomes."""

import click
import pytest

from ringfs.base.errors import Code, ConnectionLost, Refused, UserError
from ringfs.cli import exits
from ringfs.cli.exits import NotClean, NotReachable, explain

EXPECTED = [
    (UserError("the key is wrong: mend it"), exits.USAGE, "the key is wrong: mend it"),
    (NotClean("two findings"), exits.NOT_CLEAN, "two findings"),
    (Refused(Code.STALE, "inode 7"), exits.NOT_CLEAN, "inode 7: the inode no longer exists"),
    (NotReachable("nobody at home"), exits.NOT_REACHABLE, "nobody at home"),
    (click.Abort(), exits.INTERRUPTED, "interrupted"),
    (KeyboardInterrupt(), exits.INTERRUPTED, "interrupted"),
    (click.BadParameter("is not a number."), exits.USAGE, "Invalid value: is not a number; try 'ringfs --help'"),
]


@pytest.mark.parametrize(("error", "code", "line"), EXPECTED, ids=lambda value: type(value).__name__)
def test_expected_failures(error: BaseException, code: int, line: str) -> None:
    """Each expected failure has a code and its own words."""
    assert explain(error) == (code, line)


def test_lost_connection_says_what_to_do() -> None:
    """A lost connection is the cluster not being reachable, and points to status."""
    explained = explain(ConnectionLost("closed"))
    assert explained is not None
    assert explained[0] == exits.NOT_REACHABLE
    assert "ringfs status" in explained[1]


def test_line_is_one_line() -> None:
    """Whatever a message holds, it is shown as one line."""
    assert explain(UserError("a\nb\t c")) == (exits.USAGE, "a b c")


def test_groups_are_looked_into() -> None:
    """What trio's nurseries wrap is found, however deep."""
    group = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [NotReachable("away")])])
    assert explain(group) == (exits.NOT_REACHABLE, "away")


def test_bugs_are_not_explained() -> None:
    """A bug is never turned into a line, not even beside an expected failure."""
    assert explain(ValueError("oops")) is None
    assert explain(BaseExceptionGroup("mixed", [UserError("mend it"), ValueError("oops")])) is None


def test_run_gives_the_commands_code() -> None:
    """What a command returns is the exit code; nothing returned is 0."""
    assert exits.run(lambda **_: 1) == 1
    assert exits.run(lambda **_: None) == 0


def test_run_prints_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure is one line on stderr, nothing on stdout."""

    def fail(**_: object) -> None:
        raise UserError("no such cluster: name one")

    assert exits.run(fail) == exits.USAGE
    said = capsys.readouterr()
    assert said.err == "ringfs: no such cluster: name one\n"
    assert said.out == ""


def test_run_lets_bugs_through() -> None:
    """A bug reaches Python, which shows where it is."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exits.run(fail)
