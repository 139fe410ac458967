"""What the mount tells the kernel: how long to believe it, what becomes of pages, directory pages, the virtual attribute."""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import CHUNK_BYTES
from ringfs.client.coherence import KernelCache
from ringfs.client.file_system import Caller, Changes
from ringfs.fuse.at_once import Caching, Timeouts
from ringfs.fuse.errno_map import errno_of
from ringfs.fuse.operations import CONFIG_XATTR, Operations
from tests.support.refusals import refused
from tests.support.world import META, Mounted, open_world

CALLER = Caller()
FOR_EVER_S = 1e6


def mount_of(client: Mounted) -> Operations:
    """The client as a driver sees it."""
    return Operations(client.fs, "/world/cluster.toml", Timeouts(FOR_EVER_S, FOR_EVER_S))


async def listed(mount: Operations, number: int = ROOT_INODE) -> list[bytes]:
    """All names, as a program reads them."""
    handle = await mount.directories.opendir(number)
    names: list[bytes] = []
    after = 0
    while page := list(await mount.directories.readdir(handle, after)):
        names += [name for name, _, _ in page]
        after = page[-1][2]
    await mount.directories.releasedir(handle)
    return names


async def write_file(mount: Operations, name: bytes, data: bytes) -> int:
    """Make or replace a file and close it; its number."""
    handle, entry, _ = await mount.create(ROOT_INODE, name, 0o644, os.O_WRONLY | os.O_TRUNC, CALLER)
    await mount.write(handle, 0, data)
    await mount.flush(handle)
    await mount.release(handle)
    return entry.attributes.inode


async def test_leased_is_believed_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    """Names and attributes under a lease: for ever; attributes of what is not committed, or not leased: not at all."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        handle, made, _ = await mount.create(ROOT_INODE, b"file", 0o644, os.O_WRONLY, CALLER)
        assert (made.entry_timeout_s, made.attr_timeout_s) == (FOR_EVER_S, FOR_EVER_S)
        assert mount.name_timeout_s(ROOT_INODE) == FOR_EVER_S
        number = made.attributes.inode
        await mount.write(handle, 0, b"x")
        assert (await mount.getattr(number)).attr_timeout_s == 0.0
        await mount.fsync(handle)
        assert (await mount.getattr(number)).attr_timeout_s == FOR_EVER_S
        await mount.release(handle)
        client.port.cut(META)
        await trio.testing.wait_all_tasks_blocked()
        assert mount.name_timeout_s(ROOT_INODE) == 0.0


async def test_what_a_commit_will_leave_is_believed_before_it(autojump_clock: trio.testing.MockClock) -> None:
    """Attributes of a closed file with dirty bytes, if none of them is a guess: the commit leaves them as they were told."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        number = await write_file(mount, b"file", b"x" * 5000)
        for offset, end in ((4000, 9000), (0, 9000)):
            told = await mount.lookup(ROOT_INODE, b"file")
            assert told.attr_timeout_s == (await mount.getattr(number)).attr_timeout_s == FOR_EVER_S
            await mount.fs.sync()
            committed = (await mount.getattr(number)).attributes
            assert told.attributes == replace(committed, change=told.attributes.change)
            handle, _ = await mount.open(number, os.O_WRONLY)
            await mount.write(handle, offset, b"y" * 5000)
            assert (await mount.getattr(number)).attr_timeout_s == 0.0, "somebody writes"
            await mount.release(handle)
            assert (await mount.getattr(number)).attributes.size_bytes == end
        handle, _ = await mount.open(number, os.O_WRONLY)
        await mount.write(handle, 20_000, b"z")
        await mount.release(handle)
        assert (await mount.getattr(number)).attr_timeout_s == 0.0, "it has a hole"


async def test_what_was_given_up_is_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    """The kernel was told of a size, and then the bytes found no place."""
    async with open_world(1) as world:
        kernel = RecordingKernel()
        mount = mount_of(await world.mount("one", kernel))
        for node in world.nodes:
            node.is_full = True
        number = await write_file(mount, b"file", b"x" * 50_000)
        told = await mount.lookup(ROOT_INODE, b"file")
        assert (told.attributes.size_bytes, told.attr_timeout_s) == (50_000, FOR_EVER_S)
        kernel.dropped.clear()
        await mount.fs.sync()
        assert kernel.dropped == [([number], [], False)]
        assert (await mount.getattr(number)).attributes.size_bytes == 0


