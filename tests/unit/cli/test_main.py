"""The table of verbs: complete, documented, and cheap to show."""

import json
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from ringfs.cli import exits
from ringfs.cli.lazy import LazyGroup
from ringfs.cli.main import cli


def verbs_of(group: LazyGroup, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every verb below a group, with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, LazyGroup):
            yield from verbs_of(command, f"{path} {name}")


assert isinstance(cli, LazyGroup)
VERBS = dict(verbs_of(cli, "ringfs"))


def test_all_verbs_are_there() -> None:
    """The verbs of the issue exist."""
    for verb in ("meta", "data", "mount", "umount", "status", "info", "check", "bench", "version", "dev"):
        assert f"ringfs {verb}" in VERBS
    for verb in ("up", "down", "status", "mount", "kill", "stop", "start"):
        assert f"ringfs dev {verb}" in VERBS


@pytest.mark.parametrize("name", VERBS)
def test_help_has_an_example(name: str) -> None:
    """Every verb's --help shows how it is called, and explains every option."""
    shown = CliRunner().invoke(VERBS[name], ["--help"])
    assert shown.exit_code == 0
    assert f"Example:  {name}" in shown.output
    for parameter in VERBS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{name}: {parameter.name} says nothing"


def test_top_help_documents_exit_codes() -> None:
    """Scripts can rely on the codes: they are in the help."""
    shown = CliRunner().invoke(cli, ["--help"]).output
    for code in (exits.OK, exits.NOT_CLEAN, exits.USAGE, exits.NOT_REACHABLE):
        assert f"\n    {code}  " in shown


def test_help_imports_no_verb() -> None:
    """`ringfs --help` loads neither a verb nor what verbs stand on."""
    program = (
        "import sys, json\n"
        "from click.testing import CliRunner\n"
        "from ringfs.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    for heavy in ("trio", "rich", "structlog", "ringfs.wire", "ringfs.cli.status", "ringfs.cli.dev"):
        assert heavy not in modules


@pytest.mark.parametrize("words", [["CONFIG"], ["run", "CONFIG"], ["--name", "meta2", "CONFIG"], ["--run-dir", "/x", "CONFIG"]])
def test_a_metadata_server_is_run_without_saying_so(words: list[str]) -> None:
    """Whatever begins with no verb of `ringfs meta` is for the one that runs a server."""
    done = subprocess.run([sys.executable, "-m", "ringfs.cli.main", "meta", *words], capture_output=True, text=True, check=False)
    assert done.returncode == exits.USAGE
    assert done.stderr.startswith("ringfs: cannot read ")
    assert done.stderr.endswith("/CONFIG: No such file or directory\n")


def test_help_of_what_can_be_left_unnamed() -> None:
    """`ringfs meta --help` is about the whole; a mistake, and nothing at all, are about the verb."""
    assert "Commands:" in CliRunner().invoke(cli, ["meta", "--help"]).output
    for words, mistake in ((["--nmae"], "No such option"), ([], "Missing argument 'CONFIG'")):
        done = subprocess.run(
            [sys.executable, "-m", "ringfs.cli.main", "meta", *words], capture_output=True, text=True, check=False
        )
        assert mistake in done.stderr
        assert done.stderr.endswith("try 'ringfs meta run --help'\n")


def test_unknown_verb_is_one_line() -> None:
    """A usage error is one line that points to the help, with exit code 2."""
    done = subprocess.run([sys.executable, "-m", "ringfs.cli.main", "mont"], capture_output=True, text=True, check=False)
    assert done.returncode == exits.USAGE
    assert done.stderr == "ringfs: No such command 'mont'; try 'ringfs --help'\n"
