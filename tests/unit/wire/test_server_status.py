"""GetServer and its answer as docs/formats/wire.md shows them."""

import re
from pathlib import Path

from ringfs.wire.messages.cluster import ROLE_STANDBY, EtcdMember, GetServer, ServerStatus
from ringfs.wire.schema import decode, encode

STATUS = ServerStatus(
    name="meta1",
    role=ROLE_STANDBY,
    term=5,
    position=0x010203,
    leader="meta2",
    leader_address="10.0.0.2:7000",
    etcd=[EtcdMember("10.0.0.3:2379", "", True, 4096, 2048, ["no space"])],
    snapshot_position=100,
    trouble="",
)


def golden() -> bytes:
    """The bytes in the page."""
    page = (Path(__file__).parents[3] / "docs/formats/wire.md").read_text()
    block = re.search(r"## Who leads.*?```\n(.*?)```", page, re.DOTALL)
    assert block is not None
    return bytes.fromhex(block[1])


def test_golden_answer() -> None:
    """The page's bytes, both ways."""
    assert encode(STATUS) == golden()
    assert decode(golden()) == STATUS


def test_golden_question() -> None:
    """A tag and nothing else."""
    assert encode(GetServer()) == bytes.fromhex("91cd0317")