async def test_a_file_that_another_mount_changed(autojump_clock: trio.testing.MockClock) -> None:
    """The next open has the kernel drop the pages that it has; the one after that lets it keep them."""
    async with open_world(1) as world:
        one, two = mount_of(await world.mount("one")), mount_of(await world.mount("two"))
        number = await write_file(one, b"file", b"old")
        handle, _ = await two.open(number, os.O_RDONLY)
        assert bytes(await two.read(handle, 0, 100)) == b"old"
        await two.release(handle)
        await write_file(one, b"file", b"newer")
        await trio.sleep(5)
        assert (await two.lookup(ROOT_INODE, b"file")).attributes.size_bytes == 5
        for expected in (Caching.DROP, Caching.KEEP):
            handle, caching = await two.open(number, os.O_RDONLY)
            assert caching is expected
            assert bytes(await two.read(handle, 0, 100)) == b"newer"
            await two.release(handle)


async def test_own_changes_keep_pages(autojump_clock: trio.testing.MockClock) -> None:
    """What this mount itself wrote, renamed and chmodded stays in its kernel's page cache, also beside a lost connection."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        number = await write_file(mount, b"file", b"a" * 50_000)
        for index in range(3):
            await write_file(mount, b"file", b"b" * 1000 * index)
            await mount.setattr(number, Changes(mode=0o600 + index))
            await trio.sleep(3)
            client.port.cut(META)
            await trio.sleep(3)
        await mount.rename(ROOT_INODE, b"file", ROOT_INODE, b"other", 0)
        handle, caching = await mount.open(number, os.O_RDWR)
        assert caching is Caching.KEEP
        await mount.release(handle)


async def test_a_file_that_another_mount_is_writing(autojump_clock: trio.testing.MockClock) -> None:
    """It is opened past the page cache; what gets into that through an older handle is to be dropped; both read what is right."""
    async with open_world(1) as world:
        one, two = mount_of(await world.mount("one")), mount_of(await world.mount("two"))
        number = await write_file(one, b"file", b"old")
        held, caching = await two.open(number, os.O_RDONLY)
        assert caching is not Caching.PASS
        assert not two.is_page_unsure(held)
        writer, _ = await one.open(number, os.O_WRONLY)
        await one.write(writer, 0, b"new")
        second, caching = await two.open(number, os.O_RDONLY)
        assert caching is Caching.PASS
        for handle in (held, second):
            assert bytes(await two.read(handle, 0, 100)) == b"new"
        assert two.is_page_unsure(held)
        assert not two.is_page_unsure(second)
        assert (await two.getattr(number)).attr_timeout_s == 0.0
        for handle in (held, second):
            await two.release(handle)


class RecordingKernel(KernelCache):
    """Notes what is taken back, and whether the service was told meanwhile."""

    def __init__(self) -> None:
        self.dropped: list[tuple[list[int], list[int], bool]] = []
        self.may_go_on = trio.Event()

    async def drop(self, numbers: Sequence[int], pages: Sequence[int], *, names: bool) -> None:
        """See KernelCache."""
        self.dropped.append((list(numbers), list(pages), names))
        await self.may_go_on.wait()

    def drop_soon(self, numbers: Sequence[int], pages: Sequence[int] = (), *, names: bool = False) -> None:
        """See KernelCache."""
        self.dropped.append((list(numbers), list(pages), names))


async def test_a_recall_is_confirmed_after_the_kernel_has_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """Another mount's change is answered only when this one's kernel believes nothing of it any more."""
    async with open_world(1) as world:
        kernel = RecordingKernel()
        one, two = mount_of(await world.mount("one")), mount_of(await world.mount("two", kernel))
        number = await write_file(one, b"file", b"old")
        held, _ = await two.open(number, os.O_RDONLY)
        await two.lookup(ROOT_INODE, b"file")
        kernel.dropped.clear()
        done = False

        async def change() -> None:
            nonlocal done
            await one.unlink(ROOT_INODE, b"file")
            done = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            await trio.sleep(1)
            assert not done
            kernel.may_go_on.set()
        numbers = {number for numbers, _, _ in kernel.dropped for number in numbers}
        assert numbers == {ROOT_INODE, number}
        assert any(names for _, _, names in kernel.dropped)
        assert any(number in pages for _, pages, _ in kernel.dropped), "it is open"
        await two.release(held)


async def test_lost_leases_are_taken_back_from_the_kernel(autojump_clock: trio.testing.MockClock) -> None:
    """When the connection is lost, or silent for as long as leases last, nothing that was told stays believed."""
    async with open_world(1) as world:
        kernel = RecordingKernel()
        client = await world.mount("one", kernel)
        mount = mount_of(client)
        number = await write_file(mount, b"file", b"old")
        kernel.dropped.clear()
        client.port.cut(META)
        await trio.testing.wait_all_tasks_blocked()
        assert any(number in numbers and names for numbers, _, names in kernel.dropped)


async def test_a_directory_of_several_pages(autojump_clock: trio.testing.MockClock) -> None:
    """Every name once, whatever the pages; cookies ascend, and reading can go on from any of them."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        names = [b"%04d" % index for index in range(1300)]
        for name in names:
            await client.fs.mknod(ROOT_INODE, name, 0o100644, 0, CALLER)
        assert await listed(mount) == [b".", b"..", *names]
        handle = await mount.directories.opendir(ROOT_INODE)
        first = list(await mount.directories.readdir(handle, 2))
        cookies = [cookie for _, _, cookie in first]
        assert cookies == sorted(set(cookies))
        assert min(cookies) > 2
        for at in (700, 10, 510, 511, 512):
            (found, _, cookie), *_ = await mount.directories.readdir(handle, cookies[0] + at - 1)
            assert (found, cookie) == (names[at], cookies[0] + at)


