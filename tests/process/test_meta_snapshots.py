"""Real processes: a single server's state goes to etcd, into the ring, and comes back from there onto an empty disk."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import trio

from ringfs.base.config import load_config
from ringfs.meta.etcd.client import Access, EtcdClient
from ringfs.meta.snapshot_pointer import SnapshotPointer, look_at_pointer
from tests.support.etcd import RealEtcd, running_etcd
from tests.support.mounts import RINGFS, DevCluster, dev_cluster
from tests.support.waiting import PATIENCE_S


async def settled(condition: Callable[[], bool]) -> None:
    """Until other processes have brought it about."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- other processes bring it about
            await trio.sleep(0.1)


async def snapshot(etcd: RealEtcd) -> SnapshotPointer:
    """The one that etcd points to, once there is one."""
    client = EtcdClient(Access(etcd.endpoints))
    try:
        with trio.fail_after(PATIENCE_S):
            while (seen := await look_at_pointer(client, b"/ringfs/")) is None:  # noqa: ASYNC110 -- another process brings it about
                await trio.sleep(0.1)
        return seen.read()
    finally:
        client.close()


def use_etcd(config: Path, etcd: RealEtcd) -> None:
    """As an operator writes it."""
    endpoints = ", ".join(f'"{endpoint}"' for endpoint in etcd.endpoints)
    config.write_text(config.read_text() + f"\n[etcd]\nendpoints = [{endpoints}]\n")


def is_clean(cluster: DevCluster, config: Path) -> bool:
    """Whether `ringfs check` finds nothing; the snapshot's objects are checked with all others."""
    done = cluster.ringfs("check", "--deep", "--json", "--cluster", config, check=False)
    return done.returncode == 0 and json.loads(done.stdout)["clean"] is True


async def test_from_files_to_etcd_to_an_empty_disk(tmp_path: Path) -> None:
    """migrate, the first snapshot, a lost disk, --restore: every file is there each time, and the cluster is clean."""
    async with running_etcd(tmp_path / "etcd") as etcd:
        with dev_cluster("--data", "2", "--class", "replica:2") as cluster:
            config = cluster.directory / "cluster.toml"
            mount = cluster.mount
            for number in range(50):
                (mount / f"file{number}").write_bytes(bytes([number]) * 5000)
            os.sync()
            cluster.dev("stop", "meta1")
            use_etcd(config, etcd)
            said = cluster.ringfs("meta", "migrate", config).stdout
            migrated = int(said.split("transaction ")[1].split(":")[0])
            assert cluster.ringfs("meta", "migrate", config).stdout == said
            cluster.dev("start", "meta1")
            pointer = await snapshot(etcd)
            assert pointer.marks.position >= migrated > 50
            await settled(lambda: is_clean(cluster, config))
            (mount / "later").write_bytes(b"in the journal only")
            os.sync()
            state = load_config(config).meta[0].state
            cluster.dev("kill", "meta1")
            shutil.rmtree(state)
            cluster.dev("start", "meta1")
            await settled(lambda: is_clean(cluster, config))
            check_files(mount)
            cluster.dev("stop", "meta1")
            (state / "store" / "data.mdb").write_bytes(b"what is this")
            restore(config)
            cluster.dev("start", "meta1")
            await settled(lambda: is_clean(cluster, config))
            check_files(mount)


def check_files(mount: Path) -> None:
    """What was written is there, and can be written to."""
    for number in range(50):
        assert (mount / f"file{number}").read_bytes() == bytes([number]) * 5000
    assert (mount / "later").read_bytes() == b"in the journal only"
    (mount / "now").write_bytes(b"now")


def restore(config: Path) -> None:
    """Run a server with --restore until it is ready, and stop it."""
    argv = [str(RINGFS), "meta", str(config), "--restore"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        said = server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        log = server.stderr.read()
        assert said.startswith("ready"), log
        assert server.wait() == 0
        assert "meta1 is restored" in log
