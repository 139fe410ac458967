"""The parts of a watch over gRPC that know threads: its requests, its responses, and how its failure reaches who watches."""

import threading
from typing import Any

import trio

from ringfs.meta.etcd import codec
from ringfs.meta.etcd.interface import Change, Changes, EtcdCompacted, EtcdUnavailable


class OneThenOpen:
    """The requests of a watch: one, then none, but the stream stays open until it is closed."""

    def __init__(self, request: Any) -> None:
        self._request: Any = request
        self._closed = threading.Event()

    def __iter__(self) -> "OneThenOpen":
        return self

    def __next__(self) -> Any:
        """The request; then wait for the end. In a thread of grpcio's."""
        if self._request is not None:
            request, self._request = self._request, None
            return request
        self._closed.wait()
        raise StopIteration

    def close(self) -> None:
        """Let the thread go."""
        self._closed.set()


class FailingChannel:
    """A receive channel that ends with the failure of who sends."""

    def __init__(self, channel: Changes, failure: list[Exception]) -> None:
        self._channel = channel
        self._failure = failure

    async def receive(self) -> list[Change]:
        """The next changes. Raises the failure."""
        try:
            return await self._channel.receive()
        except trio.EndOfChannel:
            raise (self._failure[0] if self._failure else EtcdUnavailable("the watch ended")) from None

    def __aiter__(self) -> "FailingChannel":
        return self

    async def __anext__(self) -> list[Change]:
        return await self.receive()


def read_changes(stream: Any, send: trio.MemorySendChannel[list[Change]]) -> None:
    """In a thread: read a watch until it ends. Raises grpc.RpcError, EtcdCompacted, EtcdUnavailable."""
    changes: list[Change] = []
    for response in stream:
        if response.canceled:
            if response.compact_revision:
                raise EtcdCompacted(f"compacted up to {response.compact_revision}")
            raise EtcdUnavailable(f"the watch was ended: {response.cancel_reason}")
        changes += map(codec.change, response.events)
        if changes and not response.fragment:
            try:
                trio.from_thread.run(send.send, changes)
            except trio.BrokenResourceError:
                return
            changes = []
