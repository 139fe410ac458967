"""What an operator asks by mistake is refused before it harms: exit code, and one line: what is wrong, with what, what to do.

No class, too many fragments, disks that are wrong at the start: test_dev.py and tests/mount/test_class.py have them too.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ringfs.cli.main import cli
from tests.support.mounts import DevCluster, dev_cluster
from tests.support.waiting import wait_for

OK, NOT_CLEAN, USAGE = 0, 1, 2
CONTENT = b"only here" * 100_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    """Three nodes, each object on two of them."""
    with dev_cluster("--data", "3", "--class", "replica:2") as cluster:
        yield cluster


def refused(cluster: DevCluster, *words: str | Path, code: int) -> str:
    """The last line of what a command says that is refused: usage mistakes have a hint before it, daemons a log."""
    done = cluster.ringfs(*words, check=False)
    assert done.returncode == code, done.stdout
    *before, line = done.stdout.splitlines()
    assert all(other.startswith(("time=", "ready: ", "Usage: ", "Try ")) or not other for other in before), done.stdout
    assert line.startswith(("ringfs: ", "Error: "))
    return line


def on(cluster: DevCluster) -> tuple[str, Path]:
    """The option that names it."""
    return "--cluster", cluster.directory


def test_classes(cluster: DevCluster, tmp_path: Path) -> None:
    """One that is none, one with more fragments than there are failure domains; for a path, and for a cluster."""
    said = refused(cluster, "class", "set", cluster.mount, "gold", code=USAGE)
    assert "'gold' is not a class of service: write replica:N" in said
    said = refused(cluster, "class", "set", cluster.mount, "ec:4+2", code=USAGE)
    assert "ec:4+2 needs 6 failure domains, there are 3" in said
    said = refused(cluster, "dev", "up", tmp_path / "new", "--class", "ec:4+2", "--data", "3", code=USAGE)
    assert "ec:4+2 needs 6 data nodes" in said
    assert not (tmp_path / "new").exists()
    assert "replica:2 (the default)" in cluster.ringfs("class", "show", cluster.mount).stdout


def test_weight_of_zero(cluster: DevCluster) -> None:
    """A node without a share is a drained one, and that is another word; in cluster.toml as well."""
    assert "0 is not in the range 1<=x<=10000" in refused(cluster, "node", "weight", "data1", "0", *on(cluster), code=USAGE)
    disk = cluster.root / "weightless"
    disk.mkdir()
    new = ("node", "add", "data9", "--address", "127.0.0.1:9", "--disk", disk, "--weight", "0")
    assert "0 is not in the range 1<=x<=10000" in refused(cluster, *new, *on(cluster), code=USAGE)
    other = cluster.root / "other.toml"
    text = (cluster.directory / "cluster.toml").read_text()
    other.write_text(
        text.replace('name = "data1"\n', 'name = "data1"\nweight = 0\n').replace('"key"', f'"{cluster.directory}/key"')
    )
    assert "[data] weight must be a whole number from 1 to 10000" in refused(cluster, "data", other, "data1", code=USAGE)


def test_node_of_another_cluster(cluster: DevCluster) -> None:
    """Its disk is not entered; and with a disk of its own it is not let in, though it has the key."""
    with dev_cluster("--data", "1", "--class", "replica:1") as other:
        other.dev("stop", "data1")
        disk = other.directory / "data1" / "disk"
        new = ("node", "add", "data9", "--address", "127.0.0.1:9", "--disk", disk)
        said = refused(cluster, *new, *on(cluster), code=USAGE)
        assert "belongs to another cluster" in said
        assert "nothing was written" in said
        # By its own cluster.toml, with the address and the key of this one.
        config = other.directory / "cluster.toml"
        ours = (cluster.directory / "cluster.toml").read_text()
        config.write_text(config.read_text().replace(address_of_meta(config.read_text()), address_of_meta(ours)))
        shutil.copy(cluster.directory / "key", other.directory / "key")
        said = refused(cluster, "data", config, "data1", code=USAGE)
        assert "is of another cluster" in said
        assert "in cluster.toml" in said
        config.write_text(config.read_text().replace(address_of_meta(ours), "127.0.0.1:9"))
    assert "data9" not in (cluster.directory / "cluster.toml").read_text()
    assert "data9" not in cluster.ringfs("node", "list", *on(cluster)).stdout


def address_of_meta(config: str) -> str:
    """The first address of a cluster.toml."""
    return config.partition('address = "')[2].partition('"')[0]


def test_disk_with_the_wrong_identity(cluster: DevCluster) -> None:
    """That of another node of this cluster, by mistake; and an empty one, as if a mount were missing."""
    for name in ("data1", "data2"):
        cluster.dev("stop", name)
    disk = cluster.directory / "data1" / "disk"
    aside = cluster.directory / "data1" / "aside"
    disk.rename(aside)
    shutil.copytree(cluster.directory / "data2" / "disk", disk)
    config = cluster.directory / "cluster.toml"
    said = refused(cluster, "data", config, "data1", code=USAGE)
    assert "the cluster knows another disk as data node 'data1': is the right disk mounted at" in said
    shutil.rmtree(disk)
    disk.mkdir()
    said = refused(cluster, "data", config, "data1", code=USAGE)
    assert "'ringfs node replace data1', then start the node again" in said
    shutil.rmtree(disk)
    said = refused(cluster, "data", config, "data1", code=USAGE)
    assert "create an empty directory there, or mount the disk" in said
    aside.rename(disk)
    cluster.dev("up")
    cluster.ringfs("heal", "wait", *on(cluster))


def test_the_last_holder(cluster: DevCluster) -> None:
    """A node with what nobody else has is not removed: while it serves, when it was given up, and not by force."""
    alone = cluster.mount / "alone"
    alone.mkdir()
    cluster.ringfs("class", "set", alone, "replica:1")
    (alone / "file").write_bytes(CONTENT)
    cluster.dev("stop", "mount1")
    holder = cluster.ringfs("info", "--json", "/alone/file", *on(cluster)).stdout.partition('"nodes": ["')[2].partition('"')[0]
    said = refused(cluster, "node", "remove", holder, *on(cluster), code=NOT_CLEAN)
    assert f"cannot remove {holder}: {holder} is in: drain it first" in said
    assert f"'ringfs node drain {holder}' moves" in refused(cluster, "node", "out", holder, *on(cluster), code=NOT_CLEAN)
    cluster.dev("kill", holder)
    wait_down(cluster, holder)
    cluster.ringfs("node", "out", holder, *on(cluster))
    said = refused(cluster, "node", "remove", holder, *on(cluster), code=NOT_CLEAN)
    assert f"cannot remove {holder}: " in said
    cluster.dev("start", holder)
    # It is up, and what it holds counts for nothing: giving it up by force must wait.
    said = refused(cluster, "node", "out", holder, "--force", *on(cluster), code=NOT_CLEAN)
    assert f"{holder} may hold what no other node does" in said
    cluster.ringfs("node", "in", holder, *on(cluster))
    cluster.dev("up")
    cluster.ringfs("heal", "wait", *on(cluster))
    assert (alone / "file").read_bytes() == CONTENT


def wait_down(cluster: DevCluster, name: str) -> None:
    """Nodes are down some seconds after they are gone."""
    wait_for(
        lambda: json.loads(cluster.ringfs("node", "list", "--json", *on(cluster)).stdout)["nodes"],
        lambda rows: any(row["name"] == name and row["state"] == "down" for row in rows),
    )


def test_force_is_rare() -> None:
    """Two verbs have it: one that makes certain that nothing is lost, and one for a mount whose process hangs."""
    assert set(forced(cli, ())) == {("node", "out"), ("umount",)}


def forced(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The verbs with an option of that name."""
    if any("--force" in option.opts for option in command.params):
        yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from forced(child, (*path, name))
