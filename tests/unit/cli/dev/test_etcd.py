"""Members of a dev cluster's etcd: their list, their options, their last words."""

import json
from pathlib import Path

import pytest

from ringfs.base.errors import UserError
from ringfs.cli.dev import etcd
from ringfs.cli.dev.etcd import Member, last_words, make_members, options_of, pack_members, read_members


def test_the_list(tmp_path: Path) -> None:
    """Read as it was written; without one there are no members."""
    members = make_members([1, 2, 3, 4])
    assert members == [Member("etcd1", "127.0.0.1:1", "127.0.0.1:2"), Member("etcd2", "127.0.0.1:3", "127.0.0.1:4")]
    assert read_members(tmp_path) == []
    (tmp_path / etcd.LIST_NAME).write_bytes(pack_members(members))
    assert read_members(tmp_path) == members


def test_options() -> None:
    """Loopback only, one cluster by its token, all that is answered durable, and compaction left to us."""
    members = make_members([1, 2, 3, 4])
    options = options_of(members[1], members, "token")
    assert "--listen-client-urls=http://127.0.0.1:3" in options
    assert "--listen-peer-urls=http://127.0.0.1:4" in options
    assert "--initial-cluster=etcd1=http://127.0.0.1:2,etcd2=http://127.0.0.1:4" in options
    assert "--initial-cluster-token=token" in options
    assert "--auto-compaction-retention=0" in options
    assert not [option for option in options if "no-fsync" in option]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], ""),
        ([{"level": "info", "msg": "ready"}], ""),
        (
            [{"level": "info", "msg": "ready"}, {"level": "fatal", "msg": "discovery failed", "error": "why"}],
            "discovery failed: why",
        ),
        ([{"level": "panic", "msg": "failed to commit"}], "failed to commit"),
        ([{"level": "fatal", "msg": "long ago"}, {"level": "info", "msg": "ready"}], ""),
    ],
)
def test_last_words(events: list[dict[str, str]], words: str) -> None:
    """The reason if it gave up; what it said before an earlier end does not count."""
    lines = [json.dumps(event) for event in events]
    assert last_words(lines) == words
    assert last_words([*lines, "goroutine 1 [running]:"]) == words
    assert last_words([*lines, '{"level":"fa']) == "", "it was killed in the middle of a line"


def test_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The line names the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install etcd-server"):
        etcd.find_program()