async def test_entries_that_are_removed_while_they_are_read(autojump_clock: trio.testing.MockClock) -> None:
    """rm -r: what was removed after its page was read is not told any more; what stays is told once."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        for index in range(700):
            await client.fs.mknod(ROOT_INODE, b"%04d" % index, 0o100644, 0, CALLER)
        handle = await mount.directories.opendir(ROOT_INODE)
        page = list(await mount.directories.readdir(handle, 2))
        for index in range(1, 700, 2):
            await mount.unlink(ROOT_INODE, b"%04d" % index)
        rest = list(await mount.directories.readdir(handle, page[9][2]))
        assert [name for name, _, _ in rest][:3] == [b"0010", b"0012", b"0014"]
        names = [name for name, _, _ in page[:10]]
        after = page[9][2]
        while rest := list(await mount.directories.readdir(handle, after)):
            names += [name for name, _, _ in rest]
            after = rest[-1][2]
        assert names == [b"%04d" % index for index in range(700) if index < 10 or index % 2 == 0]


async def test_a_page_whose_entries_are_all_gone_is_not_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """Removing everything that one page has does not hide what comes after it."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        for index in range(1100):
            await client.fs.mknod(ROOT_INODE, b"%04d" % index, 0o100644, 0, CALLER)
        handle = await mount.directories.opendir(ROOT_INODE)
        page = list(await mount.directories.readdir(handle, 2))
        for name, _, _ in page[1:]:
            await mount.unlink(ROOT_INODE, name)
        rest = list(await mount.directories.readdir(handle, page[0][2]))
        assert rest, "there are more names"
        assert rest[0][0] == b"%04d" % len(page)


async def test_errors_come_at_flush_and_fsync(autojump_clock: trio.testing.MockClock) -> None:
    """What failed in the background is told at close; when space is scarce, close waits for what is dirty."""
    async with open_world(1) as world:
        client = await world.mount()
        mount = mount_of(client)
        handle, _, _ = await mount.create(ROOT_INODE, b"file", 0o644, os.O_RDWR, CALLER)
        for node in world.nodes:
            node.is_full = True
        await trio.sleep(10)
        assert client.fs.space.is_scarce
        await mount.write(handle, 0, b"x" * 50_000)
        with refused(Code.NO_SPACE):
            await mount.flush(handle)
        await mount.flush(handle)
        await mount.release(handle)


async def test_fsyncdir_waits_for_names(autojump_clock: trio.testing.MockClock) -> None:
    """Names that were answered ahead are at the service when it returns, before any crash of this client."""
    async with open_world(1) as world:
        client, other = await world.mount("one"), await world.mount("two")
        mount = mount_of(client)
        made = await mount.mkdir(ROOT_INODE, b"directory", 0o755, CALLER)
        directory = made.attributes.inode
        for index in range(20):
            await mount.mknod(directory, b"%d" % index, 0o100644, 0, CALLER)
        opened = await mount.directories.opendir(directory)
        await mount.directories.fsyncdir(mount.directories.directory_of(opened))
        await client.crash()
        number = (await other.fs.lookup(ROOT_INODE, b"directory")).number
        assert len((await other.fs.readdir(number, 0, 100)).entries) == 20


