"""The namespace machine against plain dictionaries, with every request delivered one to three times, and again later.

After each step: the checker finds nothing, every inode, entry, xattr and byte is as the model has it, and a second copy that
applied the same journal is the same byte by byte.
"""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, invariant, rule

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import CHUNK_BYTES
from ringfs.meta.namespace import facts, keys, machine, system
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.condemned import find_condemned
from ringfs.meta.namespace.promises import tolerance_of
from ringfs.wire.messages import content, heal, quota
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import CLASS_XATTR, Attributes
from ringfs.wire.packing import unpack
from tests.model.names_machine import DELIVERIES, NAMES, OFFSETS, PICK, NamesMachine
from tests.model.plain_namespace import DIRECTORY, FILE, Origin, Refusal
from tests.support.namespace import SECOND, object_id

OBJECT_BYTES = 24
LABELS = st.integers(1, 4)
#: Those that three failure domains are enough for; the default is replica:2.
CLASSES = ["replica:1", "replica:2", "replica:3", "ec:2+1"]

#: For what moves extents: around chunks' boundaries.
MODES = st.sampled_from([0, 1, 3, 3, 0x10, 0x11, 8, 0x20])
MOVES = st.sampled_from([0, 4096, 8192, CHUNK_BYTES - 4096, CHUNK_BYTES, CHUNK_BYTES + 4096])
LENGTHS = st.one_of(st.integers(1, 30), MOVES.filter(bool), st.just(3 * CHUNK_BYTES))
#: Files longer than this are not made longer by insertions.
LONG_BYTES = 8 * CHUNK_BYTES

EXTENTS = st.tuples(OFFSETS, st.integers(1, 12), st.sampled_from(["inline", "hole", "object"]), LABELS, st.integers(0, 12))


