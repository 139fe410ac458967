"""Files that clients of a ring write, overwrite, copy, delete and read while things go wrong; what they must read is known.

Some clients commit late: what they have put is nobody's for up to two minutes, and files with the same bytes are deleted.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from ringfs.base.errors import Code, ConnectionLost, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import KIB
from ringfs.client.file_system import Caller, Handle
from ringfs.wire.messages.heal import Reclass
from tests.support.ring_world import RingWorld
from tests.support.world import META, Mounted

CALLER = Caller()
_FILES_MAX = 40
#: Objects of one block and of several; what is smaller travels inline.
_SIZES_KIB = (20, 40, 90, 150, 300, 700)
_PAUSE_S = 1.5
#: How long a client may not be heard by the metadata server between a put and its commit: past every limit that there is for that.
_LATE_S_MAX = 120.0
#: A reader forgets all it knows after so many files.
_READS_OF_ONE_CLIENT = 15


@dataclass(slots=True)
class File:
    """What it must have; who holds the turn may change or read it."""

    content: bytes
    turn: trio.Lock = field(default_factory=trio.Lock)


class Workload:
    """One writer, some that commit late, and one reader after the other."""

    def __init__(self, world: RingWorld, draw: random.Random, classes: Sequence[str]) -> None:
        """classes: those that files may be given."""
        self._world = world
        self._classes = classes
        self._draw = draw
        self._files: dict[bytes, File] = {}
        #: Contents of files that are gone: written once more, they are objects that are being deleted.
        self._former: list[bytes] = []
        #: Files whose bytes somebody puts once more just now: they are deleted before anything else is done.
        self._doomed: list[bytes] = []
        self._made = 0
        self.write_count = 0
        self.read_count = 0
        self.is_over = False

    # --- writing --------------------------------------------------------------------------------------------------------

    async def write(self, client: Mounted) -> None:
        """Until it is over."""
        while not self.is_over:
            weights = (6 if len(self._files) < _FILES_MAX else 0, 2, 1, 0.7)
            action = self._draw.choices((self.create, self._overwrite, self._delete, self._reclass), weights)[0]
            await (self._delete if self._doomed else action)(client)
            self.write_count += 1
            await trio.sleep(self._draw.random() * _PAUSE_S)

    async def create(self, client: Mounted) -> None:
        """One more file, with bytes of its own, or those of another one."""
        name, content = self._new_name(), self._content(former=0.2)
        handle = await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)
        await client.fs.write(handle, 0, content)
        await client.fs.fsync(handle)
        await client.fs.release(handle)
        self._files[name] = File(content)

    def _new_name(self) -> bytes:
        self._made += 1
        return b"f%d" % self._made

    def _content(self, former: float) -> bytes:
        """Bytes of a file that is gone, as often as that; now and then those of one that there is; else new ones."""
        dice = self._draw.random()
        if self._former and dice < former:
            return self._draw.choice(self._former)
        if self._files and dice > 0.92:
            return self._draw.choice([file.content for file in self._files.values()])
        return self._draw.randbytes(self._draw.choice(_SIZES_KIB) * KIB - self._draw.randrange(5000))

    async def _overwrite(self, client: Mounted) -> None:
        name = self._some()
        if name is None:
            return
        file = self._files[name]
        async with file.turn:
            start = self._draw.randrange(len(file.content))
            piece = self._draw.randbytes(min(len(file.content) - start, self._draw.choice(_SIZES_KIB) * KIB))
            handle = await self._opened(client, name, writes=True)
            await client.fs.write(handle, start, piece)
            if self._draw.random() < 0.7:
                await client.fs.fsync(handle)
            await client.fs.release(handle)
            self._former = [*self._former[-20:], file.content]
            file.content = file.content[:start] + piece + file.content[start + len(piece) :]

    async def _delete(self, client: Mounted) -> None:
        name = self._doomed.pop() if self._doomed else self._some()
        if name is None or name not in self._files:
            return
        file = self._files[name]
        async with file.turn:
            del self._files[name]
            self._former = [*self._former[-20:], file.content]
            await client.fs.unlink(ROOT_INODE, name)

    async def _reclass(self, client: Mounted) -> None:
        """Another class for a file and what it points to."""
        name = self._some()
        if name is None:
            return
        inode = await client.fs.lookup(ROOT_INODE, name)
        try:
            await client.fs.setxattr(inode.number, b"user.ringfs.class", self._draw.choice(self._classes).encode())
        except Refused as refused:
            if refused.code is not Code.INVALID:
                raise
            # There are too few failure domains just now.
            return
        chunk, after = 0, b""
        while chunk >= 0:
            try:
                done = await self._world.ask(Reclass(inode.number, chunk, after))
            except ConnectionLost:
                await trio.sleep(1)
            else:
                chunk, after = done.next_chunk, done.after

    async def write_late(self) -> None:
        """Until it is over, by one client after the other, each of which has put a file's bytes long before it commits them."""
        while not self.is_over:
            client = await self._world.mount("late")
            await self._create_late(client)
            await client.close()
            await trio.sleep(self._draw.random() * _PAUSE_S)

    async def _create_late(self, client: Mounted) -> None:
        """A file that is there only if that was said."""
        name, other = self._new_name(), self._some()
        handle = await client.fs.create(ROOT_INODE, name, 0o100644, CALLER, writes=True, exclusive=True)
        await client.fs.fsync(handle)
        content = self._content(former=0.4)
        if other in self._files and self._draw.random() < 0.6:
            content = self._files[other].content
            self._doomed.append(other)
        await client.fs.write(handle, 0, content)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._be_silent, client, _LATE_S_MAX * self._draw.random())
            try:
                await client.fs.fsync(handle)
            except Refused as refused:
                if refused.code is not Code.IO:
                    raise
            else:
                self._files[name] = File(content)
        await client.fs.release(handle)

    async def _be_silent(self, client: Mounted, seconds: float) -> None:
        """To the metadata server; data nodes hear it."""
        client.port.blacken(META)
        with trio.move_on_after(seconds):
            while not self.is_over:  # noqa: ASYNC110 -- virtual time
                await trio.sleep(1.0)
        client.port.whiten()

    # --- reading --------------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Until it is over, by clients that are new from time to time."""
        while not self.is_over:
            client = await self._world.mount("reader")
            for _ in range(_READS_OF_ONE_CLIENT):
                name = self._some()
                if name is not None and not self.is_over:
                    await self._read(client, name)
                await trio.sleep(self._draw.random() * _PAUSE_S)
            await client.close()

    async def read_all(self) -> None:
        """Everything there is, by a client that knows nothing."""
        client = await self._world.mount("checker")
        for name in list(self._files):
            await self._read(client, name)
        await client.close()

    async def _read(self, client: Mounted, name: bytes) -> None:
        file = self._files[name]
        async with file.turn:
            if self._files.get(name) is not file:
                return
            handle = await self._opened(client, name, writes=False)
            found = bytes(await client.fs.read(handle, 0, len(file.content) + 1))
            assert found == file.content, f"{name!r} is not what was written: {len(found)} bytes of {len(file.content)}"
            await client.fs.release(handle)
        self.read_count += 1

    async def _opened(self, client: Mounted, name: bytes, *, writes: bool) -> Handle:
        inode = await client.fs.lookup(ROOT_INODE, name)
        return await client.fs.open(inode.number, writes=writes)

    def _some(self) -> bytes | None:
        return self._draw.choice(list(self._files)) if self._files else None