async def test_a_file_without_a_name_in_a_delegated_directory(autojump_clock: trio.testing.MockClock) -> None:
    """It is made at the service, although names there are made ahead; it gets one by link."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        directory = (await mount.mkdir(ROOT_INODE, b"directory", 0o755, CALLER)).attributes.inode
        handle, made, _ = await mount.tmpfile(directory, 0o600, os.O_RDWR, CALLER)
        await mount.write(handle, 0, b"content")
        linked = await mount.link(made.attributes.inode, directory, b"name")
        assert (linked.attributes.links, linked.attributes.size_bytes) == (1, 7)
        assert await listed(mount, directory) == [b".", b"..", b"name"]
        await mount.release(handle)


async def test_the_virtual_attribute(autojump_clock: trio.testing.MockClock) -> None:
    """The root says where its configuration is; nobody can change that, and no other inode has it."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        assert await mount.getxattr(ROOT_INODE, CONFIG_XATTR) == b"/world/cluster.toml"
        number = await write_file(mount, b"file", b"")
        with refused(Code.NO_XATTR):
            await mount.getxattr(number, CONFIG_XATTR)
        for change in (mount.setxattr(ROOT_INODE, CONFIG_XATTR, b"", 0), mount.removexattr(ROOT_INODE, CONFIG_XATTR)):
            with refused(Code.NOT_PERMITTED):
                await change
        assert await mount.listxattr(ROOT_INODE, CALLER) == []


async def test_cached_xattrs_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """Asking for many names, or large values, does not fill memory; answers stay right."""
    async with open_world(1) as world:
        client = await world.mount()
        inode = await client.fs.mknod(ROOT_INODE, b"file", 0o100644, 0, CALLER)
        await client.fs.setxattr(inode.number, b"user.large", b"x" * 60_000)
        for index in range(100):
            with refused(Code.NO_XATTR):
                await client.fs.getxattr(inode.number, b"user.%d" % index)
            assert len(inode.xattrs) <= 16
        for _ in range(2):
            assert await client.fs.getxattr(inode.number, b"user.large") == b"x" * 60_000
        assert sum(len(value or b"") for value in inode.xattrs.values()) < 10_000


async def test_times_before_1970(autojump_clock: trio.testing.MockClock) -> None:
    """They are kept, also on a file that is being written."""
    async with open_world(1) as world:
        mount, other = mount_of(await world.mount()), await world.mount("other")
        handle, entry, _ = await mount.create(ROOT_INODE, b"file", 0o644, os.O_RDWR, CALLER)
        await mount.write(handle, 0, b"x")
        number = entry.attributes.inode
        told = await mount.setattr(number, Changes(mtime_ns=-5 * 10**9, atime_ns=-1))
        assert (told.attributes.mtime_ns, told.attributes.atime_ns) == (-5 * 10**9, -1)
        await mount.fsync(handle)
        await mount.release(handle)
        found = await other.fs.getattr(number)
        assert found.attributes.mtime_ns == -5 * 10**9


async def test_many_extents_in_one_read(autojump_clock: trio.testing.MockClock) -> None:
    """A read over chunks whose extents do not fit one answer is put together from several."""
    async with open_world(1) as world:
        client = await world.mount()
        handle = await client.fs.create(ROOT_INODE, b"file", 0o100644, CALLER, writes=True, exclusive=True)
        rewriter = client.fs.writer._rewriter
        rewriter.is_scattered = lambda *_: False  # type: ignore[method-assign]
        for chunk in range(3):
            for index in range(26_000):
                await client.fs.write(handle, chunk * CHUNK_BYTES + index * 2000, b"x")
            await client.fs.fsync(handle)
        other = await world.mount("other")
        reader = await other.fs.open(handle.inode.number, writes=False)
        found = await other.fs.read(reader, 0, 3 * CHUNK_BYTES)
        assert bytes(found).count(b"x") == 3 * 26_000


def test_errnos() -> None:
    """A refusal has its row's errno, a bug is EIO."""
    assert errno_of(Refused(Code.NOT_EMPTY), "rmdir") == errno.ENOTEMPTY
    assert errno_of(ValueError("bug"), "rmdir") == errno.EIO


async def test_a_size_told_while_it_was_written(autojump_clock: trio.testing.MockClock) -> None:
    """A lookup answered before the writer was done may be taken by the kernel afterwards: it is not to be believed."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        handle, _, _ = await mount.create(ROOT_INODE, b"file", 0o644, os.O_WRONLY, CALLER)
        assert (await mount.lookup(ROOT_INODE, b"file")).attr_timeout_s == 0.0
        await mount.release(handle)
        assert (await mount.lookup(ROOT_INODE, b"file")).attr_timeout_s == FOR_EVER_S


async def test_appends_go_to_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """A write with O_APPEND goes to the end that is known here, whatever the kernel believes; others through its handle do not."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        number = await write_file(mount, b"file", b"first ")
        handle, _ = await mount.open(number, os.O_RDWR | os.O_APPEND)
        await mount.write(handle, 0, b"second", appends=True)
        await mount.write(handle, 0, b"F")
        assert bytes(await mount.read(handle, 0, 100)) == b"First second"
        await mount.release(handle)


