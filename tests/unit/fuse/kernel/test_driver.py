"""The loop over a pair of sockets instead of /dev/fuse: what is malformed, unknown, interrupted, slow, or kept."""

import errno
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
import trio

from ringfs.base.errors import Code, Refused, UserError
from ringfs.fuse.at_once import Timeouts
from ringfs.fuse.entry import KernelEntry
from ringfs.fuse.kernel import wire
from ringfs.fuse.kernel.answers import Answers, Reply
from ringfs.fuse.kernel.channel import Channel
from ringfs.fuse.kernel.driver import KernelDriver, Loop
from ringfs.fuse.kernel.negotiation import Agreement
from ringfs.fuse.kernel.notify import Notifier
from ringfs.fuse.kernel.opcodes import Row
from ringfs.fuse.kernel.requests import Request
from ringfs.fuse.operations import Operations
from tests.support.fuse_requests import CAPTURED

LOOKUP, READLINK, WRITE, SETLKW, INTERRUPT, FORGET, DESTROY = 1, 5, 16, 33, 36, 2, 38


class FakeOperations:
    """What the tests ask for."""

    def __init__(self) -> None:
        self.may_answer = trio.Event()
        self.written: list[memoryview] = []
        self.appended: list[bool] = []

    async def readlink(self, number: int) -> bytes:
        """1: at once, 2: when allowed, 3: refused, 4: a bug."""
        if number == 2:
            await self.may_answer.wait()
        if number == 3:
            raise Refused(Code.STALE)
        if number == 4:
            raise ZeroDivisionError
        return b"target %d" % number

    def lookup_now(self, parent: int, name: bytes) -> tuple[KernelEntry | None, bool]:
        """Not known."""
        return None, False

    async def lookup(self, parent: int, name: bytes) -> KernelEntry:
        """Nothing is there."""
        raise Refused(Code.NOT_FOUND)

    async def write(
        self, handle: int, offset: int, data: memoryview, *, appends: bool, kills_privileges: bool, is_of_pages: bool
    ) -> int:
        """Kept."""
        self.appended.append(appends)
        if handle == 2:
            await self.may_answer.wait()
        self.written.append(data)
        return len(data)

    def is_page_unsure(self, handle: int) -> bool:
        """Never."""
        return False


class Kernel:
    """The other end."""

    def __init__(self, sock: socket.socket, operations: FakeOperations, loop: Loop) -> None:
        self.sock = trio.socket.from_stdlib_socket(sock)
        self.operations = operations
        self.loop = loop
        self.agreements: list[Agreement] = []

    async def send(self, opcode: int, unique: int, node: int = 1, body: bytes = b"") -> None:
        """A request as it should be."""
        await self.sock.send(wire.IN_HEADER.pack(40 + len(body), opcode, unique, node, 0, 0, 1, 0, 0) + body)

    async def reply(self) -> tuple[int, int, bytes]:
        """unique, errno, payload of the next reply."""
        with trio.fail_after(120):
            said = await self.sock.recv(1 << 21)
        length, error, unique = wire.OUT_HEADER.unpack_from(said)
        assert length == len(said)
        return unique, -error, said[16:]


