"""Command lines: the ones that are started are the ones that are recognised, and no others."""

import sys
from pathlib import Path

import pytest

from ringfs.cli.dev import command_lines, layout
from ringfs.cli.dev.command_lines import command_line, identify


def as_seen(argv: list[str]) -> list[str]:
    """What /proc shows of it: env has made way for what it runs."""
    return argv[2:] if argv[0] == "/usr/bin/env" else argv


def test_what_is_started_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of process by its verb and its directory."""
    monkeypatch.setattr(command_lines, "find_program", lambda: "/usr/bin/etcd")
    made = layout.create_layout(tmp_path, 1, "replica:1", 3)
    made.set_mount("mount1", Path("/mnt/x"), "pyfuse3")
    servers = made.servers()
    assert {server.verb for server in servers} == {"etcd", "meta", "data", "mount"}
    for server in servers:
        argv = as_seen(command_line(server, made.config_path))
        assert identify(argv) == (server.verb, server.directory)
        assert [word for word in server.arguments if word not in argv] == []


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["etcd"],
        ["etcd", "--data-dir=/srv/etcd1"],
        ["etcd", "--name=x", "--data-dir=/c/etcd1/state"],
        ["/usr/bin/env", "etcd", "--data-dir=/c/etcd1/state"],
        ["grep", "--data-dir=/c/etcd1/state"],
        [sys.executable, "-P", "-m", "ringfs.cli.main", "meta", "/c/cluster.toml", "--name", "meta1"],
        [sys.executable, "-P", "-m", "ringfs.cli.main", "meta", "--run-dir"],
        [sys.executable, "-m", "ringfs.cli.main", "meta", "--run-dir", "/c/meta1", "/c/cluster.toml"],
    ],
)
def test_strangers(argv: list[str]) -> None:
    """Processes of the machine that look a little like ours, and servers that somebody else runs."""
    assert identify(argv) is None
