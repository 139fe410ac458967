"""What quota asks for and shows: over a namespace in memory."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ringfs.base.ids import ROOT_INODE
from ringfs.cli import quota
from tests.support.namespace import TrialNamespace, inline


class Session:
    """See cli/session.py."""

    def __init__(self, trial: TrialNamespace) -> None:
        self.trial = trial

    async def ask(self, question: Any) -> Any:
        """The answer."""
        return self.trial.ask(question)

    async def change(self, operation: Any) -> Any:
        """The answer."""
        return self.trial.do(operation)


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> TrialNamespace:
    """/a with a file of 2048 bytes, /a/b, /ab; every verb finds it."""
    trial = TrialNamespace()
    a = trial.directory(b"a")
    trial.directory(b"b", a)
    trial.directory(b"ab")
    trial.commit(trial.file(b"f", a), inline(0, b"x" * 2048))

    @asynccontextmanager
    async def open_session(_config: Any, _verb: str) -> AsyncIterator[Session]:
        yield Session(trial)

    monkeypatch.setattr(quota, "open_session", open_session)
    monkeypatch.setattr(quota, "find_in_cluster", lambda _path, _cluster: (None, None))
    monkeypatch.setattr(quota, "find_cluster", lambda _cluster: None)
    return trial


def run(*arguments: str) -> str:
    result = CliRunner().invoke(quota.command, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_set_get_clear(trial: TrialNamespace) -> None:
    """What is not given stays as it is; each shows the figures afterwards."""
    assert "2.00 KiB" not in run("set", "/a", "--bytes", "10G")
    run("set", "/a", "--files", "7")
    found = json.loads(run("get", "/a", "--json"))
    assert (found["bytes_used"], found["bytes_max"], found["files_used"], found["files_max"]) == (2048, 10 << 30, 2, 7)
    lines = run("get", "/a").splitlines()
    assert [line.split() for line in lines] == [
        ["PATH", "BYTES", "OF", "FILES", "OF"],
        ["/a", "2", "KiB", "10", "GiB", "2", "7"],
    ]
    assert json.loads(run("clear", "/a", "--json"))["bytes_max"] == 0


def test_list(trial: TrialNamespace) -> None:
    """All, or those at a place and below it; in order of path."""
    assert run("list") == "no quotas\n"
    for path in ("/ab", "/a/b", "/a"):
        run("set", path, "--files", "9")
    assert [each["path"] for each in json.loads(run("list", "--json"))] == ["/a", "/a/b", "/ab"]
    assert [each["path"] for each in json.loads(run("list", "/a", "--json"))] == ["/a", "/a/b"]
    assert [each["path"] for each in json.loads(run("list", "/", "--json"))] == ["/a", "/a/b", "/ab"]


def test_nothing_to_set(trial: TrialNamespace) -> None:
    """A mistake in usage."""
    with pytest.raises(click.UsageError):
        run("set", "/a")
    assert trial.exists(ROOT_INODE)
