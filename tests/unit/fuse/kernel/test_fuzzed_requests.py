"""Whatever comes from the device, cut, stretched or invented: each request that wants a reply gets one, and the loop goes on."""

import os
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

import hypothesis.strategies as st
import trio
from hypothesis import HealthCheck, given, settings

from ringfs.base.errors import Code, Refused
from ringfs.fuse.kernel import opcodes, wire
from ringfs.fuse.kernel.channel import Channel
from ringfs.fuse.kernel.driver import Loop
from ringfs.fuse.kernel.notify import Notifier
from ringfs.fuse.operations import Operations
from tests.support.fuse_requests import CAPTURED

#: INIT from an old kernel ends the driver on purpose; these have no reply.
NOT_SENT = {opcodes.INIT}
SILENT = {opcodes.FORGET, opcodes.BATCH_FORGET, opcodes.INTERRUPT}
BODIES = [bytes.fromhex(raw)[wire.IN_HEADER.size :] for raw in CAPTURED.values()]


class RefusingOperations:
    """Every operation is there, and refused."""

    def name_timeout_s(self, _parent: int) -> float:
        """Nothing is to be believed."""
        return 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Any operation."""

        def refuse_now(*_arguments: Any) -> None:
            raise Refused(Code.INVALID, name)

        async def refuse(*_arguments: Any, **_options: Any) -> None:
            raise Refused(Code.INVALID, name)

        return refuse_now if name.endswith("_now") else refuse


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, bytes]:
    """An opcode that may be unknown, and a body that may be another's, cut short or stretched."""
    known = st.sampled_from(sorted(set(opcodes.BY_NUMBER) - NOT_SENT))
    opcode = draw(st.one_of(known, st.integers(54, 0xFFFFFFFF)))
    body = draw(st.one_of(st.sampled_from(BODIES), st.binary(max_size=200)))
    return opcode, body[: draw(st.integers(0, len(body)))] + draw(st.binary(max_size=30))


async def answered(sent: list[tuple[int, bytes]]) -> list[int]:
    """Send them one by one; the unique numbers of the replies, until the last request, a known one, is answered."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(os.dup(ours.fileno()))
    ours.close()
    kernel = trio.socket.from_stdlib_socket(theirs)
    replies = []
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Loop(cast(Operations, RefusingOperations()), channel, Notifier()).run)
            for unique, (opcode, body) in enumerate([*sent, (40, b"")], 1):
                await kernel.send(wire.IN_HEADER.pack(40 + len(body), opcode, unique, 1, 0, 0, 1, 0, 0) + body)
            while len(sent) + 1 not in replies:
                reply = await kernel.recv(1 << 16)
                length, _, unique = struct.unpack_from("=IiQ", reply)
                assert length == len(reply)
                replies.append(unique)
            # Not closed: a late reply that nobody reads would reset the connection, which no device does.
            kernel.shutdown(socket.SHUT_WR)
    kernel.close()
    channel.close()
    return replies


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests(), max_size=20))
def test_everything_gets_its_reply(sent: list[tuple[int, bytes]]) -> None:
    """One each, and none where the kernel wants none. (A blocking lock is a task of its own, whose reply may come later.)"""
    wanted = [unique for unique, (opcode, _) in enumerate(sent, 1) if opcode not in SILENT]
    later = {unique for unique in wanted if (row := opcodes.BY_NUMBER.get(sent[unique - 1][0])) is not None and row.waits}
    replies = trio.run(answered, sent)
    assert len(replies) == len(set(replies))
    assert {*wanted, len(sent) + 1} - later <= set(replies) <= {*wanted, len(sent) + 1}
