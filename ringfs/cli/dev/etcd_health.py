"""Whether the etcd members of a dev cluster serve. How they are run: etcd.py."""

from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from ringfs.cli.dev.etcd import read_members
from ringfs.cli.dev.layout import Layout
from ringfs.cli.dev.supervise import is_running
from ringfs.meta.etcd.interface import Member

#: Between two looks.
_LOOK_S = 0.05


def quorum_trouble(layout: Layout) -> str:
    """Empty if so many members run that they can agree, or if there are none."""
    members = layout.members()
    count = sum(map(is_running, members))
    return "" if not members or 2 * count > len(members) else f"no quorum: {count} of {len(members)} members run"


def wait_members(root: Path, names: Sequence[str], is_over: Callable[[], bool], timeout_s: float) -> list[str]:
    """Until all of those answer and know a leader, or it is over; a line for each that does not."""
    return trio.run(_wait_members, root, names, is_over, timeout_s) if names else []


async def _wait_members(root: Path, names: Sequence[str], is_over: Callable[[], bool], timeout_s: float) -> list[str]:
    troubles = [f"{name} does not answer" for name in names]
    with trio.move_on_after(timeout_s):
        while troubles and not is_over():
            await trio.sleep(_LOOK_S)
            found = await _ask(root, names)
            troubles = [f"{name}: {member.reason}" for name, member in found.items() if member.reason]
    return troubles


def ask_members(root: Path, names: Sequence[str]) -> dict[str, Member]:
    """What each of those says of itself; those that do not answer within 2 s have a reason."""
    return trio.run(_ask, root, names) if names else {}


async def _ask(root: Path, names: Sequence[str]) -> dict[str, Member]:
    from ringfs.meta.etcd.client import Access, EtcdClient

    addresses = {member.name: member.client for member in read_members(root)}
    client = EtcdClient(Access(tuple(addresses[name] for name in names)))
    try:
        return dict(zip(names, await client.members(), strict=True))
    finally:
        client.close()
