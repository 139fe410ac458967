"""What status makes of what it was told: troubles, JSON, tables."""

from dataclasses import replace
from typing import Any

import pytest

from ringfs.base.config import DataConfig
from ringfs.cli.status_view import Seen, render, to_json, troubles_of
from ringfs.wire.messages.cluster import (
    NODE_DOWN,
    ROLE_LEADER,
    ROLE_STANDBY,
    ROLE_STARTING,
    STANDING_DRAINING,
    STANDING_LOST,
    STANDING_MAINTENANCE,
    STANDING_OUT,
    ClusterMap,
    EtcdMember,
    ServerStatus,
    StatusSession,
)
from tests.support.heal_reports import HEALED, healing, node, status
from tests.support.meta_doubles import CONFIG

MIB = 1 << 20
MEMBERS = [EtcdMember(f"10.0.0.{number}:2379", "", number == 2, 4 * MIB, MIB, []) for number in (1, 2, 3)]
LEADER = ServerStatus("meta2", ROLE_LEADER, 5, 100, "meta2", "10.0.0.2:7000", MEMBERS, 40, "")
STANDBY = replace(LEADER, name="meta1", role=ROLE_STANDBY, position=97)
STATUS = replace(status(node(1)), leader="meta2", sessions=[StatusSession(9, "host:1 mount", 2, 100)])
SEEN = Seen(STATUS, LEADER, {"meta1": STANDBY, "meta2": LEADER, "meta3": replace(STANDBY, name="meta3", position=102)}, HEALED)
ALONE = Seen(STATUS, replace(LEADER, etcd=[]), {"meta2": replace(LEADER, etcd=[])}, HEALED)


@pytest.mark.parametrize("seen", [SEEN, ALONE], ids=["three", "one"])
def test_all_is_well(seen: Seen) -> None:
    """No troubles."""
    assert troubles_of(CONFIG, seen) == []
    assert to_json(seen, [])["healthy"] is True
    assert render(seen, []).endswith("health: good")


def with_server(**of_meta1: Any) -> Seen:
    return replace(SEEN, servers={**SEEN.servers, "meta1": replace(STANDBY, **of_meta1)})


def with_member(**of_first: Any) -> Seen:
    return replace(SEEN, leader=replace(LEADER, etcd=[replace(MEMBERS[0], **of_first), *MEMBERS[1:]]))


def with_node(**of_first: Any) -> Seen:
    return replace(SEEN, status=replace(STATUS, map=ClusterMap(7, "uuid", [node(1, **of_first)])))