class NamespaceMachine(NamesMachine):
    """Begins with a small tree: /a/, /a/a/, /b/, /c, /b/c."""

    @initialize()
    def start(self) -> None:
        for _ in range(2):
            self.begin_session()
        for name in ("data1", "data2", "data3"):
            self.system(system.EnterNode(f"uuid {name}", name, f"{name}:1", name, 100))
        self.mkdir(0, 1, 0, b"a")
        self.mkdir(0, 1, 0, b"b")
        self.make(0, 1, m.Mkdir(2, b"a", 0o755, 1, 5, 0), DIRECTORY, 0o755)
        self.mknod(0, 1, 0, b"c", "file")
        self.make(0, 1, m.Mknod(3, b"c", FILE | 0o6755, 0, 1, 5, 0, 0, True), FILE, 0o6755)
        for index, inode in enumerate((5, 6)):
            extents = [(0, 12, "object", 1 + index, 0), (CHUNK_BYTES - 12, 12, "object", 3, 12 * index)]
            self.commit_files(0, 1, [(inode, extents)], {1, 2, 3}, 0)

    # --- classes of service ---------------------------------------------------------------------------------------

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, text=st.sampled_from([*CLASSES, "ec:4+2"]), flags=st.sampled_from([0, 0, 1, 2]))
    def set_class(self, pick: int, times: int, inode: int, text: str, flags: int) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            self._refuse_user_xattr(number, CLASS_XATTR)
            if flags == m.XATTR_CREATE and found.service_class:
                raise Refusal(Code.EXISTS)
            if flags == m.XATTR_REPLACE and not found.service_class:
                raise Refusal(Code.NO_XATTR)
            if text not in CLASSES:
                raise Refusal(Code.INVALID)
            found.service_class = text

        self.expect(pick, times, m.SetXattr(number, CLASS_XATTR, text.encode(), flags, False), change)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK)
    def remove_class(self, pick: int, times: int, inode: int) -> None:
        self.tick()
        number = self.inode(inode)

        def change() -> None:
            found = self.model.known(number)
            self._refuse_user_xattr(number, CLASS_XATTR)
            if not found.service_class:
                raise Refusal(Code.NO_XATTR)
            found.service_class = ""

        self.expect(pick, times, m.RemoveXattr(number, CLASS_XATTR), change)

    @rule(inode=PICK)
    def reclass(self, inode: int) -> None:
        """A file's objects get its class, a lower one only if no other file needs more."""
        number = self.file_or_other(inode)
        found = self.model.inodes.get(number)
        if found is None or found.kind != FILE:
            return
        expected = {oid: self._class_after(oid, self._promise(number)) for oid in self._pointed_to(number)}
        self.system(heal.Reclass(number, 0, b""))
        assert {oid: self._object_row(oid)[2] for oid in expected} == expected

    def _class_after(self, oid: bytes, wanted: str) -> str:
        before = self._object_row(oid)[2]
        needed = max(tolerance_of(self._promise(number)) for number in self.model.pointing(oid))
        return str(wanted if tolerance_of(wanted) >= min(tolerance_of(before), needed) else before)

    @rule(label=LABELS, form=st.sampled_from(CLASSES), is_known=st.booleans())
    def reform(self, label: int, form: str, is_known: bool) -> None:
        """From the form that it is in, to one that keeps the promise; else nothing."""
        oid = object_id(label)
        if oid not in self.model.live_bytes():
            assert not self.system(heal.Reform([heal.Reformed(oid, "replica:2", form)])).objects
            return
        _, _, promised, before = self._object_row(oid)
        done = self.system(heal.Reform([heal.Reformed(oid, before if is_known else "ec:3+3", form)])).objects
        may = is_known and tolerance_of(form) >= tolerance_of(promised)
        assert done == ([oid] if may or before == form else [])
        assert self._object_row(oid)[2:] == [promised, form if done else before]

    @rule(labels=st.sets(st.integers(1, 8), min_size=1))
    def sweep(self, labels: set[int]) -> None:
        self.tick()
        oids = [object_id(label) for label in sorted(labels)]
        assert self.system(heal.Sweep(1, oids)).count == self.model.sweep(set(oids), self.now_ns)

    def _promise(self, number: int) -> str:
        return self.model.inodes[number].service_class or "replica:2"

    def _pointed_to(self, number: int) -> set[bytes]:
        inode = self.model.inodes.get(number)
        return set() if inode is None else {origin[0] for origin in inode.content.values() if isinstance(origin, tuple)}

    def _object_row(self, oid: bytes) -> list[Any]:
        value = self.view.get(keys.object_row(oid))
        assert value is not None
        row: list[Any] = unpack(value)
        return row

    def check_promises(self, number: int, before: set[bytes]) -> None:
        """What a file points to and did not has at least its class."""
        for oid in self._pointed_to(number) - before:
            assert tolerance_of(self._object_row(oid)[2]) >= tolerance_of(self._promise(number))

    # --- content --------------------------------------------------------------------------------------------------

    @rule(
        pick=PICK,
        times=DELIVERIES,
        files=st.lists(st.tuples(PICK, st.lists(EXTENTS, max_size=4)), min_size=1, max_size=3),
        offered=st.one_of(st.just({1, 2, 3, 4}), st.sets(LABELS)),
        age=st.sampled_from([0, 0, 0, 29, 30, 1000]),
        promised=st.sampled_from(CLASSES),
    )
    def commit(self, pick: int, times: int, files: list[Any], offered: set[int], age: int, promised: str) -> None:
        chosen = [(self.file_or_other(inode), drawn) for inode, drawn in files]
        before = {number: self._pointed_to(number) for number, _ in chosen}
        self.commit_files(pick, times, chosen, offered, age, promised)
        for number, oids in before.items():
            self.check_promises(number, oids)

    def commit_files(
        self, pick: int, times: int, files: list[Any], offered: set[int], age: int, promised: str = "replica:2"
    ) -> None:
        now_ns = self.tick()
        commits = []
        for number, drawn in files:
            extents = [extent for extent in map(self._extent, drawn) if extent.offset % CHUNK_BYTES + extent.length <= CHUNK_BYTES]
            commits.append(m.FileCommit(number, extents, -1, -1, -1, 0, False))
        put_ns = {object_id(label): now_ns - age * SECOND for label in offered}
        objects = [m.NewObject(oid, OBJECT_BYTES, promised, when_ns, promised) for oid, when_ns in sorted(put_ns.items())]
        codes: list[int] = []

        def change() -> None:
            wanted = {extent.source for file in commits for extent in file.extents if extent.object_offset >= 0}
            self.model.refuse_objects(wanted, put_ns, now_ns)
            before = set(self.model.live_bytes())
            codes.extend(self._write(file) for file in commits)
            self.model.settle(before, put_ns, now_ns)

        answer = self.expect(pick, times, m.Commit(objects, commits), change)
        if answer is not None:
            assert [file.code for file in answer.files] == codes

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, mode=MODES, offset=st.one_of(OFFSETS, MOVES), length=LENGTHS)
    def allocate(self, pick: int, times: int, inode: int, mode: int, offset: int, length: int) -> None:
        now_ns, number = self.tick(), self.file_or_other(inode)
        known = self.model.inodes.get(number)
        if mode == content.INSERT_RANGE and known is not None and known.size > LONG_BYTES:
            return
        operation = content.Allocate(number, mode, offset, length, False)
        self.expect(pick, times, operation, lambda: self.model.allocate(number, mode, offset, length, now_ns))

    @rule(pick=PICK, times=DELIVERIES, files=st.tuples(PICK, PICK), start=OFFSETS, to=st.one_of(OFFSETS, MOVES), length=LENGTHS)
    def copy_range(self, pick: int, times: int, files: tuple[int, int], start: int, to: int, length: int) -> None:
        now_ns, (source, other) = self.tick(), map(self.file_or_other, files)
        before = self._pointed_to(other)
        counts: list[int] = []

        def change() -> None:
            counts.append(self.model.copy_range(source, start, other, to, length, now_ns))

        answer = self.expect(pick, times, content.CopyRange(source, start, other, to, length, False), change)
        if answer is not None:
            assert [answer.copied_bytes] == counts
            self.check_promises(other, before)

    @rule(pick=PICK, times=DELIVERIES, inode=PICK, parent=PICK, name=NAMES)
    def clone(self, pick: int, times: int, inode: int, parent: int, name: bytes) -> None:
        self.tick()
        number, place = self.inode(inode), self.directory(parent)
        made: list[int] = []
        answer = self.expect(
            pick, times, content.Clone(number, place, name), lambda: made.append(self.model.clone(number, place, name))
        )
        if answer is not None:
            assert [answer.attributes.inode] == made
            self.made += made

    @rule()
    def release_doomed(self) -> None:
        assert not self.system(content.ReleaseDoomed(1 << 20)).more
        self.model.release_doomed(self.now_ns)

    def file_or_other(self, pick: int) -> int:
        """Mostly a regular file."""
        regular = [number for number, inode in sorted(self.model.inodes.items()) if inode.kind == FILE]
        return int(self.pick(pick, regular * 4 + self.made[-2:]))

    @staticmethod
    def _extent(drawn: tuple[int, int, str, int, int]) -> m.Extent:
        offset, length, kind, label, object_offset = drawn
        if kind == "inline":
            return m.Extent(offset, length, m.INLINE, bytes(range(label, label + length)))
        if kind == "hole":
            return m.Extent(offset, length, m.HOLE, b"")
        return m.Extent(offset, length, object_offset, object_id(label))

    def _write(self, file: m.FileCommit) -> int:
        """In the model; the refusal's number or 0."""
        try:
            if self.model.known(file.inode).kind != FILE:
                raise Refusal(Code.INVALID)
            with self.model.limited(in_part=True):
                for extent in file.extents:
                    self.model.write(file.inode, extent.offset, origins_of(extent))
        except Refusal as refusal:
            return refusal.code.number
        return 0

    # --- comparing ------------------------------------------------------------------------------------------------

    @invariant()
    def checker_is_content(self) -> None:
        findings = [str(finding) for finding in check(self.view)]
        assert not findings, findings

    @invariant()
    def agrees_with_model(self) -> None:
        for number in self.made:
            if number in self.model.inodes:
                self._compare(number)
            else:
                with pytest.raises(Refused):
                    machine.query(self.view, q.GetAttributes(number))
        counters = facts.counters(self.view)
        live = self.model.live_bytes()
        assert counters.inode_count == len(self.model.inodes)
        assert counters.live_bytes == sum(live.values())
        dead_count = len(self.model.dead) - len(self.model.hollow)
        dead_bytes = sum(max(0, OBJECT_BYTES - count) for count in live.values()) + OBJECT_BYTES * dead_count
        assert counters.dead_bytes == dead_bytes
        for oid, verdict_ns in self.model.dead.items():
            row = find_condemned(self.view, oid)
            assert row is not None
            assert row[1:] == (verdict_ns, 0 if oid in self.model.hollow else OBJECT_BYTES)

    def _compare(self, number: int) -> None:
        plain = self.model.inodes[number]
        found: Attributes = machine.query(self.view, q.GetAttributes(number)).attributes
        assert (found.mode, found.gid) == (plain.kind | plain.permissions, plain.gid)
        assert found.links == self.model.links(number)
        assert facts.class_text(self.view, found.class_number) == (plain.service_class or "replica:2")
        is_shown = plain.service_class and plain.kind in (FILE, DIRECTORY)
        names = [*plain.xattrs, CLASS_XATTR] if is_shown else [*plain.xattrs]
        assert machine.query(self.view, q.ListXattrs(number)).names == sorted(names)
        for name, value in plain.xattrs.items():
            assert machine.query(self.view, q.GetXattr(number, name)).value == value
        if plain.kind == DIRECTORY:
            page = machine.query(self.view, q.ReadDirectory(number, 0, 100))
            assert [(entry.name, entry.attributes.inode) for entry in page.entries] == list(plain.entries.items())
            assert found.size_bytes == len(plain.entries)
            if not plain.removed:
                figures = machine.query(self.view, quota.GetQuota(number))
                assert (figures.bytes_used, figures.files_used) == self.model.usage(number)
                assert (figures.bytes_max, figures.files_max) == plain.limits
            for name, child in plain.entries.items():
                assert machine.query(self.view, q.Lookup(number, name)).attributes.inode == child
        else:
            assert found.size_bytes == plain.size
            assert found.stored_bytes == len(plain.content)
            extents = machine.query(self.view, q.ReadExtents(number, 0, 1000)).extents
            content = {extent.offset + i: origin for extent in extents for i, origin in enumerate(origins_of(extent))}
            assert content == plain.content

    def teardown(self) -> None:
        self._patch.stop()
        assert self.view.pairs() == self.twin.pairs()


def origins_of(extent: m.Extent) -> list[Origin | None]:
    """Where each byte of an extent comes from."""
    if extent.object_offset == m.INLINE:
        return list(extent.source)
    if extent.object_offset == m.HOLE:
        return [None] * extent.length
    return [(extent.source, extent.object_offset + i) for i in range(extent.length)]


class DoomingMachine(NamespaceMachine):
    """The same, but every whole chunk that a file loses is doomed, and let go of later."""

    releases_max = 0


TestNamespace = NamespaceMachine.TestCase
TestDooming = DoomingMachine.TestCase
TestNamespace.settings = TestDooming.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
