"""Which cluster a verb is about: what is named, else where it points, else the environment, else where one is."""

from pathlib import Path

import pytest

from ringfs.base import mountinfo
from ringfs.base.errors import UserError
from ringfs.cli import mounts, place


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A directory with a configuration file, which nobody reads here."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    (directory / place.CONFIG_NAME).touch()
    return directory


def test_file_and_directory(cluster: Path) -> None:
    """Both name the file."""
    file = cluster / place.CONFIG_NAME
    assert place.find_config(str(cluster)) == file
    assert place.find_config(str(file)) == file


def test_option_beats_place_beats_environment(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more explicit wins."""
    other = tmp_path / "other.toml"
    other.touch()
    monkeypatch.setenv(place.VARIABLE, str(other))
    assert place.find_config(None) == other
    assert place.find_config(None, str(cluster)) == cluster / place.CONFIG_NAME
    assert place.find_config(str(cluster), str(other)) == cluster / place.CONFIG_NAME


def test_place_in_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount is asked for its configuration."""
    monkeypatch.setattr(mountinfo, "read_mounts", lambda: [mountinfo.Mount(tmp_path, "fuse.ringfs", "0:40")])
    monkeypatch.setattr(mounts, "config_of", lambda root: root / "told")
    assert place.find_config(None, str(tmp_path / "a" / "b")) == tmp_path / "told"
    monkeypatch.delenv(place.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert place.find_config(None) == tmp_path / "told"


def test_nothing_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to do."""
    monkeypatch.delenv(place.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"give --cluster FILE\|DIR, or set RINGFS_CLUSTER"):
        place.find_config(None)


def test_wrong_places(tmp_path: Path) -> None:
    """What does not exist, or is no cluster, is refused by name."""
    with pytest.raises(UserError, match=r"--cluster .*nowhere does not exist"):
        place.find_config(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is no cluster"):
        place.find_config(str(tmp_path))
