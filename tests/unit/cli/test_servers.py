"""Who leads, as verbs find out: servers over TCP that lead, stand by, start, are stopped or are not there."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ringfs.base.config import ClusterConfig, MetaConfig, MountConfig
from ringfs.cli import servers
from ringfs.cli.exits import NotReachable
from ringfs.cli.reach import ask_status, reach_leader, status_at
from ringfs.cli.servers import ask_servers, leader_among
from ringfs.meta.standby_service import StandbyService
from ringfs.wire.messages.cluster import ROLE_LEADER, ROLE_STANDBY, ROLE_STARTING, GetServer, ServerStatus
from ringfs.wire.rpc import serve_tcp
from ringfs.wire.scouting import Connect

STANDBY = ServerStatus("meta1", ROLE_STANDBY, 4, 9, "", "", [], 0, "")
LEADER = replace(STANDBY, role=ROLE_LEADER)


@asynccontextmanager
async def cluster(folder: Path, *statuses: ServerStatus | str) -> AsyncIterator[ClusterConfig]:
    """Servers meta1, meta2, … that say this of themselves. "stopped": it takes connections, and is silent; "gone": nobody is."""
    key_file = folder / "key"
    key_file.write_text("5a" * 32)
    key_file.chmod(0o600)
    metas = []
    async with trio.open_nursery() as nursery:
        with socket.create_server(("127.0.0.1", 0)) as stopped, socket.socket() as gone:
            gone.bind(("127.0.0.1", 0))
            for number, status in enumerate(statuses, 1):
                if isinstance(status, ServerStatus):
                    told = replace(status, name=f"meta{number}")
                    handler = StandbyService(lambda told=told: told)  # type: ignore[misc]
                    address = await nursery.start(serve_tcp, handler, key_file_bytes(), "127.0.0.1:0")
                else:
                    port = (stopped if status == "stopped" else gone).getsockname()[1]
                    address = f"127.0.0.1:{port}"
                metas.append(MetaConfig(f"meta{number}", address, folder / "state"))
            yield ClusterConfig(folder / "x", "uuid", key_file, "replica:1", tuple(metas), (), MountConfig(), "info")
        nursery.cancel_scope.cancel()


def key_file_bytes() -> bytes:
    """What the key file says."""
    return b"\x5a" * 32


async def test_the_leader_is_found(tmp_path: Path) -> None:
    """Whatever the others are, and the one of the newest term if two say that they lead."""
    async with cluster(tmp_path, "stopped", "gone", STANDBY, LEADER, replace(LEADER, term=5)) as config:
        told = await ask_servers(config, "test", leader_is_enough=True)
        assert leader_among(told).name == "meta5"
        async with reach_leader(config, "test") as leader:
            assert (await leader.call(GetServer())).message.name == "meta5"


async def test_all_are_heard(tmp_path: Path) -> None:
    """One that is stopped is waited for, for a while; each has its say."""
    async with cluster(tmp_path, "stopped", "gone", STANDBY) as config:
        told = await ask_servers(config, "test")
        assert told["meta1"] == "does not answer in 3 s"
        assert "cannot connect to" in str(told["meta2"])
        assert told["meta3"] == replace(STANDBY, name="meta3")


async def test_silence_is_asked_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    """Where nobody answers at all it may be this machine that stood still."""
    asked: list[str] = []

    async def ask(_connect: Connect, address: str) -> ServerStatus:
        asked.append(address)
        if len(asked) == 1:
            await trio.sleep_forever()
        return LEADER

    monkeypatch.setattr(servers, "ask_server", ask)
    async with cluster(tmp_path, "gone") as config:
        assert await ask_servers(config, "test") == {"meta1": LEADER}
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("statuses", "line"),
    [
        (("gone",), r"no metadata server answers \(meta1: cannot connect to .*\): start it, or look at its log"),
        (
            (STANDBY, replace(STANDBY, role=ROLE_STARTING, trouble="etcd does not answer"), "gone"),
            r"no metadata server leads \(meta1 is a standby; meta2 is starting: etcd does not answer; meta3: cannot connect .*\)",
        ),
    ],
    ids=["one", "several"],
)
async def test_nobody_leads(statuses: tuple[ServerStatus | str, ...], line: str, tmp_path: Path) -> None:
    """The line says what each server said."""
    async with cluster(tmp_path, *statuses) as config:
        with pytest.raises(NotReachable, match=line):
            await ask_status(config, "test")


async def test_it_does_not_lead_after_all(tmp_path: Path) -> None:
    """What it said is over when it is asked for more: the line has what all say then, or that another try may do."""
    async with cluster(tmp_path, LEADER, STANDBY) as config:
        with pytest.raises(NotReachable, match=r"meta1 said that it leads, and did not tell the status .*: try again"):
            await ask_status(config, "test")
    async with cluster(tmp_path, STANDBY, replace(STANDBY, trouble="etcd does not answer")) as config:
        with pytest.raises(NotReachable, match=r"no metadata server leads \(meta1 is a standby; meta2 is a standby: etcd does not"):
            await status_at(config, "meta1", "test")
