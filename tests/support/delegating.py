"""Clients that do things ahead of the service, as tests of delegations need them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import trio

from ringfs.base.ids import ROOT_INODE
from ringfs.base.limits import LEASE_NS
from ringfs.client.file_system import Caller
from tests.support.world import Mounted, World

CALLER = Caller()
LEASE_S = LEASE_NS / 1e9
FILE = 0o100644


async def shown(client: Mounted, number: int) -> list[tuple[bytes, int]]:
    """A directory's names and inode numbers as the client lists them."""
    page = await client.fs.readdir(number, 0, 1000)
    return sorted((entry.name, entry.attributes.inode) for entry in page.entries)


async def home_of(client: Mounted) -> int:
    """A directory of the client's own, which it has delegated; numbers for new inodes are there too."""
    home = (await client.fs.mkdir(ROOT_INODE, b"home", 0o755, CALLER)).number
    await client.fs.mkdir(home, b"first", 0o755, CALLER)
    await trio.sleep(0.1)
    return home


def unanswered(client: Mounted) -> int:
    """How many transactions were done ahead and are not durable."""
    return len(client.fs.link._ahead)


async def ahead(client: Mounted, act: Callable[[], Awaitable[object]]) -> None:
    """Do something that must be done ahead."""
    before = unanswered(client)
    await act()
    assert unanswered(client) > before, "asked, not done ahead"


async def filled(client: Mounted, home: int, count: int = 5) -> list[bytes]:
    """New directories, made ahead."""
    names = [b"d%d" % index for index in range(count)]
    for name in names:
        await ahead(client, partial(client.fs.mkdir, home, name, 0o755, CALLER))
    return names


async def agree(world: World, *clients: Mounted) -> None:
    """All clients list the same trees, and the namespace is right."""
    todo: list[int] = [ROOT_INODE]
    while todo:
        number = todo.pop()
        lists = [await shown(client, number) for client in clients]
        assert all(each == lists[0] for each in lists)
        for name, child in lists[0]:
            # Without atime: each tells of what it read when it closes.
            found = [replace((await client.fs.lookup(number, name)).merged(), atime_ns=0) for client in clients]
            assert all(each == found[0] for each in found)
            assert found[0].inode == child
            if found[0].mode & 0o170000 == 0o040000:
                todo.append(found[0].inode)
    world.handler.live.leases.check_invariants()
    await world.leader.checkpoint()
    world.check()
