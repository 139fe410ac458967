"""Pages of LMDB's file as LMDB 0.9 writes them, read without LMDB: what it would follow without looking. Pure.

LMDB has no checksums and trusts what is in a page: a damaged one is a signal and the end of the process, or a write to where
something else is. Here every field that it uses is looked at first (liblmdb's mdb.c names them). How pages hang together: walk.py.
Not here: the pages of DUPSORT databases, which no store has.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

PAGE_BYTES = 4096
HEADER_BYTES = 16
#: MDB_MAXKEYSIZE.
_KEY_BYTES_MAX = 511
_MAGIC = 0xBEEF_C0DE
_DATA_VERSION = 1
#: Kinds of pages (mp_flags): a page has exactly one, and nothing else, on disk.
BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
# Kinds of nodes in leaves (mn_flags): the value is in the node, in overflow pages, or a database.
_VALUE, _BIG, _DATABASE = 0x00, 0x01, 0x02
#: What a database without pages has for its root.
NO_PAGE = (1 << 64) - 1
#: md_flags of the database of free pages.
INTEGER_KEYS = 0x08

_HEADER = struct.Struct("<QHHHH")
_OVERFLOW_HEADER = struct.Struct("<QHHI")
_META = struct.Struct("<IIQQ48s48sQQ")
_TREE = struct.Struct("<IHHQQQQQ")
_NODE = struct.Struct("<HHHH")
#: The value of a big node: the first of its overflow pages.
BIG_VALUE = struct.Struct("<Q")


class PageDamaged(Exception):
    """No LMDB wrote such a page."""


class Tree(NamedTuple):
    """A database (MDB_db)."""

    pad: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Meta(NamedTuple):
    """A transaction (MDB_meta): the databases it left, and how many pages it counts."""

    free: Tree
    main: Tree
    page_count: int
    transaction: int


class Child(NamedTuple):
    """A node of a branch: no key in the page's subtree is less (the first node's key counts for nothing)."""

    key: bytes
    page: int


class Leaf(NamedTuple):
    """Keys and values of a leaf, in order. What is no plain value is told by its place in `pairs`: of a big one the value here is
    the number of its first page, and `big` has its length; `databases` have theirs as a value."""

    pairs: list[tuple[bytes, bytes]]
    big: dict[int, int]
    databases: frozenset[int]


def ensure(is_sound: bool, what: str) -> None:
    """PageDamaged unless it is."""
    if not is_sound:
        raise PageDamaged(what)


def meta_in(page: bytes, number: int) -> Meta:
    """What the first or second page of a file says. Raises PageDamaged."""
    ensure(len(page) == PAGE_BYTES and _HEADER.unpack_from(page)[::2][:2] == (number, META), f"page {number} is no meta page")
    magic, version, address, _, free, main, last_page, transaction = _META.unpack_from(page, HEADER_BYTES)
    meta = Meta(Tree._make(_TREE.unpack(free)), tree_in(main), last_page + 1, transaction)
    ensure((magic, version, address) == (_MAGIC, _DATA_VERSION, 0), f"page {number} has another magic or version")
    ensure((meta.free.pad, meta.free.flags) == (PAGE_BYTES, INTEGER_KEYS), f"page {number} has another size of pages, or flags")
    # Transactions take turns with the two pages; a new file has none in either.
    ensure(transaction == 0 or transaction % 2 == number, f"page {number} has a transaction that is not its own")
    return meta


def tree_in(value: bytes) -> Tree:
    """An ordinary database, as a row of the main one has it. Raises PageDamaged."""
    ensure(len(value) == _TREE.size, "a database of another length")
    tree = Tree._make(_TREE.unpack(value))
    ensure((tree.pad, tree.flags) == (0, 0), "a database has flags")
    return tree


def kind_of(page: bytes, number: int) -> int:
    """BRANCH or LEAF. Raises PageDamaged."""
    ensure(len(page) == PAGE_BYTES, f"page {number} is missing")
    own_number, _, kind, _, _ = _HEADER.unpack_from(page)
    ensure(own_number == number and kind in (BRANCH, LEAF), f"page {number} is neither branch nor leaf")
    return int(kind)


def overflow_pages_in(page: bytes, number: int) -> int:
    """How many pages a big value takes, of which this is the first. Raises PageDamaged."""
    ensure(len(page) == PAGE_BYTES, f"page {number} is missing")
    own_number, _, kind, count = _OVERFLOW_HEADER.unpack_from(page)
    ensure((own_number, kind) == (number, OVERFLOW), f"page {number} begins no big value")
    return int(count)


def overflow_page_count(length_bytes: int) -> int:
    """How many pages a value of that length takes (OVPAGES)."""
    return (HEADER_BYTES - 1 + length_bytes) // PAGE_BYTES + 1


def children_in(page: bytes, number: int) -> list[Child]:
    """The nodes of a branch, in order. Raises PageDamaged."""
    children, ends = [], []
    for pointer in (pointers := _pointers_in(page, number)):
        low, middle, high, key_bytes = _node_at(page, pointer, number)
        key = page[pointer + _NODE.size : pointer + _NODE.size + key_bytes]
        children.append(Child(key, low | middle << 16 | high << 32))
        ends.append(_even(pointer + _NODE.size + key_bytes))
    _ensure_dense(page, pointers, ends, number)
    return children


def leaf_in(page: bytes, number: int) -> Leaf:
    """The nodes of a leaf. Raises PageDamaged."""
    pointers = _pointers_in(page, number)
    alike = _pairs_alike(page, pointers)
    if alike is not None:
        return Leaf(alike, {}, frozenset())
    pairs, big, databases, ends = [], {}, set(), []
    for place, pointer in enumerate(pointers):
        low, high, kind, key_bytes = _node_at(page, pointer, number)
        ensure(kind in (_VALUE, _BIG, _DATABASE) and 0 < key_bytes <= _KEY_BYTES_MAX, f"page {number} has an odd node")
        length_bytes = low | high << 16
        start = pointer + _NODE.size + key_bytes
        end = start + (BIG_VALUE.size if kind == _BIG else length_bytes)
        pairs.append((page[pointer + _NODE.size : start], page[start:end]))
        ends.append(_even(end))
        if kind == _BIG:
            big[place] = length_bytes
        elif kind == _DATABASE:
            databases.add(place)
    _ensure_dense(page, pointers, ends, number)
    return Leaf(pairs, big, frozenset(databases))


def _pairs_alike(page: bytes, pointers: Sequence[int]) -> list[tuple[bytes, bytes]] | None:
    """Keys and values of a sound leaf whose nodes all have the same header and hold their values, or None. Most leaves are such:
    taking all nodes at once costs a third."""
    first = min(pointers)
    header = page[first : first + _NODE.size]
    value_bytes, high, kind, key_bytes = _NODE.unpack(header) if len(header) == _NODE.size else (0, 1, 0, 0)
    size_bytes = _even(_NODE.size + key_bytes + value_bytes)
    if high or kind != _VALUE or not 0 < key_bytes <= _KEY_BYTES_MAX or first + len(pointers) * size_bytes != PAGE_BYTES:
        return None
    places = range(first, PAGE_BYTES, size_bytes)
    if first != _HEADER.unpack_from(page)[4] or sorted(pointers) != list(places):
        return None
    if any(page[first + at :: size_bytes] != header[at : at + 1] * len(places) for at in range(_NODE.size)):
        return None
    layout = f"{_NODE.size}x{key_bytes}s{value_bytes}s{size_bytes - _NODE.size - key_bytes - value_bytes}x"
    at_place = dict(zip(places, struct.iter_unpack(layout, page[first:]), strict=True))
    return [at_place[pointer] for pointer in pointers]


def _pointers_in(page: bytes, number: int) -> tuple[int, ...]:
    """Where the nodes are, in order of their keys; at least one."""
    _, _, _, lower, upper = _HEADER.unpack_from(page)
    count, odd = divmod(lower - HEADER_BYTES, 2)
    ensure(count > 0 and not odd and lower <= upper <= PAGE_BYTES, f"page {number} has odd bounds")
    return struct.unpack_from(f"<{count}H", page, HEADER_BYTES)


def _node_at(page: bytes, pointer: int, number: int) -> tuple[int, int, int, int]:
    ensure(HEADER_BYTES <= pointer <= PAGE_BYTES - _NODE.size, f"page {number} has a node outside of it")
    return _NODE.unpack_from(page, pointer)


def _ensure_dense(page: bytes, pointers: Sequence[int], ends: Sequence[int], number: int) -> None:
    """Nodes lie side by side from the upper bound to the page's end: none overlaps, none leaves it."""
    place: int = _HEADER.unpack_from(page)[4]
    for pointer, end in sorted(zip(pointers, ends, strict=True)):
        ensure(pointer == place, f"page {number} has nodes that overlap, or gaps")
        place = end
    ensure(place == PAGE_BYTES, f"page {number} has nodes that leave it")


def _even(length_bytes: int) -> int:
    return length_bytes + (length_bytes & 1)
