"""A server that does not lead: it says who it is, refuses all else, and hints at the leader it knows of at that moment."""

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.meta.standby_service import StandbyService
from ringfs.wire.messages.cluster import ROLE_STANDBY, GetMap, GetServer, GetStatus, JoinNode, NodeHeartbeat, ServerStatus
from ringfs.wire.messages.queries import StatFs
from ringfs.wire.messages.session import Heartbeat, Mutate, OpenSession, Query, ResumeSession
from ringfs.wire.rpc import open_client
from tests.support.streams import Network

KEY = bytes(32)
ADDRESS = "meta1:7000"


async def test_it_refuses_all_but_one_question(autojump_clock: object) -> None:
    """Sessions, transactions, questions, data nodes, status: NOT_LEADER with the address of the leader of that moment."""
    network = Network()
    status = ServerStatus("meta1", ROLE_STANDBY, 3, 17, "", "", [], 0, "")
    service = StandbyService(lambda: status)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.serve, service, KEY, ADDRESS)
        async with open_client(ADDRESS, KEY, name="test", dial=network.dial) as client:
            assert (await client.call(GetServer())).message == status
            for hint in ("", "meta2:7000", "meta3:7000"):
                status.leader_address = hint
                for request in (
                    OpenSession("test"),
                    ResumeSession(1, [], False),
                    Heartbeat(1),
                    Mutate(1, 1, 1, StatFs(1)),
                    Query(1, StatFs(1)),
                    GetMap(),
                    GetStatus(),
                    JoinNode("uuid", "data1", "d:1", "d", 1),
                    NodeHeartbeat(1, 1, 0, 0, 0, "", 0, ""),
                ):
                    with pytest.raises(Refused) as refused:
                        await client.call(request)
                    assert (refused.value.code, refused.value.detail) == (Code.NOT_LEADER, hint)
            assert (await client.call(GetServer())).message.leader_address == "meta3:7000"
        nursery.cancel_scope.cancel()