@asynccontextmanager
async def kernel() -> AsyncIterator[Kernel]:
    """A loop at work; at the end the mount goes, and so does the loop."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
    operations = FakeOperations()
    channel = Channel(os.dup(ours.fileno()))
    ours.close()
    agreements: list[Agreement] = []
    loop = Loop(cast(Operations, operations), channel, Notifier(), agreements.append)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            at = Kernel(theirs, operations, loop)
            at.agreements = agreements
            yield at
            at.sock.close()
    channel.close()


async def test_unknown_requests() -> None:
    """ENOSYS, be they beyond the table, or known and not answered here."""
    async with kernel() as at:
        for unique, opcode in enumerate((7, 19, 34, 37, 40, 54, 63, 64, 5000, 0xFFFFFFFF), 1):
            await at.send(opcode, unique)
            assert await at.reply() == (unique, errno.ENOSYS, b"")


async def test_malformed_requests() -> None:
    """A header cut short is passed over, another length is EIO, a body cut short EPROTO; the loop goes on."""
    async with kernel() as at:
        await at.sock.send(b"\x01\x02\x03")
        await at.sock.send(wire.IN_HEADER.pack(99, READLINK, 1, 1, 0, 0, 1, 0, 0))
        assert await at.reply() == (1, errno.EIO, b"")
        await at.send(WRITE, 2, body=b"too short")
        assert await at.reply() == (2, errno.EPROTO, b"")
        await at.send(LOOKUP, 3, body=b"no end")
        assert await at.reply() == (3, errno.EPROTO, b"")
        await at.send(WRITE, 4, body=wire.WRITE_IN.pack(1, 0, 100, 0, 0, 0, 0) + b"not a hundred")
        assert await at.reply() == (4, errno.EPROTO, b"")
        await at.send(READLINK, 5)
        assert await at.reply() == (5, 0, b"target 1")


async def test_refusals_and_bugs() -> None:
    """A refusal is its errno, a bug EIO, and neither ends the loop."""
    async with kernel() as at:
        await at.send(READLINK, 1, 3)
        assert await at.reply() == (1, errno.ESTALE, b"")
        await at.send(READLINK, 2, 4)
        assert await at.reply() == (2, errno.EIO, b"")
        await at.send(READLINK, 3, 1)
        assert await at.reply() == (3, 0, b"target 1")


async def test_what_can_be_told_at_once() -> None:
    """It is the reply, with no task, and so is what goes wrong; what cannot is answered by the way that may wait."""

    def now(_answers: Answers, request: Request) -> bytes | None:
        if request.node == 3:
            raise Refused(Code.EXISTS)
        return wire.pack_error(request.unique, errno.EXDEV) if request.node == 1 else None

    async with kernel() as at:
        at.operations.may_answer.set()
        at.loop._rows[READLINK] = replace(at.loop._rows[READLINK], now=now)
        for node, expected in ((1, (errno.EXDEV, b"")), (2, (0, b"target 2")), (3, (errno.EEXIST, b""))):
            await at.send(READLINK, node, node)
            assert await at.reply() == (node, *expected)


async def test_what_waits_holds_up_nobody() -> None:
    """A request that waits is answered when it can be, others before it."""
    async with kernel() as at:
        await at.send(READLINK, 1, 2)
        await at.send(READLINK, 2, 1)
        assert await at.reply() == (2, 0, b"target 1")
        at.operations.may_answer.set()
        assert await at.reply() == (1, 0, b"target 2")


async def test_no_reply_where_none_is_wanted() -> None:
    """FORGET has none; DESTROY has one."""
    async with kernel() as at:
        await at.send(FORGET, 1, body=struct.pack("=Q", 1))
        await at.send(DESTROY, 2)
        assert await at.reply() == (2, 0, b"")


async def test_interrupts() -> None:
    """One about a request that waits for others ends it with EINTR; one about any other request, or none, changes nothing."""

    async def wait(_answers: Answers, _request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with kernel() as at:
        at.loop._rows[SETLKW] = Row(SETLKW, "SETLKW", cast(Any, wait), waits=True)
        await at.send(SETLKW, 10)
        await at.send(READLINK, 12, 2)
        for about in (12, 99):
            await at.send(INTERRUPT, about | 1, body=struct.pack("=Q", about))
        await at.send(INTERRUPT, 15, body=b"short")
        await at.send(READLINK, 14, 1)
        assert await at.reply() == (14, 0, b"target 1")
        await at.send(INTERRUPT, 11, body=struct.pack("=Q", 10))
        assert await at.reply() == (10, errno.EINTR, b"")
        at.operations.may_answer.set()
        assert await at.reply() == (12, 0, b"target 2")


async def test_who_is_killed_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dying process gets EINTR at once; the operation takes its course, and its answer goes nowhere."""
    async with kernel() as at:
        await at.send(READLINK, 10, 2)
        await at.send(INTERRUPT, 11, body=struct.pack("=Q", 10))
        await at.send(READLINK, 12, 1)
        assert await at.reply() == (12, 0, b"target 1")
        monkeypatch.setattr("ringfs.fuse.kernel.driver.is_dying", lambda pid: pid == 1)
        for _ in range(2):
            await at.send(INTERRUPT, 11, body=struct.pack("=Q", 10))
        assert await at.reply() == (10, errno.EINTR, b"")
        at.operations.may_answer.set()
        await trio.testing.wait_all_tasks_blocked()
        await at.send(READLINK, 14, 1)
        assert await at.reply() == (14, 0, b"target 1")


