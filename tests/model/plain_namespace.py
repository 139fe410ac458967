"""A file system in plain dictionaries: what the namespace machine must agree with. Obvious rather than fast.

Nothing is counted here that can be looked up: links are names found by walking, live bytes are bytes found in files.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from ringfs.base.errors import Code
from ringfs.base.limits import CHUNK_BYTES, MOVE_BYTES, PUT_FRESH_NS
from ringfs.wire.messages.content import COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE

DIRECTORY, FILE, SYMLINK, FIFO = 0o040000, 0o100000, 0o120000, 0o010000
ROOT = 1

#: Where a byte comes from: inline (the byte) or an object's (id, offset).
Origin = int | tuple[bytes, int]


class Refusal(Exception):
    """The model refuses."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class PlainInode:
    """An inode. entries in readdir order; content byte by byte; holes are missing bytes."""

    kind: int
    permissions: int
    gid: int = 0
    size: int = 0
    parent: int = 0
    #: Its class of service; "": the default one.
    service_class: str = ""
    entries: dict[bytes, int] = field(default_factory=dict)
    content: dict[int, Origin] = field(default_factory=dict)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    holders: set[int] = field(default_factory=set)
    #: Sessions that may give it its first name.
    may_link: set[int] = field(default_factory=set)
    removed: bool = False
    #: The directory that it counts in, 0 without a name; and of a directory, most bytes and files below it (0: any).
    home: int = 0
    limits: tuple[int, int] = (0, 0)


