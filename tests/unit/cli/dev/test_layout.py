"""A dev cluster's files: what is made, found again, grown, and refused."""

import fcntl
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from ringfs.base.config import load_config
from ringfs.base.errors import UserError
from ringfs.cli.dev import layout as layouts
from ringfs.cli.dev.etcd import read_members
from ringfs.cli.dev.layout import Layout


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    """A cluster of two data nodes."""
    return layouts.create_layout(tmp_path, 2, "replica:2")


def test_configuration_is_valid(made: Layout) -> None:
    """What is written can be read: names, class, different ports, a key of 0600."""
    config = load_config(made.config_path)
    assert config.default_class == "replica:2"
    assert (config.ring.out_after_s, config.ring.scan_s, config.ring.sweep_after_s) == (30, 30, 300)
    assert [row.name for row in config.meta] == ["meta1"]
    assert [row.name for row in config.data] == ["data1", "data2"]
    assert len({config.meta[0].address, *(row.address for row in config.data)}) == 3
    assert stat.S_IMODE(config.key_file.stat().st_mode) == 0o600
    assert len(config.load_key()) == 32


def test_each_process_has_its_directory(made: Layout) -> None:
    """State is kept in DIR/NAME/, and servers start before mounts."""
    made.set_mount("mount1", Path("/mnt/x"), None)
    assert [(server.name, server.verb) for server in made.servers()] == [
        ("meta1", "meta"),
        ("data1", "data"),
        ("data2", "data"),
        ("mount1", "mount"),
    ]
    for server in made.servers():
        assert server.directory == made.root / server.name
    assert made.config.data[0].disk.is_relative_to(made.root / "data1")
    assert made.config.meta[0].state.is_relative_to(made.root / "meta1")


def test_several_metadata_servers(tmp_path: Path) -> None:
    """They come with as many members of etcd, which start before them; all ports differ, and are kept."""
    made = layouts.create_layout(tmp_path, 1, "replica:1", 3)
    assert [server.name for server in made.servers()] == ["etcd1", "etcd2", "etcd3", "meta1", "meta2", "meta3", "data1"]
    assert [row.name for row in made.config.meta] == ["meta1", "meta2", "meta3"]
    members = read_members(made.root)
    assert made.config.etcd is not None
    assert made.config.etcd.endpoints == tuple(member.client for member in members)
    addresses = [*(row.address for row in made.config.meta), *(row.address for row in made.config.data)]
    addresses += [address for member in members for address in (member.client, member.peer)]
    assert len(set(addresses)) == 10
    assert Layout(tmp_path).members() == made.members()


def test_one_metadata_server_needs_no_etcd(made: Layout) -> None:
    """Neither in the configuration nor as a process."""
    assert made.config.etcd is None
    assert made.members() == []


def test_ports_and_cluster_are_kept(made: Layout) -> None:
    """Opened again it is the same cluster at the same addresses."""
    assert layouts.open_layout(str(made.root)).config == made.config


def test_two_clusters_differ(made: Layout, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each has an identity and a key of its own."""
    other = layouts.create_layout(tmp_path_factory.mktemp("other"), 1, "replica:1")
    assert other.config.cluster != made.config.cluster
    assert other.config.load_key() != made.config.load_key()


def test_grow(made: Layout) -> None:
    """New nodes come behind the old ones, which keep everything; a change of the user's stays."""
    made.config_path.write_text(made.config_path.read_text() + "\n[mount]\ncommit_interval_s = 2.5\n")
    before = made.config.data
    made.grow(2)
    assert made.config.data[:2] == before
    assert [row.name for row in made.config.data] == ["data1", "data2", "data3", "data4"]
    assert made.config.mount.commit_interval_s == 2.5
    text = made.config_path.read_text()
    made.grow(0)
    assert made.config_path.read_text() == text


def test_mounts_by_number(made: Layout) -> None:
    """mount10 comes behind mount2; a mount point with any byte in its name is kept."""
    for number in (10, 2, 1):
        made.set_mount(f"mount{number}", Path(f"/mnt/{number}\n\udcff"), None)
    assert [server.name for server in made.mounts()] == ["mount1", "mount2", "mount10"]
    assert made.mounts()[2].arguments == ("/mnt/10\n\udcff",)


def test_mount_for(made: Layout) -> None:
    """A known point keeps its mount, a new one gets the lowest free number."""
    first = made.mount_for(Path("/mnt/a"), None)
    second = made.mount_for(Path("/mnt/b"), None)
    assert (first.name, second.name) == ("mount1", "mount2")
    assert made.mount_for(Path("/mnt/a"), None) == first
    assert first.options == ()
    assert made.mount_for(Path("/mnt/a"), "pyfuse3").options == ("--driver", "pyfuse3")
    assert made.mount_for(Path("/mnt/a"), None).options == ("--driver", "pyfuse3"), "it is remembered"


def test_unknown_name(made: Layout) -> None:
    """The names that there are, are told."""
    with pytest.raises(UserError, match="has no process 'data9': it has meta1, data1, data2"):
        made.server("data9")


def test_what_is_no_dev_cluster(tmp_path: Path) -> None:
    """Neither a missing directory nor one with a configuration of another kind is taken for one."""
    with pytest.raises(UserError, match=r"does not exist: 'ringfs dev up"):
        layouts.open_layout(str(tmp_path / "nowhere"))
    (tmp_path / "cluster.toml").write_text("# of a real cluster\n")
    with pytest.raises(UserError, match="is no dev cluster"):
        layouts.open_layout(str(tmp_path))
    with pytest.raises(UserError, match="is not empty and no dev cluster"):
        layouts.check_creatable(tmp_path)
    with pytest.raises(UserError, match="is not a directory"):
        layouts.check_creatable(tmp_path / "cluster.toml")


def test_half_made_cluster_can_be_made(tmp_path: Path) -> None:
    """What an interrupted `dev up` left is no cluster, and does not hinder the next one."""
    (tmp_path / "dev.lock").touch()
    (tmp_path / "key").write_text("half")
    assert not layouts.is_dev_cluster(tmp_path)
    layouts.check_creatable(tmp_path)
    assert len(layouts.create_layout(tmp_path, 1, "replica:1").config.load_key()) == 32


def test_only_one_holds_the_lock(made: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second command says that it waits, and for what, before it does."""
    waited: list[int] = []
    flock = fcntl.flock

    def without_waiting(file: BinaryIO, how: int) -> None:
        if how & fcntl.LOCK_NB:
            flock(file, how)
        else:
            waited.append(how)

    with layouts.locked(made.root):
        monkeypatch.setattr(fcntl, "flock", without_waiting)
        with layouts.locked(made.root):
            assert waited == [fcntl.LOCK_EX]
    assert "waiting for another 'ringfs dev' command" in capsys.readouterr().err