async def test_data_that_is_kept_stays_as_it_is() -> None:
    """Of a long write, and of one that has to wait, the buffer is not used for what comes next."""
    async with kernel() as at:
        size = 1 << 19
        for unique, (handle, letter, length) in enumerate([(1, b"a", size), (2, b"b", 5), (1, b"c", size), (1, b"d", 5)], 1):
            await at.send(WRITE, unique, body=wire.WRITE_IN.pack(handle, 0, length, 0, 0, 0, 0) + letter * length)
        written = [await at.reply() for _ in range(3)]
        assert [unique for unique, _, _ in written] == [1, 3, 4]
        at.operations.may_answer.set()
        assert (await at.reply())[0] == 2
        kept = at.operations.written
        assert [bytes(kept[index][:1]) for index in (0, 1)] == [b"a", b"c"]
        assert [bytes(part) for part in (kept[0], kept[1], kept[3])] == [b"a" * size, b"c" * size, b"b" * 5]


async def test_which_writes_append() -> None:
    """Those whose own flags say so; pages of a map never do, through whichever handle they come."""
    async with kernel() as at:
        ways = [(0, os.O_APPEND), (0, 0), (wire.WRITE_CACHE, os.O_APPEND), (wire.WRITE_CACHE, 0)]
        for unique, (how, flags) in enumerate(ways, 1):
            await at.send(WRITE, unique, body=wire.WRITE_IN.pack(1, 0, 1, how, 0, flags | os.O_RDWR, 0) + b"x")
            await at.reply()
        assert at.operations.appended == [True, False, False, False]


async def test_a_driver_that_fails_leaves_no_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is too old is one line for people, and the mount point is free again; the connection is closed before."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(os.dup(ours.fileno()))
    ours.close()
    detached: list[tuple[str, int]] = []
    monkeypatch.setattr("ringfs.fuse.kernel.channel.mount", lambda _point: channel)
    monkeypatch.setattr("ringfs.fuse.kernel.channel.detach", lambda point: detached.append((point, channel.descriptor)))
    theirs.send(wire.IN_HEADER.pack(56, 26, 2, 0, 0, 0, 0, 0, 0) + struct.pack("=IIII", 7, 19, 0, 0))
    timeouts = Timeouts(1.0, 1.0)
    with pytest.RaisesGroup(pytest.RaisesExc(UserError, match="7.31 is needed")):
        await KernelDriver().serve(cast(Operations, FakeOperations()), "/mnt/x", timeouts, mounted=lambda: None)
    assert detached == [("/mnt/x", -1)]
    theirs.close()


async def test_init() -> None:
    """The kernel's own INIT: what is wanted of what it offers, and its protocol; a newer one is told ours and asks again."""
    async with kernel() as at:
        newer = bytearray.fromhex(CAPTURED["INIT"])
        newer[40] = 8
        await at.sock.send(newer)
        assert struct.unpack_from("=II", (await at.reply())[2]) == (7, wire.MINOR_MAX)
        assert not at.agreements
        await at.sock.send(bytes.fromhex(CAPTURED["INIT"]))
        _, error, said = await at.reply()
        assert error == 0
        (agreement,) = at.agreements
        assert struct.unpack_from("=IIII", said) == (7, 45, 0x20000, agreement.flags & 0xFFFFFFFF)
        assert agreement.can_expire_names
        assert agreement.has_extended_setxattr
        assert agreement.flags & wire.INIT_DIRECT_IO_ALLOW_MMAP
