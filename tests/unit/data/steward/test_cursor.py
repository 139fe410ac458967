"""The scrub's cursor on disk: it comes back, a crash leaves the old or the new one, and nonsense begins anew."""

from contextlib import suppress
from pathlib import Path

import pytest

from ringfs.base.files import RealFiles
from ringfs.data.steward.cursor import NAME, Cursor, CursorFile
from tests.support.crashing_files import Crashed, CrashingFiles, choices

ONE = Cursor("aa" * 23, 5)
TWO = Cursor("", 6)


async def test_it_comes_back(tmp_path: Path) -> None:
    keeper = CursorFile(RealFiles(), tmp_path)
    assert await keeper.load() == Cursor()
    for cursor in (ONE, TWO):
        await keeper.save(cursor)
        assert await CursorFile(RealFiles(), tmp_path).load() == cursor


@pytest.mark.parametrize(
    "text",
    [b"", b"nonsense", b"[]", b'{"after": "zz", "done_ns": 0}', b'{"after": "aa", "done_ns": 0}', b'{"done_ns": -1}', b'{"x": 1}'],
)
async def test_nonsense_begins_anew(tmp_path: Path, text: bytes) -> None:
    (tmp_path / NAME).write_bytes(text)
    keeper = CursorFile(RealFiles(), tmp_path)
    assert await keeper.load() == Cursor()
    await keeper.save(ONE)
    assert await keeper.load() == ONE


def test_a_crash_leaves_the_old_or_the_new_one() -> None:
    disk = Path("/disk")
    seen = set()
    for crash_at in range(1, 20):
        for name, choice in choices("cursor", 4):
            files = CrashingFiles()
            files.make_directory(disk)
            files.sync_directory(Path("/"))
            keeper = CursorFile(files, disk)
            keeper._save(b'{"after": "", "done_ns": 1}')
            files.crash_at = files.step_count + crash_at
            with suppress(Crashed):
                keeper._save(b'{"after": "", "done_ns": 2}')
            files = files.after_crash(choice)
            found = CursorFile(files, disk)._load()
            assert found.done_ns in (1, 2), (crash_at, name)
            seen.add(found.done_ns)
            CursorFile(files, disk)._save(b'{"after": "", "done_ns": 3}')
            assert CursorFile(files, disk)._load().done_ns == 3
    assert seen == {1, 2}
