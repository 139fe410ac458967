"""Sections of cluster.toml that come and go: the rest of the file stays as people wrote it."""

import stat
from pathlib import Path

import pytest

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import UserError
from ringfs.cli.config_text import add_section, data_section, remove_data

HEAD = """\
# our cluster
cluster = "00000000-1111-2222-3333-444444444444"
key_file = "key"

[[meta]]
name = "meta1"
address = "127.0.0.1:1"
state = "meta1"
"""
FIRST = '\n# the old one\n[[data]]\nname = "data1"   # in the cellar\naddress = "127.0.0.1:2"\ndisk = "one"\n'
SECOND = '\n# the new one\n[[data]]\nname = "data2"\naddress = "127.0.0.1:3"\ndisk = "two"\ndomain = "rack"\nweight = 7\n'
MOUNT = "\n[mount]\ncommit_interval_s = 2.5\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two nodes, with comments, and a table behind them."""
    path = tmp_path / "cluster.toml"
    path.write_text(HEAD + FIRST + SECOND + MOUNT)
    path.chmod(0o640)
    return path


def test_add(path: Path) -> None:
    """It comes last, whatever is there; the file keeps its mode."""
    changed = add_section(path, data_section("data3", "127.0.0.1:4", ['dr"ei'], "rack", 5))
    assert path.read_text().startswith(HEAD + FIRST + SECOND + MOUNT)
    assert changed == load_config(path)
    added = changed.data[-1]
    assert (added.name, added.address, added.disk, added.domain, added.weight) == (
        "data3",
        "127.0.0.1:4",
        path.parent / 'dr"ei',
        "rack",
        5,
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not list(path.parent.glob("*.new"))


def test_add_several_disks(path: Path) -> None:
    """They are one process, and a node each."""
    changed = add_section(path, data_section("data3", "127.0.0.1:4", ["a", "b"]))
    assert [(row.name, row.process, row.disk.name) for row in changed.disks_of("data3")] == [
        ("data3.1", "data3", "a"),
        ("data3.2", "data3", "b"),
    ]
    assert remove_data(path, "data3").data == load_config(path).data
    assert "data3" not in path.read_text()


def test_add_refused(path: Path) -> None:
    """A twin, and whatever the caller's check finds: the file stays, and the line names it."""
    before = path.read_text()
    with pytest.raises(UserError, match=r"cluster\.toml, line .*'data1' is there twice"):
        add_section(path, data_section("data1", "127.0.0.1:9", ["three"]))

    def check(changed: ClusterConfig) -> None:
        assert changed.data[-1].name == "data3"
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        add_section(path, data_section("data3", "127.0.0.1:9", ["three"]), check)
    assert path.read_text() == before
    assert not list(path.parent.glob("*.new"))


@pytest.mark.parametrize(("name", "left"), [("data1", HEAD + SECOND + MOUNT), ("data2", HEAD + FIRST + MOUNT)])
def test_remove(path: Path, name: str, left: str) -> None:
    """Its lines go, and no others."""
    changed = remove_data(path, name)
    assert path.read_text() == left
    assert name not in {row.name for row in changed.data}


def test_remove_the_third(path: Path) -> None:
    """The default of what is not said goes by the number of failure domains, which keeps no node in."""
    assert add_section(path, data_section("data3", "127.0.0.1:4", ["three"])).default_class == "ec:2+1"
    assert remove_data(path, "data1").default_class == "replica:2"


def test_remove_refused(path: Path) -> None:
    """The last node, one that is not there, and sections that are not written as sections."""
    with pytest.raises(UserError, match=r"no \[\[data\]\] named 'data9'"):
        remove_data(path, "data9")
    remove_data(path, "data1")
    with pytest.raises(UserError, match="a cluster needs at least one"):
        remove_data(path, "data2")
    inline = 'data = [{name = "a", address = "h:2", disk = "a"}, {name = "b", address = "h:3", disk = "b"}]\n'
    path.write_text(inline + HEAD)
    with pytest.raises(UserError, match="only people can take out"):
        remove_data(path, "a")
    assert path.read_text() == inline + HEAD