@pytest.mark.parametrize(
    ("seen", "trouble"),
    [
        (replace(SEEN, servers={**SEEN.servers, "meta1": "cannot connect"}), "meta1: cannot connect"),
        (with_server(role=ROLE_STARTING), "meta1 is no standby: it is starting"),
        (with_server(role=ROLE_LEADER, term=4), "meta1 is no standby: it is leader"),
        (with_server(role=ROLE_STARTING, trouble="etcd does not answer"), "meta1: etcd does not answer"),
        (with_member(reason="no answer"), "etcd member 10.0.0.1:2379: no answer"),
        (with_member(alarms=["no space"]), "etcd member 10.0.0.1:2379: alarm: no space"),
        (replace(SEEN, leader=replace(LEADER, trouble="disk full"), status=replace(STATUS, trouble="disk full")), "disk full"),
        (replace(SEEN, leader=replace(LEADER, trouble="etcd's database is full")), "etcd's database is full"),
        (with_node(state=NODE_DOWN), "data1 is down"),
        (
            replace(SEEN, heal=healing(exposed=2)),
            "2 objects would not survive the next loss: there is no place for what is missing: "
            "make room, or add a node ('ringfs node add')",
        ),
        (with_node(state=NODE_DOWN, standing=STANDING_DRAINING), "data1 is down"),
        (with_node(state=NODE_DOWN, standing=STANDING_LOST), "data1 is lost: what it held is made anew on the others"),
        (with_node(state=NODE_DOWN, uuid=""), "data1 waits for a new disk"),
        (replace(SEEN, status=replace(STATUS, nodes=[replace(STATUS.nodes[0], trouble="disk full")])), "data1: disk full"),
    ],
)
def test_troubles(seen: Seen, trouble: str) -> None:
    """Each is said once."""
    assert troubles_of(CONFIG, seen) == [trouble]
    assert f"health: {trouble}" in render(seen, [trouble]).splitlines()[-1]
    assert to_json(seen, [trouble])["healthy"] is False


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        (with_node(standing=STANDING_DRAINING), "data1 is draining"),
        (with_node(standing=STANDING_OUT, state=NODE_DOWN), "data1 is out"),
        (with_node(standing=STANDING_MAINTENANCE, state=NODE_DOWN), "data1 is in maintenance, 0 s left"),
        (replace(SEEN, heal=healing(queued=2, queued_bytes=MIB)), "healing: 2 parts (1 MiB) to make or move, 0 B/s"),
        (
            replace(SEEN, heal=healing(index_built_ns=86_400 * 10**9)),
            "data1 built its index anew at 1970-01-02 00:00:00 UTC: 0 parts lost to damage",
        ),
    ],
)
def test_notes(seen: Seen, note: str) -> None:
    """What is under way as somebody wanted it is said, and no fault."""
    assert troubles_of(CONFIG, seen) == []
    assert render(seen, []).endswith(f"health: good; {note}")
    assert to_json(seen, [])["notes"] == [note]


def test_danger() -> None:
    """Objects that may be lost are a fault."""
    seen = replace(SEEN, heal=healing(queued=9, endangered=2))
    assert troubles_of(CONFIG, seen) == ["2 objects would not survive the next loss"]
    assert to_json(seen, [])["heal"]["endangered"] == 2


def test_a_node_that_never_joined() -> None:
    """It is in the configuration only."""
    config = replace(CONFIG, data=(DataConfig("data9", "d:9", CONFIG.path, "d", 1, None),))
    assert troubles_of(config, SEEN) == ["data9 has never joined"]


def test_json() -> None:
    """What scripts look for; lags are never less than nothing; who does not answer has none."""
    told = to_json(replace(SEEN, servers={**SEEN.servers, "meta4": "gone"}), [])
    assert told["leader"] == {"name": "meta2", "term": 5, "address": "10.0.0.2:7000"}
    assert (told["term"], told["position"], told["checkpoint"], told["snapshot_position"]) == (5, 101, 90, 40)
    assert [(row["name"], row["role"], row["term"], row["position"], row["lag"]) for row in told["servers"]] == [
        ("meta1", "standby", 5, 97, 3),
        ("meta2", "leader", 5, 100, 0),
        ("meta3", "standby", 5, 102, 0),
        ("meta4", "unreachable", None, None, None),
    ]
    assert told["etcd"][1] == {
        "endpoint": "10.0.0.2:2379",
        "reason": "",
        "is_leader": True,
        "database_bytes": 4 * MIB,
        "used_bytes": MIB,
        "alarms": [],
        "healthy": True,
    }
    assert told["nodes"][0]["name"] == "data1"
    assert told["nodes"][0]["state"] == "up"
    assert told["sessions"][0]["open_count"] == 2


def test_text() -> None:
    """Tables of servers and etcd where there are several; else nothing of them."""
    text = render(SEEN, [])
    assert "leader    meta2, term 5, journal position 101 (checkpoint 90, snapshot 40)" in text
    assert "meta1   standby     5        97       3" in text
    assert "10.0.0.2:2379  leader     4 MiB  1 MiB" in text
    alone = render(ALONE, [])
    assert "leader    meta2, term 5, journal position 101 (checkpoint 90)" in alone
    assert "SERVER" not in alone
    assert "ETCD" not in alone