class PlainNamespace:
    """All inodes; objects declared dead with the time of the verdict."""

    def __init__(self, *, dooms: bool = False) -> None:
        #: Whole chunks that a file loses are not let go of at once, but later: by (inode, chunk) where their bytes come from.
        self.doomed: dict[tuple[int, int], list[Origin]] = {}
        self._dooms = dooms
        self.inodes = {ROOT: PlainInode(DIRECTORY, 0o755, parent=ROOT)}
        self.dead: dict[bytes, int] = {}
        #: Those of them of which nobody knows how much is there.
        self.hollow: set[bytes] = set()
        self.sizes: dict[bytes, int] = {}
        self.sessions: set[int] = set()
        self.next_number = 2
        #: What was below limited directories before the operation under way.
        self.before: dict[int, tuple[int, int]] = {}

    # --- looking --------------------------------------------------------------------------------------------------

    def links(self, number: int) -> int:
        """Names, or for a directory 2 and its subdirectories, 0 once removed."""
        inode = self.inodes[number]
        if inode.kind == DIRECTORY:
            return 0 if inode.removed else 2 + sum(self.inodes[child].kind == DIRECTORY for child in inode.entries.values())
        return sum(child == number for other in self.inodes.values() for child in other.entries.values())

    def live_bytes(self) -> dict[bytes, int]:
        """Bytes that files, or doomed chunks, point to, by object."""
        totals: dict[bytes, int] = {}
        for origins in (*(inode.content.values() for inode in self.inodes.values()), *self.doomed.values()):
            for origin in origins:
                if isinstance(origin, tuple):
                    totals[origin[0]] = totals.get(origin[0], 0) + 1
        return totals

    def is_below(self, number: int, ancestor: int) -> bool:
        """Whether a directory is another one, or under it."""
        while number not in (ancestor, ROOT):
            number = self.inodes[number].parent
        return number == ancestor

    def known(self, number: int) -> PlainInode:
        """The inode, or STALE."""
        if number not in self.inodes:
            raise Refusal(Code.STALE)
        return self.inodes[number]

    def directory(self, number: int) -> PlainInode:
        """A directory that takes entries."""
        inode = self.known(number)
        if inode.kind != DIRECTORY:
            raise Refusal(Code.NOT_DIRECTORY)
        if inode.removed:
            raise Refusal(Code.NOT_FOUND)
        return inode

    # --- making ---------------------------------------------------------------------------------------------------

    def make(self, parent: int, name: bytes, kind: int, permissions: int, gid: int, size: int = 0) -> int:
        """mknod, mkdir, symlink."""
        directory = self.directory(parent)
        if name in directory.entries:
            raise Refusal(Code.EXISTS)
        setgid = directory.permissions & 0o2000
        number = self.next_number
        self.next_number += 1
        if kind == DIRECTORY:
            permissions |= setgid
        self.inodes[number] = PlainInode(kind, permissions, directory.gid if setgid else gid, size, parent, directory.service_class)
        directory.entries[name] = number
        self.inodes[number].home = parent
        return number

    def make_unnamed(self, parent: int, permissions: int, gid: int, session: int, *, is_linkable: bool) -> int:
        """tmpfile."""
        directory = self.directory(parent)
        number = self.next_number
        self.next_number += 1
        made = self.inodes[number] = PlainInode(FILE, permissions, directory.gid if directory.permissions & 0o2000 else gid)
        made.service_class = directory.service_class
        made.holders, made.may_link = {session}, {session} if is_linkable else set()
        return number

    def link(self, number: int, parent: int, name: bytes, session: int) -> None:
        """link."""
        directory = self.directory(parent)
        if name in directory.entries:
            raise Refusal(Code.EXISTS)
        inode = self.known(number)
        if inode.kind == DIRECTORY:
            raise Refusal(Code.NOT_PERMITTED)
        if self.links(number):
            self.refuse_crossing(number, self.links(number) + 1, inode.home, parent)
        elif session in inode.may_link:
            inode.home, inode.holders, inode.may_link = parent, set(), set()
        else:
            raise Refusal(Code.NOT_FOUND)
        directory.entries[name] = number

    # --- quotas ---------------------------------------------------------------------------------------------------

    def above(self, directory: int) -> list[int]:
        """A directory and all above it; nothing for 0."""
        way = [directory] if directory else []
        while directory not in (0, ROOT):
            directory = self.inodes[directory].home
            way.append(directory)
        return way

    def usage(self, directory: int) -> tuple[int, int]:
        """Bytes and files below a directory."""
        below = [inode for number, inode in self.inodes.items() if number != ROOT and directory in self.above(inode.home)]
        return sum(len(inode.content) for inode in below), len(below)

    def usages(self) -> dict[int, tuple[int, int]]:
        """The same of all directories that have limits."""
        return {number: self.usage(number) for number, inode in self.inodes.items() if any(inode.limits)}

    def set_quota(self, number: int, limits: tuple[int, int]) -> None:
        """What is below already stays."""
        self.directory(number).limits = limits

    @contextmanager
    def limited(self, *, in_part: bool = False) -> Iterator[None]:
        """What happens in the block does not happen if something that is limited grows beyond its limit by it: QUOTA. in_part: the
        operation goes on, and doomed chunks that were in the way are gone."""
        before = self.before = self.usages()
        saved = deepcopy((self.inodes, self.dead, self.hollow, self.next_number, self.doomed)) if before else None
        yield
        for number, used in self.usages().items():
            for now, limit, was in zip(used, self.inodes[number].limits, before.get(number, used), strict=True):
                if saved is not None and limit and now > limit and now > was:
                    doomed = self.doomed
                    self.inodes, self.dead, self.hollow, self.next_number, self.doomed = saved
                    self.doomed = doomed if in_part else self.doomed
                    raise Refusal(Code.QUOTA)

    def refuse_crossing(self, number: int, names: int, source: int, target: int) -> None:
        """CROSSES_QUOTA if a file with several names would have them under different quotas."""
        if names > 1 and self.inodes[number].kind != DIRECTORY and self._realm(source) != self._realm(target):
            raise Refusal(Code.CROSSES_QUOTA)

    def _realm(self, directory: int) -> int:
        return next((each for each in self.above(directory) if any(self.inodes[each].limits)), 0)

    def _move_home(self, number: int, source: int, target: int) -> None:
        """Before a name of it goes from one directory to another: its home follows if it has no other name there."""
        inode = self.inodes[number]
        here = sum(child == number for child in self.inodes[source].entries.values())
        if inode.kind == DIRECTORY or (inode.home == source and here == 1):
            inode.home = target

    def _rehome(self, number: int) -> None:
        """After a name of it has gone: the home is where it has a name, of those the first."""
        naming = [other for other, inode in sorted(self.inodes.items()) if number in inode.entries.values()]
        home = self.inodes[number].home
        if home in naming:
            return
        self.inodes[number].home = naming[0] if naming else 0
        if naming:
            # That is no reason to refuse anything.
            for each, (size, files) in self.before.items():
                moved = (each in self.above(naming[0])) - (each in self.above(home))
                self.before[each] = size + moved * len(self.inodes[number].content), files + moved

    # --- removing -------------------------------------------------------------------------------------------------

    def unlink(self, parent: int, name: bytes, holders: set[int], now_ns: int) -> None:
        """unlink."""
        directory = self.directory(parent)
        if name not in directory.entries:
            raise Refusal(Code.NOT_FOUND)
        if self.inodes[directory.entries[name]].kind == DIRECTORY:
            raise Refusal(Code.IS_DIRECTORY)
        self._drop(directory.entries.pop(name), holders, now_ns)

    def rmdir(self, parent: int, name: bytes, holders: set[int], now_ns: int) -> None:
        """rmdir."""
        directory = self.directory(parent)
        if name not in directory.entries:
            raise Refusal(Code.NOT_FOUND)
        child = self.inodes[directory.entries[name]]
        if child.kind != DIRECTORY:
            raise Refusal(Code.NOT_DIRECTORY)
        if child.entries:
            raise Refusal(Code.NOT_EMPTY)
        self._drop(directory.entries.pop(name), holders, now_ns)

    def _drop(self, number: int, holders: set[int], now_ns: int) -> None:
        """A name is gone."""
        inode = self.inodes[number]
        inode.removed = inode.kind == DIRECTORY
        if inode.removed:
            inode.limits = (0, 0)
        self._rehome(number)
        if self.links(number) == 0:
            inode.holders = holders & self.sessions
            self._sweep(now_ns)

    def end_session(self, session: int, now_ns: int) -> None:
        """The session holds nothing any more."""
        self.sessions.discard(session)
        self.free(session, set(self.inodes), now_ns)

    def free(self, session: int, numbers: set[int], now_ns: int) -> None:
        """The session lets go of some inodes."""
        for number in numbers & set(self.inodes):
            self.inodes[number].holders.discard(session)
        self._sweep(now_ns)

    def _sweep(self, now_ns: int) -> None:
        """What has neither name nor holder goes."""
        before = self.live_bytes()
        for number in list(self.inodes):
            if self.links(number) == 0 and not self.inodes[number].holders:
                self._lose_chunks(number, 0, max([0, *self.inodes[number].content]) // CHUNK_BYTES + 1)
                del self.inodes[number]
        self._bury(set(before), now_ns)

    def _bury(self, candidates: set[bytes], now_ns: int) -> None:
        """Objects that nothing points to any more are dead from now on."""
        for oid in candidates - set(self.live_bytes()):
            self.dead[oid] = now_ns
            self.hollow.discard(oid)

    # --- renaming -------------------------------------------------------------------------------------------------

    def rename(self, source: tuple[int, bytes], target: tuple[int, bytes], flags: int, holders: set[int], now_ns: int) -> None:
        """renameat2 with flags 0, NOREPLACE (1), EXCHANGE (2)."""
        parent, new_parent = self.directory(source[0]), self.directory(target[0])
        if source[1] not in parent.entries:
            raise Refusal(Code.NOT_FOUND)
        moved, other = parent.entries[source[1]], new_parent.entries.get(target[1])
        if other is not None and flags == 1:
            raise Refusal(Code.EXISTS)
        if other is None and flags == 2:
            raise Refusal(Code.NOT_FOUND)
        if self.inodes[moved].kind == DIRECTORY and self.is_below(target[0], moved):
            raise Refusal(Code.INVALID)
        if other == moved:
            return
        self.refuse_crossing(moved, self.links(moved), source[0], target[0])
        if flags == 2:
            assert other is not None
            self._exchange(source, target, moved, other)
            return
        if other is not None:
            self._check_replacing(source[0], moved, other)
            del new_parent.entries[target[1]]
            self._drop(other, holders, now_ns)
        self._move_home(moved, source[0], target[0])
        if parent is new_parent:
            parent.entries = {target[1] if name == source[1] else name: child for name, child in parent.entries.items()}
        else:
            del parent.entries[source[1]]
            new_parent.entries[target[1]] = moved
        self.inodes[moved].parent = target[0]

    def _check_replacing(self, parent: int, moved: int, other: int) -> None:
        if self.inodes[other].kind != DIRECTORY:
            if self.inodes[moved].kind == DIRECTORY:
                raise Refusal(Code.NOT_DIRECTORY)
            return
        if self.inodes[moved].kind != DIRECTORY and not self.is_below(parent, other):
            raise Refusal(Code.IS_DIRECTORY)
        if self.inodes[other].entries:
            raise Refusal(Code.NOT_EMPTY)

    def _exchange(self, source: tuple[int, bytes], target: tuple[int, bytes], moved: int, other: int) -> None:
        if self.inodes[other].kind == DIRECTORY and self.is_below(source[0], other):
            raise Refusal(Code.INVALID)
        self.refuse_crossing(other, self.links(other), target[0], source[0])
        self._move_home(moved, source[0], target[0])
        self._move_home(other, target[0], source[0])
        self.inodes[source[0]].entries[source[1]] = other
        self.inodes[target[0]].entries[target[1]] = moved
        self.inodes[other].parent, self.inodes[moved].parent = source[0], target[0]

    # --- content --------------------------------------------------------------------------------------------------

    def truncate(self, number: int, size: int, now_ns: int) -> None:
        """truncate."""
        inode = self.known(number)
        if inode.kind != FILE:
            raise Refusal(Code.IS_DIRECTORY if inode.kind == DIRECTORY else Code.INVALID)
        before = set(self.live_bytes())
        self._cut(number, size, inode.size)
        inode.size = size
        self._bury(before, now_ns)

    def _cut(self, number: int, start: int, stop: int) -> None:
        """A hole."""
        inode = self.inodes[number]
        stop = min(stop, inode.size)
        if start >= stop or not inode.content:
            return
        if stop == inode.size:
            stop = -(-stop // CHUNK_BYTES) * CHUNK_BYTES
        first, last = -(-start // CHUNK_BYTES), stop // CHUNK_BYTES
        for edge in (start, stop):
            if edge % CHUNK_BYTES:
                self._touch(number, edge // CHUNK_BYTES)
        if first < last:
            self._lose_chunks(number, first, last)
        inode.content = {offset: origin for offset, origin in inode.content.items() if not start <= offset < stop}

    def _lose_chunks(self, number: int, first: int, stop: int) -> None:
        content = self.inodes[number].content
        for offset in [offset for offset in content if first <= offset // CHUNK_BYTES < stop]:
            origin = content.pop(offset)
            if self._dooms:
                self.doomed.setdefault((number, offset // CHUNK_BYTES), []).append(origin)

    def _touch(self, number: int, chunk: int) -> None:
        """A chunk is used again."""
        self.doomed.pop((number, chunk), None)

    def release_doomed(self, now_ns: int) -> None:
        """The leader has gone through all of them."""
        before = set(self.live_bytes())
        self.doomed.clear()
        self._bury(before, now_ns)

    def file(self, number: int) -> PlainInode:
        """A regular file."""
        inode = self.known(number)
        if inode.kind != FILE:
            raise Refusal(Code.IS_DIRECTORY if inode.kind == DIRECTORY else Code.INVALID)
        return inode

    def allocate(self, number: int, mode: int, start: int, length: int, now_ns: int) -> None:
        """fallocate."""
        inode = self.file(number)
        is_uneven = start % MOVE_BYTES or length % MOVE_BYTES
        if mode & (COLLAPSE_RANGE | INSERT_RANGE) and (is_uneven or start + length * (mode == COLLAPSE_RANGE) >= inode.size):
            raise Refusal(Code.INVALID)
        before = set(self.live_bytes())
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            self._cut(number, start, start + length)
        if mode == COLLAPSE_RANGE:
            self._move(number, start, start + length, -length)
        elif mode == INSERT_RANGE:
            self._move(number, start, start, length)
        elif not mode & KEEP_SIZE:
            inode.size = max(inode.size, start + length)
        self._written(inode)
        self._bury(before, now_ns)

    def _move(self, number: int, start: int, tail: int, shift: int) -> None:
        inode = self.inodes[number]
        moved = {offset + shift: origin for offset, origin in inode.content.items() if offset >= tail}
        self._cut(number, start, inode.size)
        inode.size += shift
        self._place(number, moved)

    def _place(self, number: int, origins: dict[int, Origin]) -> None:
        for offset, origin in origins.items():
            self._touch(number, offset // CHUNK_BYTES)
            self.inodes[number].content[offset] = origin

    @staticmethod
    def _written(inode: PlainInode) -> None:
        inode.permissions &= ~0o6000 if inode.permissions & 0o010 else ~0o4000

    def copy_range(self, number: int, start: int, other: int, target: int, length: int, now_ns: int) -> int:
        """copy_file_range; how many bytes."""
        source = self.file(number)
        self.file(other)
        count = min(length, source.size - start)
        if count <= 0:
            return 0
        if number == other and abs(start - target) < count:
            raise Refusal(Code.INVALID)
        before = set(self.live_bytes())
        self._copy(number, start, other, target, count)
        self._written(self.inodes[other])
        self._bury(before, now_ns)
        return count

    def _copy(self, number: int, start: int, other: int, target: int, count: int) -> None:
        content = self.inodes[number].content
        copied = {offset + target - start: origin for offset, origin in content.items() if start <= offset < start + count}
        self._cut(other, target, target + count)
        self.inodes[other].size = max(self.inodes[other].size, target + count)
        self._place(other, copied)

    def clone(self, number: int, parent: int, name: bytes) -> int:
        """A new inode like another one."""
        directory = self.directory(parent)
        if name in directory.entries:
            raise Refusal(Code.EXISTS)
        source = self.known(number)
        made = self.next_number
        self.next_number += 1
        size = 0 if source.kind == DIRECTORY else source.size
        self.inodes[made] = PlainInode(source.kind, source.permissions, source.gid, size, parent)
        self.inodes[made].xattrs, self.inodes[made].content = dict(source.xattrs), dict(source.content)
        self.inodes[made].home, self.inodes[made].service_class = parent, source.service_class
        directory.entries[name] = made
        return made

    def refuse_objects(self, wanted: set[bytes], put_ns: dict[bytes, int], now_ns: int) -> None:
        """NO_OBJECT unless each is live, or offered and put, or condemned, a moment ago."""
        for oid in wanted - set(self.live_bytes()):
            if oid not in put_ns or not self._is_held(oid, put_ns[oid], now_ns):
                raise Refusal(Code.NO_OBJECT)

    def _is_held(self, oid: bytes, put_ns: int, now_ns: int) -> bool:
        """Whether an object that was put then, and is not live, is there for certain."""
        is_young = oid in self.dead and oid not in self.hollow and now_ns - self.dead[oid] < PUT_FRESH_NS
        return is_young or now_ns - put_ns < PUT_FRESH_NS

    def write(self, number: int, start: int, origins: list[Origin | None]) -> None:
        """New bytes (or holes) from start on."""
        inode = self.known(number)
        if inode.kind != FILE:
            raise Refusal(Code.INVALID)
        self._touch(number, start // CHUNK_BYTES)
        for offset, origin in enumerate(origins, start):
            inode.content.pop(offset, None)
            if origin is not None:
                inode.content[offset] = origin
        inode.size = max(inode.size, start + len(origins))

    def settle(self, before: set[bytes], put_ns: dict[bytes, int], now_ns: int) -> None:
        """The end of a commit: what lives again is not dead, what was offered or let go and is not pointed to is."""
        for oid in self.live_bytes():
            self.dead.pop(oid, None)
        unsure = {oid for oid, when_ns in put_ns.items() if oid not in before and not self._is_held(oid, when_ns, now_ns)}
        self._bury(before | set(put_ns), now_ns)
        self.hollow = (self.hollow | unsure) & set(self.dead)

    def sweep(self, oids: set[bytes], now_ns: int) -> int:
        """A node has these and asks who knows them; how many nobody knew."""
        unknown = oids - set(self.live_bytes()) - set(self.dead)
        self.dead.update(dict.fromkeys(unknown, now_ns))
        self.hollow |= unknown
        return len(unknown)

    def pointing(self, oid: bytes) -> set[int]:
        """The inodes that point to an object, be it from doomed chunks."""
        files = {number for number, inode in self.inodes.items() if _holds(inode.content.values(), oid)}
        return files | {number for (number, _), origins in self.doomed.items() if number in self.inodes and _holds(origins, oid)}


def _holds(origins: Iterable[Origin], oid: bytes) -> bool:
    return any(isinstance(origin, tuple) and origin[0] == oid for origin in origins)
