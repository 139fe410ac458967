"""All pages that an LMDB file's last transaction uses, visited once each: whether LMDB can follow and change them. Pure.

What is found sound here kills nobody who opens the file, reads any row, or commits: each page is where its parent says, is of the
right kind and has its nodes within it; keys ascend; no page is used twice, or both used and free. What rows hold is their owner's
business.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import lt

from ringfs.base.kv.pages import (
    BIG_VALUE,
    BRANCH,
    HEADER_BYTES,
    INTEGER_KEYS,
    LEAF,
    NO_PAGE,
    PAGE_BYTES,
    Leaf,
    Meta,
    Tree,
    children_in,
    ensure,
    kind_of,
    leaf_in,
    meta_in,
    overflow_page_count,
    overflow_pages_in,
    tree_in,
)
from ringfs.base.limits import MIB

# A transaction counts pages that it gave up again, which the file may lack. More than these are no such.
_PAGES_MISSING_MAX = 64 * MIB // PAGE_BYTES
# LMDB's CURSOR_STACK.
_DEPTH_MAX = 32
_ID_BYTES = 8

#: What a file has from an offset on, up to a length.
Read = Callable[[int, int], bytes]
Pairs = Sequence[tuple[bytes, bytes]]


def last_transaction(read: Read) -> Meta:
    """What LMDB opens: the later of the two, which are one after the other. Raises PageDamaged."""
    metas = [meta_in(read(number * PAGE_BYTES, PAGE_BYTES), number) for number in (0, 1)]
    one, other = sorted(metas, key=lambda meta: meta.transaction)
    ensure(other.transaction - one.transaction <= 1, "its two transactions are not neighbours")
    return other


def check_pages(read: Read, size_bytes: int, take: Callable[[bytes, Pairs], None]) -> None:
    """Visit everything; `take` is told the name of each database with the rows of each leaf, in order.

    Nobody writes the file meanwhile. Raises PageDamaged, and what read and take raise.
    """
    meta = last_transaction(read)
    ensure(2 <= meta.page_count <= size_bytes // PAGE_BYTES + _PAGES_MISSING_MAX, "it counts pages that it cannot have")
    pages = _Pages(read, meta.page_count)
    for names in _Visit(pages, meta.main).leaves():
        ensure(len(names.databases) == len(names.pairs), "the main database has other rows than databases")
        for name, value in names.pairs:
            tree = tree_in(value)
            for leaf in _Visit(pages, tree).leaves():
                ensure(not leaf.databases, "a database within a database")
                take(name, leaf.pairs)
    for leaf in _Visit(pages, meta.free).leaves():
        for key, value in leaf.pairs:
            ensure(_as_integer(key) <= meta.transaction, "free pages of no transaction")
            pages.meet_free(value)


class _Pages:
    """The pages of a file, each met once."""

    def __init__(self, read: Read, page_count: int) -> None:
        self._read = read
        #: One byte for each page: whether it was met.
        self._met = bytearray(page_count)
        self._met[:2] = b"\1\1"

    def take(self, number: int) -> bytes:
        """A page that was not met yet."""
        self._meet(number, 1)
        return self._read(number * PAGE_BYTES, PAGE_BYTES)

    def take_big(self, first: int, length_bytes: int) -> bytes:
        """A value in overflow pages that were not met yet."""
        count = overflow_page_count(length_bytes)
        self._meet(first, count)
        content = self._read(first * PAGE_BYTES, count * PAGE_BYTES)
        ensure(len(content) == count * PAGE_BYTES, f"pages from {first} on are missing")
        ensure(overflow_pages_in(content[:PAGE_BYTES], first) == count, f"the value in page {first} has another length")
        return content[HEADER_BYTES : HEADER_BYTES + length_bytes]

    def meet_free(self, ids: bytes) -> None:
        """Free pages as a row of their database has them: their number, then theirs, descending. It may have room for more."""
        ensure(len(ids) >= _ID_BYTES and len(ids) % _ID_BYTES == 0, "a list of free pages has an odd length")
        count, *numbers = memoryview(ids).cast("Q")
        ensure(count <= len(numbers), "a list of free pages is short")
        ensure(all(above > below for above, below in pairwise(numbers[:count])), "a list of free pages is out of order")
        for number in numbers[:count]:
            self._meet(number, 1)

    def _meet(self, first: int, count: int) -> None:
        ensure(first + count <= len(self._met), f"there is no page {first}, or fewer behind it")
        ensure(not any(self._met[first : first + count]), f"page {first} is used twice")
        self._met[first : first + count] = b"\1" * count


class _Visit:
    """Of one database's tree, depth first."""

    def __init__(self, pages: _Pages, tree: Tree) -> None:
        self._pages = pages
        self._tree = tree
        self._is_free = tree.flags == INTEGER_KEYS
        self._branches = self._leaves = self._overflow = self._entries = 0
        #: The last key of a leaf, and of a branch, which the next may not be less than. Integers' bytes are turned to be in order.
        self._last = self._least = b""

    def leaves(self) -> Iterator[Leaf]:
        """Each leaf, with its values wherever they are. At the end the database's figures are checked."""
        tree = self._tree
        ensure((tree.root == NO_PAGE) == (tree.depth == 0) and tree.depth <= _DEPTH_MAX, "a database has an odd depth")
        if tree.depth:
            yield from self._below(tree.root, tree.depth)
        counted = (self._branches, self._leaves, self._overflow, self._entries)
        told = (tree.branch_pages, tree.leaf_pages, tree.overflow_pages, tree.entries)
        ensure(counted == told, "a database has other figures than it tells")

    def _below(self, number: int, depth: int) -> Iterator[Leaf]:
        page = self._pages.take(number)
        kind = kind_of(page, number)
        ensure((kind == LEAF) == (depth == 1), f"page {number} is at another depth")
        if kind == BRANCH:
            yield from self._below_branch(number, page, depth)
        else:
            yield self._leaf(number, page)

    def _below_branch(self, number: int, page: bytes, depth: int) -> Iterator[Leaf]:
        self._branches += 1
        children = children_in(page, number)
        ensure(len(children) > 1 or self._is_free, f"page {number} is a branch of one")
        for place, child in enumerate(children):
            if place:
                self._check_separator(child.key, number)
            yield from self._below(child.page, depth - 1)

    def _check_separator(self, key: bytes, number: int) -> None:
        """Everything so far is less than the key of a branch's node, and nothing to come is."""
        (self._least,) = self._comparable([key], number)
        ensure(self._last < self._least, f"page {number} has keys out of order")

    def _leaf(self, number: int, page: bytes) -> Leaf:
        leaf = leaf_in(page, number)
        self._leaves += 1
        self._entries += len(leaf.pairs)
        keys = self._comparable([key for key, _ in leaf.pairs], number)
        ensure(self._last < keys[0] >= self._least and all(map(lt, keys, keys[1:])), f"page {number} has keys out of order")
        self._last = keys[-1]
        for place, length_bytes in leaf.big.items():
            key, value = leaf.pairs[place]
            self._overflow += overflow_page_count(length_bytes)
            leaf.pairs[place] = key, self._pages.take_big(BIG_VALUE.unpack(value)[0], length_bytes)
        return leaf

    def _comparable(self, keys: list[bytes], number: int) -> list[bytes]:
        """Keys whose order as bytes is their order."""
        if not self._is_free:
            return keys
        ensure(all(len(key) == _ID_BYTES for key in keys), f"page {number} has a key that is no integer")
        return [key[::-1] for key in keys]


def _as_integer(key: bytes) -> int:
    return int.from_bytes(key, "little")
