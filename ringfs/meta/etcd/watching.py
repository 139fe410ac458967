"""The parts of a watch over gRPC that know threads: reading its responses, and handing what they tell to who watches."""

import threading
from typing import Any

import trio

from ringfs.meta.etcd import codec
from ringfs.meta.etcd.interface import Change, EtcdCompacted, EtcdUnavailable

#: What comes so soon after other changes were taken is told together: each time the event loop wakes costs more than many changes.
_PAUSE_S = 0.01
#: Responses that wait to be taken; then the stream is not read on.
_RESPONSES_MAX = 64


class Told:
    """The Changes of a watch: what it has told and nobody has taken. A thread fills it, the event loop takes."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._changes: list[Change] = []
        self._responses_count = 0
        #: Guards the two above and is_closed; notified when there is room again, or never will be need of any.
        self._room = threading.Condition()
        self._is_closed = False
        #: Set when there is something to take, or the end; only on the event loop.
        self._news = trio.Event()
        self._failure: Exception | None = None
        self._taken_s = 0.0

    def tell(self, changes: list[Change]) -> bool:
        """In the thread: add changes, perhaps after others were taken. False: nobody takes any more."""
        with self._room:
            self._room.wait_for(lambda: self._responses_count < _RESPONSES_MAX or self._is_closed)
            if self._is_closed:
                return False
            is_news = not self._changes
            self._changes += changes
            self._responses_count += 1
        if is_news:
            self._token.run_sync_soon(self._wake)
        return True

    def fail(self, failure: Exception) -> None:
        """The watch has ended."""
        self._failure = failure
        self._wake()

    def close(self) -> None:
        """Nobody takes any more: let the thread go."""
        with self._room:
            self._is_closed = True
            self._room.notify_all()

    async def receive(self) -> list[Change]:
        """The next changes. Raises the failure, after all that was told before it. Cancelling loses nothing."""
        await trio.sleep_until(self._taken_s + _PAUSE_S)
        while not (changes := self._take()):
            if self._failure is not None:
                raise self._failure
            self._news = trio.Event()
            await self._news.wait()
        self._taken_s = trio.current_time()
        return changes

    def _take(self) -> list[Change]:
        with self._room:
            changes, self._changes = self._changes, []
            self._responses_count = 0
            self._room.notify_all()
        return changes

    def _wake(self) -> None:
        self._news.set()


def read_changes(stream: Any, told: Told) -> None:
    """In a thread: read a watch until it ends or nobody takes any more. Raises grpc.RpcError, EtcdCompacted, EtcdUnavailable."""
    changes: list[Change] = []
    for response in stream:
        if response.canceled:
            if response.compact_revision:
                raise EtcdCompacted(f"compacted up to {response.compact_revision}")
            raise EtcdUnavailable(f"the watch was ended: {response.cancel_reason}")
        changes += map(codec.change, response.events)
        if changes and not response.fragment:
            if not told.tell(changes):
                return
            changes = []
