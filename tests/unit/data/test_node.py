"""run_data: a whole data node in this process, with a metadata server that is none."""

import os
import signal
import socket
from functools import partial
from pathlib import Path

import pytest
import trio

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import Code, Refused, UserError
from ringfs.data import membership, node
from ringfs.data.node import run_data
from ringfs.wire.messages.data import Get, GetStoreStatus, Put, PutDone
from ringfs.wire.rpc import open_client, serve_tcp
from tests.support.fake_meta import FakeMeta
from tests.support.stores import CLUSTER, made
from tests.support.waiting import until

KEY = bytes(range(32))
THING = made(1)


def free_port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    """A cluster.toml with one node, its disk an empty directory."""
    (tmp_path / "disk").mkdir()
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    key.chmod(0o600)
    file = tmp_path / "cluster.toml"
    file.write_text(
        f'cluster = "{CLUSTER}"\nkey_file = "key"\n'
        f'[[meta]]\nname = "meta1"\naddress = "127.0.0.1:{free_port()}"\nstate = "meta"\n'
        f'[[data]]\nname = "data1"\naddress = "127.0.0.1:{free_port()}"\ndisk = "disk"\n'
    )
    return load_config(file)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are seconds in life."""
    monkeypatch.setattr(membership, "HEARTBEAT_S", 0.005)
    monkeypatch.setattr(membership, "_PAUSES_S", (0.01,))
    monkeypatch.setattr(node, "_LOOK_S", 0.01)


def is_up(meta: FakeMeta, join_count: int, addresses: list[str]) -> bool:
    """Whether the node has joined so many times, and said where it listens."""
    return meta.join_count >= join_count and len(addresses) > 0


async def test_serves_until_sigterm_and_again(config: ClusterConfig) -> None:
    """It joins, serves, remembers its number, ends cleanly on SIGTERM, and has everything at the next start."""
    meta = FakeMeta()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            for start in (1, 2):
                stopped = trio.Event()
                addresses: list[str] = []

                async def serve(stopped: trio.Event = stopped, addresses: list[str] = addresses) -> None:
                    await run_data(config, "data1", started=addresses.append)
                    stopped.set()

                nursery.start_soon(serve)
                await until(partial(is_up, meta, start, addresses))
                assert addresses == [config.data[0].address]
                async with open_client(addresses[0], KEY, name="tester") as client:
                    if start == 1:
                        request = Put(THING.oid, len(THING.content), THING.table)
                        assert (await client.call(request, [THING.content])).message == PutDone(True)
                    assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content
                    status = (await client.call(GetStoreStatus())).message
                    assert (status.node, status.cluster) == (1, CLUSTER)
                os.kill(os.getpid(), signal.SIGTERM)
                await stopped.wait()
                assert "\nnode 1\n" in (config.data[0].disk / "ringfs-disk").read_text()
            nursery.cancel_scope.cancel()


async def test_a_disk_whose_identity_vanishes_is_not_written_to(config: ClusterConfig) -> None:
    """As when it is unmounted: puts are refused, gets go on, the heartbeat says why."""
    meta = FakeMeta()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            nursery.start_soon(run_data, config, "data1")
            await until(lambda: meta.heartbeats)
            async with open_client(config.data[0].address, KEY, name="tester") as client:
                request = Put(THING.oid, len(THING.content), THING.table)
                await client.call(request, [THING.content])
                (config.data[0].disk / "ringfs-disk").unlink()
                await until(lambda: meta.heartbeats[-1].trouble)
                assert "identity file" in meta.heartbeats[-1].trouble
                with pytest.raises(Refused) as refused:
                    await client.call(request, [THING.content])
                assert refused.value.code is Code.DISK_FAILED
                assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content
            nursery.cancel_scope.cancel()


async def test_mistakes_are_user_errors(config: ClusterConfig) -> None:
    """A name that is not in the file, an address in use, a name that the cluster gave to another disk: one line each."""
    with trio.fail_after(30):
        with pytest.raises(UserError, match=r"no .*data9"):
            await run_data(config, "data9")
        with socket.socket() as taken:
            host, port = config.data[0].address.split(":")
            taken.bind((host, int(port)))
            taken.listen()
            with pytest.raises(UserError, match="cannot listen"):
                await run_data(config, "data1")
        meta = FakeMeta()
        meta.refuse_join = Code.NODE_NAME_TAKEN
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            with pytest.raises(UserError, match="knows another disk as data node 'data1'"):
                await run_data(config, "data1")
            nursery.cancel_scope.cancel()
        (config.data[0].disk / "ringfs-disk").unlink()
        with pytest.raises(UserError, match="not empty"):
            await run_data(config, "data1")