async def test_no_size_is_told_before_pages_are_dropped(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append goes past the kernel's pages. Whoever reads through them learns the new size when the old last page is gone."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        number = await write_file(mount, b"file", b"first ")
        dropping, may_drop = trio.Event(), trio.Event()

        async def drop(_inode: object) -> None:
            dropping.set()
            await may_drop.wait()

        monkeypatch.setattr(mount.fs, "drop_from_kernel", drop)
        writing, _ = await mount.open(number, os.O_WRONLY | os.O_APPEND)
        await mount.write(writing, 6, b"alone ", appends=True)
        assert not dropping.is_set()
        reading, _ = await mount.open(number, os.O_RDONLY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(mount.write, writing, 12, b"second", appends=True))
            await dropping.wait()
            for ask in (partial(mount.getattr, number), partial(mount.lookup, ROOT_INODE, b"file")):
                with trio.move_on_after(1) as scope:
                    await ask()
                assert scope.cancelled_caught
            assert bytes(await mount.read(reading, 0, 100)) == b"first alone second"  # dropping may wait for it
            may_drop.set()
            assert (await mount.getattr(number)).attributes.size_bytes == 18
        for handle in (reading, writing):
            await mount.release(handle)


async def test_names_too_long_and_removed_directories(autojump_clock: trio.testing.MockClock) -> None:
    """What the cache could answer wrongly: a name that cannot be, a directory that is gone and still open."""
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        made = await mount.mkdir(ROOT_INODE, b"directory", 0o755, CALLER)
        number = made.attributes.inode
        with refused(Code.NAME_TOO_LONG):
            await mount.lookup(number, b"x" * 256)
        opened = await mount.directories.opendir(number)
        await mount.rmdir(ROOT_INODE, b"directory")
        assert (await mount.getattr(number)).attributes.links == 0
        with refused(Code.NOT_FOUND):
            await mount.lookup(number, b"anything")
        assert (await mount.setattr(number, Changes(mode=0o700, uid=7))).attributes.uid == 7
        assert (await mount.getattr(number)).attributes.mode == stat.S_IFDIR | 0o700
        with refused(Code.NO_XATTR):  # the kernel asks for ACLs before it lets anybody but root look something up
            await mount.getxattr(number, b"system.posix_acl_access")
        assert await mount.listxattr(number, CALLER) == []
        assert [name for name, _, _ in await mount.directories.readdir(opened, 0)] == [b".", b".."]
        assert not list(await mount.directories.readdir(opened, 2))
        await mount.directories.releasedir(opened)


async def test_directory_removed_by_another_client(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever still holds it finds it empty and without links, and may change it."""
    async with open_world(1) as world:
        mount, other = mount_of(await world.mount()), mount_of(await world.mount())
        for first in ("getattr", "setattr"):
            made = await mount.mkdir(ROOT_INODE, b"directory", 0o755, CALLER)
            number = made.attributes.inode
            await other.rmdir(ROOT_INODE, b"directory")
            if first == "setattr":
                assert (await mount.setattr(number, Changes(mode=0o700))).attributes.mode == stat.S_IFDIR | 0o700
            assert (await mount.getattr(number)).attributes.links == 0
            with refused(Code.NOT_FOUND):
                await mount.lookup(number, b"anything")
            assert await mount.listxattr(number, CALLER) == []


async def test_chmod_shows_in_the_acl(autojump_clock: trio.testing.MockClock) -> None:
    """chmod changes the mask of an access ACL: the one that was cached is forgotten."""
    acl = bytes.fromhex("02000000 0100 0600 ffffffff 0200 0700 31750000 0400 0400 ffffffff 1000 0400 ffffffff 2000 0400 ffffffff")
    async with open_world(1) as world:
        mount = mount_of(await world.mount())
        number = await write_file(mount, b"file", b"x")
        await mount.setxattr(number, b"system.posix_acl_access", acl, 0)
        before = await mount.getxattr(number, b"system.posix_acl_access")
        await mount.setattr(number, Changes(mode=0o670))
        after = await mount.getxattr(number, b"system.posix_acl_access")
        assert after != before
        assert after == acl.replace(bytes.fromhex("10000400"), bytes.fromhex("10000700")).replace(
            bytes.fromhex("20000400"), bytes.fromhex("20000000")
        )
