"""The erasure code: any K fragments give all others, whatever pieces the content comes in; parity never changes."""

import ctypes
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.checksums import plain_digest
from ringfs.base.errors import UserError
from ringfs.base.limits import BLOCK_BYTES
from ringfs.ring import erasure
from ringfs.ring.classes import ErasureClass, parse_class
from ringfs.ring.erasure import decode, encode
from ringfs.ring.parts import Part, part_bytes, range_of, row_count


def content_of(size_bytes: int, seed: int = 1) -> bytes:
    """Random bytes."""
    return random.Random(seed).randbytes(size_bytes)


def fragments_of(form: ErasureClass, content: bytes) -> dict[int, memoryview]:
    """All of them as nodes hold them: data fragments are cut from the content, the last ones short or empty."""
    view = memoryview(content)
    fragments = {}
    for number in range(form.data):
        start, stop = range_of(Part(form.data, form.parity, number), len(content))
        fragments[number] = view[start:stop]
    for number, parity in enumerate(encode(form, [view], len(content)), form.data):
        assert len(parity) == part_bytes(Part(form.data, form.parity, number), len(content))
        fragments[number] = parity
    return fragments


def filled(fragment: memoryview, length_bytes: int) -> bytes:
    """What decoding gives for a fragment that ends early."""
    return bytes(fragment).ljust(length_bytes, b"\0")


def multiplied(left: int, right: int) -> int:
    """In GF(2^8) with ISA-L's polynomial 0x11D."""
    product = 0
    while right:
        product ^= left * (right & 1)
        left = (left << 1) ^ (0x11D if left & 0x80 else 0)
        right >>= 1
    return product


@pytest.mark.parametrize("form", [ErasureClass(*km) for km in ((2, 1), (3, 2), (4, 2), (6, 3), (8, 3), (2, 16), (12, 6))], ids=str)
def test_any_k_fragments_give_all_others(form: ErasureClass) -> None:
    """All C(K+M, K) choices, over the whole fragments of an object whose last data fragment is short."""
    content = content_of(form.data * 64 - 7)
    runs = [content[number * 64 : number * 64 + 64].ljust(64, b"\0") for number in range(form.data)]
    whole = {number: memoryview(run) for number, run in enumerate(runs)}
    whole.update(decode(form, 64, whole, range(form.data, form.width)))
    for chosen in combinations(range(form.width), form.data):
        others = [number for number in range(form.width) if number not in chosen]
        made = decode(form, 64, {number: whole[number] for number in chosen}, others)
        assert all(made[number] == whole[number] for number in others), chosen


@given(
    st.sampled_from([ErasureClass(*km) for km in ((2, 1), (3, 1), (4, 2), (5, 3), (8, 3))]),
    st.integers(1, 9 * BLOCK_BYTES + 5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_round_trip(form: ErasureClass, size_bytes: int, draw: random.Random) -> None:
    """From any K of the fragments as they are held, short and empty ones too, all others come back, whole or one row of blocks."""
    fragments = fragments_of(form, content_of(size_bytes))
    rows = row_count(size_bytes, form.data)
    start, stop = draw.choice([(0, rows), (row := draw.randrange(rows), row + 1)])
    cut = {number: fragment[start * BLOCK_BYTES : stop * BLOCK_BYTES] for number, fragment in fragments.items()}
    available = dict(draw.sample(sorted(cut.items()), draw.randint(form.data, form.width)))
    length_bytes = (stop - start) * BLOCK_BYTES
    made = decode(form, length_bytes, available, [number for number in cut if number not in available])
    for number, fragment in made.items():
        assert fragment == filled(cut[number], length_bytes), number


@given(
    st.sampled_from([ErasureClass(*km) for km in ((2, 1), (4, 2), (7, 2))]),
    st.lists(st.one_of(st.integers(0, 3 * BLOCK_BYTES), st.integers(0, 40)), min_size=1, max_size=90).filter(any),
)
@settings(max_examples=60, deadline=None)
def test_pieces_do_not_matter(form: ErasureClass, lengths: list[int]) -> None:
    """However the content is cut, writable or not, aligned or not, few pieces or many: the parity is that of the whole."""
    content = content_of(sum(lengths))
    pieces, position = [], 0
    for index, length in enumerate(lengths):
        piece = b"x" * (index % 3) + content[position : position + length]
        pieces.append(memoryview(bytearray(piece) if index % 2 else piece)[index % 3 :])
        position += length
    assert encode(form, pieces, len(content)) == encode(form, [memoryview(content)], len(content))


def test_the_mathematics() -> None:
    """Parity byte i is the sum of c * data byte over the runs, with ISA-L's Cauchy coefficients 1 / (row xor column)."""
    form = ErasureClass(4, 2)
    content = content_of(3 * BLOCK_BYTES + 100)
    runs = [filled(fragment, BLOCK_BYTES) for number, fragment in fragments_of(form, content).items() if number < form.data]
    for number, parity in enumerate(encode(form, [memoryview(content)], len(content)), form.data):
        for index in (0, 1, 99, 100, 4711, BLOCK_BYTES - 1):
            expected = 0
            for column, run in enumerate(runs):
                expected ^= multiplied(power(number ^ column, 254), run[index])
            assert parity[index] == expected


def power(base: int, exponent: int) -> int:
    """In the field; exponent 254 gives the inverse."""
    result = 1
    for _ in range(exponent):
        result = multiplied(result, base)
    return result


GOLDEN_PARITY = {
    "ec:2+1": "8dc05d8cafb8879faa9aec9b878cebfc",
    "ec:4+2": "edc00aa89847cd4354ef5f93d7c6beba",
    "ec:8+3": "d8302abb59b9ed61a959daa0f33d9474",
    "ec:12+6": "d2123c0b36c4d0bf99ad25131548559f",
}


@pytest.mark.parametrize("form", GOLDEN_PARITY)
def test_golden_parity(form: str) -> None:
    """docs/formats/placement.md, as bytes: what is on disks must be decodable for ever."""
    content = bytes(index * index % 251 for index in range(5 * BLOCK_BYTES + 123))
    erasure_class = parse_class(form)
    assert isinstance(erasure_class, ErasureClass)
    parity = encode(erasure_class, [memoryview(content)], len(content))
    assert plain_digest(b"".join(parity), length=16).hex() == GOLDEN_PARITY[form]


def test_threads() -> None:
    """Encoding in several threads at once, from nothing cached, gives each its own parity."""
    form = ErasureClass(6, 3)
    contents = [content_of(20 * BLOCK_BYTES + index, index) for index in range(8)]
    expected = [[bytes(parity) for parity in encode(form, [memoryview(content)], len(content))] for content in contents]
    erasure._tables.cache_clear()
    erasure._generator.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda content: encode(form, [memoryview(content)], len(content)), contents))
    assert made == expected


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without ISA-L is told what to install, when it is first needed."""

    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    erasure._isal.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(UserError, match="apt-get install libisal2"):
        encode(ErasureClass(3, 3), [memoryview(b"x")], 1)
