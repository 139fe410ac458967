"""The bytes of a checkpoint's mark: docs/formats/state-directory.md."""

from ringfs.meta import marks
from ringfs.meta.marks import Marks
from tests.support.meta_doubles import MemoryStore


def test_golden() -> None:
    """Written as the page says, and read back."""
    written = marks.write(Marks(position=300, term=7, now_ns=1_700_000_000_000_000_000))
    assert written == {b"leader": bytes.fromhex("93cd012c07cf17979cfe362a0000")}
    assert marks.read(MemoryStore({}, written)) == Marks(300, 7, 1_700_000_000_000_000_000)
    assert marks.read(MemoryStore()) is None
