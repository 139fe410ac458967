"""One `ringfs data` process with several disks: what befalls one of them does not reach the others."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import Code, Refused
from ringfs.wire.messages.data import Get, Put, PutDone
from ringfs.wire.rpc import open_client, serve_tcp
from tests.support.fake_meta import FakeMeta
from tests.support.meta_process import free_port
from tests.support.stores import CLUSTER, made

KEY = bytes(range(32))
THING = made(1)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[ClusterConfig]:
    """Three disks at one node; its ports are not promised to be free, only the first was."""
    for number in (1, 2, 3):
        (tmp_path / f"disk{number}").mkdir()
    key = tmp_path / "key"
    key.write_text(KEY.hex())
    key.chmod(0o600)
    file = tmp_path / "cluster.toml"
    file.write_text(
        f'cluster = "{CLUSTER}"\nkey_file = "key"\nfailure_domain = "disk"\n'
        f'[[meta]]\nname = "meta1"\naddress = "127.0.0.1:{free_port()}"\nstate = "meta"\n'
        f'[[data]]\nname = "data1"\naddress = "127.0.0.1:{free_port(2)}"\ndisks = ["disk1", "disk2", "disk3"]\n'
    )
    yield load_config(file)
    # A gigabyte each.
    for number in (1, 2, 3):
        shutil.rmtree(tmp_path / f"disk{number}", ignore_errors=True)


@pytest.fixture
def process(config: ClusterConfig) -> Iterator[subprocess.Popen[str]]:
    """It runs, until the test ends it or has ended."""
    command = [str(Path(sys.executable).with_name("ringfs")), "data", str(config.path), "data1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 -- another process brings it about
        await trio.sleep(0.02)


async def _put(address: str) -> PutDone | Code:
    async with open_client(address, KEY, name="tester") as client:
        try:
            request = Put(THING.oid, THING.size_bytes, THING.table)
            answer: PutDone = (await client.call(request, [THING.content])).message
            assert (await client.call(Get(THING.oid, 0, 128, False))).payload == THING.content
            return answer
        except Refused as refused:
            return refused.code


async def test_a_disk_that_vanishes(config: ClusterConfig, process: subprocess.Popen[str]) -> None:
    """Its directory is removed: the heartbeats say so, then it leaves; the others take puts all the time. Without any the process
    ends, and says why."""
    meta = FakeMeta()
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: serve_tcp(meta, KEY, config.meta[0].address, task_status=task_status))
            await _until(lambda: {beat.node for beat in meta.heartbeats} == {1, 2, 3})
            number = {row.name: row.node for row in meta.nodes}
            assert [row.domain for row in sorted(meta.nodes, key=lambda row: row.name)] == ["data1.1", "data1.2", "data1.3"]
            one, two, three = (row.address for row in config.data)
            assert [await _put(address) for address in (one, two)] == [PutDone(True)] * 2
            shutil.rmtree(config.data[0].disk)
            await _until(lambda: any(beat.trouble for beat in meta.heartbeats))
            assert {beat.node for beat in meta.heartbeats if beat.trouble} == {number["data1.1"]}
            assert await _put(one) is Code.DISK_FAILED
            assert [await _put(address) for address in (two, three)] == [PutDone(False), PutDone(True)]
            await _until(lambda: not any(peer.name.startswith("data node data1.1 ") for peer in meta.peers))
            assert [await _put(address) for address in (two, three)] == [PutDone(False)] * 2
            assert process.poll() is None
            for row in config.data[1:]:
                shutil.rmtree(row.disk)
            await _until(lambda: process.poll() is not None)
            nursery.cancel_scope.cancel()
    assert process.returncode not in (0, -signal.SIGKILL)
    assert process.stderr is not None
    words = process.stderr.read()
    assert "no disk is left: data1." in words
    assert "Traceback" not in words
