"""Questions about locks, and what follows from changes of them: the rules of wire/messages/locks.py.

They need no waiting for other sessions and no grace: locks are in the state, and show nothing of what anybody caches. Asked on
one connection, they take effect in the order in which they came. Not here: locks (namespace/locks.py), the queue (lock_waits.py).
"""

from collections.abc import Callable

from ringfs.meta.live import Live
from ringfs.meta.namespace.locks import check_lock, find_in_the_way, get_lock, held_on
from ringfs.wire.messages.common import Done
from ringfs.wire.messages.locks import EndWait, GetLock, LockWait, ReleaseLocks, SetLock, WaitLock
from ringfs.wire.rpc import Request

#: Transactions after which `changed` is to be called.
CHANGES_OF_LOCKS = (SetLock, ReleaseLocks)


class LockService:
    """See the module."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.questions: dict[type, Callable[[Request], None]] = {
            GetLock: self._get,
            WaitLock: self._wait,
            EndWait: self._end_wait,
        }

    def changed(self, operation: SetLock | ReleaseLocks) -> None:
        """A transaction went through: it may have made way for others."""
        inode = operation.lock.inode if isinstance(operation, SetLock) else operation.inode
        self._live.wake_lock_waiters([inode])

    def _get(self, request: Request) -> None:
        session = self._live.session_of(request, request.message.session)
        self._live.reply(request, get_lock(self._live.leader.view, session.number, request.message.operation))

    def _wait(self, request: Request) -> None:
        """Look and enter in one step, so that whatever makes way later finds the waiter."""
        session = self._live.session_of(request, request.message.session).number
        question: WaitLock = request.message.operation
        check_lock(question.lock)
        view, waits = self._live.leader.view, self._live.lock_waits
        is_free = find_in_the_way(view, session, question.lock) is None
        is_free = is_free and not waits.is_promised(session, question.waiter, question.lock)
        if not is_free and waits.enter(
            session, question.waiter, question.lock, lambda inode: list(held_on(view, inode)), is_of_file=question.is_of_file
        ):
            self._live.wake_lock_waiters([question.lock.inode])
        self._live.reply(request, LockWait(is_free))

    def _end_wait(self, request: Request) -> None:
        session = self._live.session_of(request, request.message.session)
        question: EndWait = request.message.operation
        inode = self._live.lock_waits.leave(session.number, question.waiter)
        if inode is not None:
            # It may have been told, and others passed over for it.
            self._live.wake_lock_waiters([inode])
        request.reply(Done())
