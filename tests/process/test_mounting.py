"""Both ways to a mount, mount(2) and fusermount3: the kernel's first request comes, and the mount point is free afterwards."""

import os
import select
from collections.abc import Callable
from pathlib import Path

import pytest

from ringfs.base import mountinfo
from ringfs.base.errors import UserError
from ringfs.fuse.kernel import channel, opcodes, wire
from ringfs.fuse.kernel.channel import Channel

SECONDS_MAX = 60
WAYS = {"mount(2)": channel._mount_as_root, "fusermount3": channel._mount_with_helper}
ways = pytest.mark.parametrize("mount", WAYS.values(), ids=WAYS)


@ways
def test_mounted_and_taken_away(tmp_path: Path, mount: Callable[[str], int]) -> None:
    """It is found as ours, children do not inherit it, INIT is there to be read, and nothing but INIT."""
    opened = Channel(mount(str(tmp_path)))
    try:
        there = mountinfo.mount_at(tmp_path)
        assert there is not None
        assert there.kind == "fuse.ringfs"
        assert not os.get_inheritable(opened.descriptor)
        assert select.select([opened.descriptor], [], [], SECONDS_MAX)[0]
        head, payload = memoryview(bytearray(80)), memoryview(bytearray(1 << 20))
        size = opened.read(head, payload)
        assert wire.IN_HEADER.unpack_from(head)[:2] == (size, opcodes.INIT)
        assert opened.read(head, payload) == -1
    finally:
        opened.close()
        channel.detach(str(tmp_path))
    assert mountinfo.mount_at(tmp_path) is None


@ways
def test_where_nothing_can_be_mounted(tmp_path: Path, mount: Callable[[str], int]) -> None:
    """One line that names the place."""
    (tmp_path / "file").touch()
    with pytest.raises((UserError, NotADirectoryError), match=f"{tmp_path}/file/below"):
        mount(str(tmp_path / "file/below"))


def test_a_mount_that_has_gone(tmp_path: Path) -> None:
    """Reading says so, and a reply that comes too late is dropped."""
    opened = channel.mount(str(tmp_path))
    channel.detach(str(tmp_path))
    assert select.select([opened.descriptor], [], [], SECONDS_MAX)[0]
    head, payload = memoryview(bytearray(80)), memoryview(bytearray(1 << 20))
    while (size := opened.read(head, payload)) > 0:
        continue
    assert size == 0
    opened.write(wire.pack_error(2, 0))
    opened.close()
    opened.close()
