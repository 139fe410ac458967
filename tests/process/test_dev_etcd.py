"""`ringfs dev` with several metadata servers and the etcd that they share, as real processes. Each test leaves nothing running."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ringfs.cli.dev import layout as layouts
from ringfs.cli.dev.etcd import read_members
from ringfs.meta.etcd.client import Access, EtcdClient
from ringfs.meta.etcd.interface import Get, Put
from tests.support.etcd import patiently
from tests.support.mounts import RINGFS, DevCluster, dev_cluster
from tests.support.waiting import wait_for

NOT_CLEAN, USAGE = 1, 2
MEMBERS = ["etcd1", "etcd2", "etcd3"]
METAS = ["meta1", "meta2", "meta3"]


@pytest.fixture
def made() -> Iterator[DevCluster]:
    """A cluster of three metadata servers of which nothing runs."""
    root = Path(tempfile.mkdtemp(prefix="ringfs-test."))
    cluster = DevCluster(root)
    cluster.directory.mkdir()
    layouts.create_layout(cluster.directory, 1, "replica:1", 3)
    try:
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def own() -> Iterator[DevCluster]:
    """Such a cluster that is up, healthy and mounted."""
    with dev_cluster("--meta", "3", "--data", "1", "--class", "replica:1") as cluster:
        yield cluster


def states(cluster: DevCluster) -> list[str]:
    """Of the members."""
    found = cluster.rows()
    return [found[name]["state"] for name in MEMBERS]


def leader(cluster: DevCluster, of: Sequence[str]) -> str:
    """Which of those leads, once one does."""
    (name,) = wait_for(
        lambda: [name for name, row in cluster.rows().items() if name in of and row["role"] == "leader"],
        lambda names: len(names) == 1,
    )
    return name


def refused(cluster: DevCluster, *arguments: str | Path, code: int = USAGE) -> str:
    """The one line with which a command is refused."""
    done = cluster.ringfs(*arguments, check=False)
    assert done.returncode == code, done.stdout
    return done.stdout


async def put_and_get(cluster: DevCluster, value: bytes) -> list[bytes]:
    """Set a key through etcd as it is; what was there before."""
    client = EtcdClient(Access(tuple(member.client for member in read_members(cluster.directory))))
    try:
        found = await patiently(lambda: client.transact([], [Get(b"k")], timeout_s=30))
        await patiently(lambda: client.transact([], [Put(b"k", value)], timeout_s=30))
        return [pair.value for pair in found.found[0]]
    finally:
        client.close()


async def test_members(made: DevCluster) -> None:
    """Started, killed, stopped, started again: what they answered is there as long as two of three run, and after `down`."""
    made.dev("start", "etcd1")
    assert made.rows()["etcd1"]["note"] == "no quorum: 1 of 3 members run"
    made.dev("start", "etcd2")
    made.dev("start", "etcd3")
    assert states(made) == ["running"] * 3
    wait_for(lambda: [made.rows()[name]["note"] for name in MEMBERS], lambda notes: not any(notes))
    assert await put_and_get(made, b"1") == []

    leading = leader(made, MEMBERS)
    first, second = (name for name in MEMBERS if name != leading)
    made.dev("kill", first)
    assert made.rows()[first]["state"] == "killed"
    made.dev("start", first)
    assert "does not run" in refused(made, "dev", "kill", made.directory, "meta1")
    made.dev("stop", second)
    assert made.rows()[second]["state"] == "stopped"
    assert await put_and_get(made, b"2") == [b"1"]

    assert "2 processes stopped, nothing left running" in made.dev("down").stdout
    assert made.pids() == []
    assert states(made) == ["stopped"] * 3
    for name in MEMBERS:
        made.dev("start", name)
    assert await put_and_get(made, b"3") == [b"2"]


def test_a_member_that_lost_its_data(made: DevCluster) -> None:
    """etcd does not take it back as it is, and why is the command's line and in the table; the others go on."""
    for name in MEMBERS:
        made.dev("start", name)
    made.dev("stop", "etcd1")
    shutil.rmtree(made.directory / "etcd1" / "state")
    assert "etcd1 did not start: " in (said := refused(made, "dev", "start", made.directory, "etcd1", code=NOT_CLEAN))
    assert "has already been bootstrapped" in said
    assert "has already been bootstrapped" in made.rows()["etcd1"]["note"]
    assert states(made) == ["failed", "running", "running"]


def test_a_metadata_server_without_etcd(made: DevCluster) -> None:
    """It is not waited for in vain: the line says what must be started first."""
    made.dev("start", "etcd1")
    said = refused(made, "dev", "start", made.directory, "meta1", code=NOT_CLEAN)
    assert "etcd has no quorum: 1 of 3 members run" in said
    row = wait_for(lambda: made.rows()["meta1"], lambda row: row["role"] == "starting")
    assert row["state"] == "running"


def test_whole_cluster(own: DevCluster) -> None:
    """Healthy is: one leads, two stand by. Without the leaders of both it goes on; `up` and `down` do all there is to do."""
    found = own.rows_without_notes()
    assert list(found) == [*MEMBERS, *METAS, "data1", "mount1"]
    assert {row["state"] for row in found.values()} == {"running"}
    assert sorted(found[name]["role"] for name in METAS) == ["leader", "standby", "standby"]
    (own.mount / "file").write_bytes(b"before")

    killed = {leader(own, METAS), leader(own, MEMBERS)}
    for name in killed:
        own.dev("kill", name)
    with open(own.mount / "file", "ab") as file:
        file.write(b" and after")
        file.flush()
        os.fsync(file.fileno())
    assert leader(own, METAS) not in killed
    assert own.dev("status", check=False).returncode == NOT_CLEAN
    own.up()
    found = own.rows_without_notes()
    assert {row["state"] for row in found.values()} == {"running"}

    standby = next(name for name, row in found.items() if row["role"] == "standby")
    os.kill(found[standby]["pid"], signal.SIGSTOP)
    assert own.rows()[standby]["note"] == "does not answer in 3 s"
    os.kill(found[standby]["pid"], signal.SIGCONT)

    assert "8 processes stopped, nothing left running" in own.dev("down").stdout
    assert own.pids() == []
    own.up()
    assert (own.mount / "file").read_bytes() == b"before and after"
    own.ringfs("check", own.mount)


def test_another_number_is_refused(made: DevCluster) -> None:
    """It would be another journal; an even number, or none, is no choice."""
    said = refused(made, "dev", "up", made.directory, "--meta", "1")
    assert "has 3 metadata servers, not 1" in said
    assert "ringfs meta migrate" in said
    assert "'2' is not one of" in refused(made, "dev", "up", made.root / "other", "--meta", "2")
    assert not (made.root / "other").exists()
    assert made.pids() == []


def test_without_etcd_on_the_machine(tmp_path: Path) -> None:
    """The line names the package, and nothing is left of the attempt."""
    command = [str(RINGFS), "dev", "up", str(tmp_path / "new"), "--meta", "3"]
    done = subprocess.run(command, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == USAGE
    assert "apt-get install etcd-server" in done.stderr
    assert not (tmp_path / "new").exists()
