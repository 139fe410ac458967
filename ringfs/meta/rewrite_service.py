"""Stewards move files' bytes to other objects, without a session: they read a chunk's extents, and have others take their place.

Nobody sees another file, but what clients know of the extents is old then: a client that acts ahead on the file gives it back
before, and all forget what they cached of it.
"""

from functools import partial

from ringfs.base.errors import Refused
from ringfs.base.ids import NO_SESSION
from ringfs.meta.live import Live
from ringfs.meta.namespace import machine
from ringfs.wire.messages.common import NOT_LEASED
from ringfs.wire.messages.queries import Extents, ReadExtents
from ringfs.wire.messages.sharing import Rewrite
from ringfs.wire.rpc import Request


class RewriteService:
    """See the module."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._leader = live.leader

    def read_extents(self, request: Request) -> None:
        """ReadExtents: Extents, as the journal has them: what a client has not committed is not there."""
        question: ReadExtents = request.message
        answer: Extents = machine.query(self._leader.view, question)
        answer.leased = NOT_LEASED
        self._live.reply(request, answer)

    def rewrite(self, request: Request) -> None:
        """Rewrite: Attributes, durable, once nobody caches the extents that were replaced."""
        if self._live.grace_over.is_set():
            self._leader.admit(partial(self._admitted, request))
        else:
            self._live.check_may_wait(request)
            self._live.wait_then(request, self._live.grace_over.wait, partial(self.rewrite, request))

    def _admitted(self, request: Request) -> None:
        try:
            self._rewrite(request)
        except Refused as refused:
            self._live.reply(request, refused)

    def _rewrite(self, request: Request) -> None:
        operation: Rewrite = request.message
        live, leases = self._live, self._live.leases
        tickets = leases.take_back(NO_SESSION, [operation.inode]) if leases.others_delegated(NO_SESSION) else []
        if tickets:
            live.send_recalls()
            live.check_may_wait(request)
            live.wait_then(request, partial(live.settled, tickets), partial(self.rewrite, request))
            return
        done = live.transact_own(operation)
        tickets = [] if isinstance(done, Refused) else leases.drop(NO_SESSION, [operation.inode])
        live.send_recalls()
        answer = partial(live.reply, request, done)
        if tickets:
            live.wait_then(request, partial(live.settled, tickets), answer)
        else:
            answer()
