"""Every answer with a `leased` flag is known: which inodes it shows, and that all its flags are set."""

import dataclasses
from typing import Any

import pytest

from ringfs.meta.answers import clear_leases, inodes_of, set_leases
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages import queries as q
from ringfs.wire.messages.common import Attributes, Done
from ringfs.wire.messages.session import Opened
from ringfs.wire.messages.sharing import Appended
from ringfs.wire.schema import registered


def attributes(inode: int) -> Attributes:
    return Attributes(inode, 0o100644, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)


CASES: list[tuple[Any, Any, list[int]]] = [
    (None, m.Entry(attributes(2), attributes(1), False, False), [1, 2]),
    (None, m.Entry(None, attributes(1), False, False), [1]),
    (None, Opened(attributes(3), False), [3]),
    (None, q.Extents(attributes(3), [], False), [3]),
    (None, Appended(attributes(3), 5, 0), [3]),
    (q.GetXattr(4, b"user.a"), q.XattrFound(b"", False), [4]),
    (q.ListXattrs(4), q.XattrNames([], False), [4]),
    (None, q.DirectoryPage(attributes(1), [q.DirectoryEntry(1, b"a", attributes(5), False)], False, False), [1, 5]),
    (None, attributes(6), [6]),
    (None, m.Removed(attributes(1), attributes(7)), [1, 7]),
    (None, m.Renamed(attributes(1), attributes(2), attributes(8), None), [1, 2, 8]),
    (None, m.Renamed(attributes(1), attributes(1), attributes(8), attributes(9)), [1, 1, 8, 9]),
    (None, m.Committed([m.CommittedFile(0, attributes(3)), m.CommittedFile(115, None)]), [3]),
    (None, Done(), []),
    (None, q.LinkTarget(b"t"), []),
]


@pytest.mark.parametrize(("question", "answer", "expected"), CASES)
def test_inodes(question: Any, answer: Any, expected: list[int]) -> None:
    """The inodes shown are these; each leased flag follows its own inode."""
    assert inodes_of(question, answer) == expected
    asked: list[int] = []

    def grant(inode: int) -> bool:
        asked.append(inode)
        return True

    if set_leases(question, answer, grant):
        assert sorted(asked) == expected
        assert "False" not in repr(answer).replace("more=False", "").replace("attributes=None, ", "") or answer.attributes is None
        clear_leases(question, answer)
        assert "leased=True" not in repr(answer)
    else:
        assert not asked


def test_no_answer_is_forgotten() -> None:
    """Every message with a leased flag is among the cases."""
    leased = {cls for cls in registered().values() if "leased" in {field.name for field in dataclasses.fields(cls)}} - {
        q.DirectoryEntry
    }
    assert leased == {type(answer) for question, answer, _ in CASES if set_leases(question, answer, lambda _inode: False)}
