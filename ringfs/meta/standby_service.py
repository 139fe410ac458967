"""What a metadata server that does not lead answers: who it is, and to everything else where the leader may be.

Not here: following the journal, and becoming the leader. A server that leads has server.py for a handler instead.
"""

from collections.abc import Callable

from ringfs.base.errors import Code
from ringfs.meta.leader import Leader
from ringfs.wire.messages.cluster import ROLE_LEADER, GetServer, ServerStatus
from ringfs.wire.rpc import Peer, Request


class StandbyService:
    """An rpc.Handler. It keeps nothing of a connection, so the same one serves as long as the server does not lead."""

    def __init__(self, tell_server: Callable[[], ServerStatus]) -> None:
        self._tell_server = tell_server

    def connected(self, peer: Peer) -> None:
        """See rpc.Handler."""

    def handle(self, request: Request) -> None:
        """See rpc.Handler."""
        server = self._tell_server()
        if isinstance(request.message, GetServer):
            request.reply(server)
        else:
            request.refuse(Code.NOT_LEADER, server.leader_address)

    def disconnected(self, peer: Peer) -> None:
        """See rpc.Handler."""


def alone(leader: Leader, name: str, address: str) -> ServerStatus:
    """What the only metadata server of a cluster, on the file journal, says of itself."""
    return ServerStatus(name, ROLE_LEADER, leader.term, leader.applied, name, address, [], 0, leader.trouble)
