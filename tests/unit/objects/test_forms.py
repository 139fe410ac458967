"""Objects of erasure-coded classes: on distinct domains or not at all, right bytes from any K fragments or an error."""

import random
from collections.abc import Callable
from itertools import combinations

import pytest
import trio

from ringfs.base.errors import Code, Refused
from ringfs.base.limits import BLOCK_BYTES, KIB, MIB, OBJECT_BYTES_MAX
from ringfs.objects.nodes import PUT_LATE_S_MIN
from ringfs.ring.classes import ErasureClass, form_for, parse_class
from ringfs.ring.parts import Part, block_count, parts_of
from ringfs.wire.messages.cluster import NODE_DOWN, STANDING_DRAINING, STANDING_MAINTENANCE, STANDING_OUT
from ringfs.wire.messages.namespace import NewObject
from tests.support.nodes import MemoryNode
from tests.support.refusals import refused
from tests.support.shelf import FAULTS, Shelf, fail, fill, id_of, mute, shelf

SIZES = [BLOCK_BYTES, 300_000, MIB + 5, OBJECT_BYTES_MAX]
CONTENT = random.Random(1).randbytes(1_234_567)


def content_of(size_bytes: int) -> bytes:
    """Some bytes, the same ones each time."""
    return random.Random(size_bytes).randbytes(size_bytes)


def check_promise(at: Shelf, oid: bytes, form: str) -> None:
    """Every part of the form is held, on domains of their own."""
    wanted = [str(part) for part in parts_of(parse_class(form))]
    domain = {node.name: at.row(node).domain for node in at.nodes.values()}
    holders: dict[str, set[str]] = {}
    for name, parts in at.held(oid).items():
        for part in parts:
            holders.setdefault(part, set()).add(domain[name])
    if len(set(wanted)) == 1:
        assert len(holders[wanted[0]]) >= len(wanted), (form, holders)
    else:
        assert _matched([holders.get(part, set()) for part in wanted], set()), (form, holders)


def _matched(choices: list[set[str]], used: set[str]) -> bool:
    """Whether each part can be given a domain of its own."""
    return not choices or any(_matched(choices[1:], used | {domain}) for domain in choices[0] - used)


@pytest.mark.parametrize("stored_class", ["ec:4+2", "ec:3+2", "ec:8+3"])
@pytest.mark.parametrize("size_bytes", SIZES)
async def test_fragments_are_on_the_first_nodes(stored_class: str, size_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """Fragment i on the i-th node of the order; what is read is what was put, in any ranges, known or not."""
    form = parse_class(stored_class)
    content = content_of(size_bytes)
    draw = random.Random(size_bytes)
    async with shelf(12, default_class=stored_class) as at:
        new = await at.put_new(content, stored_class)
        assert new.form == stored_class
        check_promise(at, new.object, new.form)
        held = [at.held(new.object).get(node.name) for node in at.order(content)]
        assert held == [[str(part)] for part in parts_of(form)] + [None] * (12 - form.width)
        for _ in range(6):
            if draw.random() < 0.5:
                at.objects.places.forget(new.object)
            first = draw.randrange(block_count(size_bytes))
            count = draw.choice([1, 16, 128])
            expected = content[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]
            assert bytes(await at.objects.read_blocks(new.object, first, count)) == expected
            found = await at.fetched(new.object, first, count)
            assert not isinstance(found, Refused)
            assert bytes(found) == expected


async def test_small_objects_are_copies(autojump_clock: trio.testing.MockClock) -> None:
    """Below 64 KiB an object of ec:4+2 is three copies."""
    async with shelf(6, default_class="ec:4+2") as at:
        content = content_of(64 * KIB - 1)
        new = await at.put_new(content, "ec:4+2")
        assert new.form == "replica:3"
        check_promise(at, new.object, new.form)
        at.objects.places.forget(new.object)
        assert await at.whole(new.object, len(content)) == content


@pytest.mark.parametrize("form", [ErasureClass(4, 2), ErasureClass(2, 1), ErasureClass(3, 3)])
@pytest.mark.parametrize("size_bytes", [BLOCK_BYTES, 5 * BLOCK_BYTES + 7, 2 * MIB])
async def test_any_m_losses(form: ErasureClass, size_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """Whatever M nodes are lost, every byte is there."""
    content = content_of(size_bytes)
    async with shelf(form.width, default_class=str(form)) as at:
        oid = await at.put(content, str(form))
        kept = {node.name: node.held[oid] for node in at.nodes.values()}
        for lost in combinations(at.nodes.values(), form.parity):
            for node in at.nodes.values():
                node.held = {oid: kept[node.name]} if node not in lost else {}
            at.objects.places.forget(oid)
            assert await at.whole(oid, size_bytes) == content
            found = await at.fetched(oid, 0, 16)
            assert not isinstance(found, Refused)
            assert bytes(found) == content[:MIB]


@pytest.mark.parametrize("form", [ErasureClass(4, 2), ErasureClass(2, 1)])
async def test_one_loss_too_many(form: ErasureClass, autojump_clock: trio.testing.MockClock) -> None:
    """Fewer than K fragments give what data they have themselves, and EIO for everything else, soon."""
    content = content_of(2 * MIB)
    async with shelf(form.width, default_class=str(form)) as at:
        oid = await at.put(content, str(form))
        for node in at.order(content)[1 : form.parity + 2]:
            node.held.clear()
        assert bytes(await at.objects.read_blocks(oid, 0, 2)) == content[: 2 * BLOCK_BYTES]
        rows = 32 // form.data
        for first in (0, rows):
            begun_s = trio.current_time()
            with refused(Code.IO):
                await at.objects.read_blocks(oid, first, rows + 1)
            found = await at.fetched(oid, rows, 1)
            assert isinstance(found, Refused)
            assert found.code is Code.IO
            assert trio.current_time() - begun_s < 2


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("known", [False, True])
async def test_bad_holders_are_read_around(
    fault: Callable[[MemoryNode], None], known: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Two holders of six that fail in the same way cost nothing but time, whichever they are."""
    content = content_of(2 * MIB)
    for bad in ((0, 1), (1, 4), (4, 5), (0, 5)):
        async with shelf(6, default_class="ec:4+2") as at:
            oid = await at.put(content, "ec:4+2")
            for index in bad:
                fault(at.order(content)[index])
            for first in range(0, 32, 8):
                if not known:
                    at.objects.places.forget(oid)
                assert bytes(await at.objects.read_blocks(oid, first, 8)) == content[first * BLOCK_BYTES :][: 8 * BLOCK_BYTES]
                found = await at.fetched(oid, first, 16)
                assert not isinstance(found, Refused)
                assert bytes(found) == content[first * BLOCK_BYTES :][:MIB]


@pytest.mark.parametrize("fault", [fail, mute, fill])
@pytest.mark.parametrize("spare_count", [0, 1, 3])
async def test_nodes_that_fail_a_put_are_replaced(
    fault: Callable[[MemoryNode], None], spare_count: int, autojump_clock: trio.testing.MockClock
) -> None:
    """By a node of another domain, if there is one; else it becomes copies. Soon, also if the node says nothing at all."""
    content = content_of(MIB)
    async with shelf(6 + spare_count, default_class="ec:4+2") as at:
        bad = at.order(content)[2]
        fault(bad)
        begun_s = trio.current_time()
        new = await at.put_new(content, "ec:4+2")
        assert trio.current_time() - begun_s < 3 * PUT_LATE_S_MIN
        assert new.form == ("ec:4+2" if spare_count else "replica:3")
        check_promise(at, new.object, new.form)
        assert new.object not in bad.held
        assert await at.whole(new.object, MIB) == content
        # It is known by now, and costs no more time.
        begun_s = trio.current_time()
        new = await at.put_new(content_of(MIB + 1), "ec:4+2")
        assert trio.current_time() - begun_s < 0.1
        check_promise(at, new.object, new.form)


@pytest.mark.parametrize("standing", [STANDING_OUT, STANDING_DRAINING, STANDING_MAINTENANCE, 0])
async def test_nodes_that_take_nothing(standing: int, autojump_clock: trio.testing.MockClock) -> None:
    """Nodes that are down (0 here), out, being drained or in maintenance are given nothing; with too few others it is copies."""
    content = content_of(MIB)
    async with shelf(7, default_class="ec:4+2") as at:
        first, second = at.order(content)[:2]
        for node, form in ((first, "ec:4+2"), (second, "replica:3")):
            row = at.row(node)
            row.state, row.standing = (row.state, standing) if standing else (NODE_DOWN, row.standing)
            at.follow()
            new = await at.put_new(content, "ec:4+2")
            assert new.form == form
            assert new.object not in first.held
            check_promise(at, new.object, form)
        assert all(str(part).startswith("fragment") for part in second.held[new.object])


async def test_domains_are_distinct(autojump_clock: trio.testing.MockClock) -> None:
    """Three domains with two nodes each take ec:2+1 and three copies, one part each; ec:4+2 becomes copies on all three."""
    async with shelf(6, domains=["x", "x", "y", "y", "z", "z"]) as at:
        for number, (stored_class, form) in enumerate([("ec:2+1", "ec:2+1"), ("replica:3", "replica:3"), ("ec:4+2", "replica:3")]):
            new = await at.put_new(content_of(MIB + number), stored_class)
            assert new.form == form
            assert len(at.held(new.object)) == 3
            check_promise(at, new.object, form)
        # The other node of a domain takes it if one fails.
        content = content_of(MIB + 7)
        fail(at.order(content)[0])
        new = await at.put_new(content, "ec:2+1")
        assert new.form == "ec:2+1"
        check_promise(at, new.object, new.form)
        with refused(Code.IO):
            await at.put(content_of(MIB), "replica:4")


@pytest.mark.parametrize("seed", range(24))
async def test_what_is_acknowledged_is_promised(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Nodes fail, fill up, fall silent and become slow at random, before and during puts: what is acknowledged has every part of
    its form on a domain of its own and is readable with as many losses as the class allows; everything else is refused."""
    draw = random.Random(seed)
    domains = draw.choice([[], [f"rack{number % 4}" for number in range(8)]])
    stored_class = draw.choice(["ec:4+2", "ec:2+1", "replica:3", "ec:2+2"])
    async with shelf(8, default_class=stored_class, domains=domains) as at:
        nodes = list(at.nodes.values())
        for node in draw.sample(nodes, draw.randrange(5)):
            draw.choice([fail, mute, fill])(node)
        for node in draw.sample(nodes, draw.randrange(3)):
            node.put_s = draw.choice([0.1, 3.0, 8.0])

        async def disturb() -> None:
            await trio.sleep(draw.random() * 4)
            draw.choice([fail, mute, fill])(draw.choice(nodes))
            at.network.cut(draw.choice(nodes).address)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(disturb)
            for number in range(4):
                nursery.start_soon(_put_and_check, at, draw.randbytes(draw.choice([5000, 100_000, MIB])), stored_class, number)


async def _put_and_check(at: Shelf, content: bytes, stored_class: str, number: int) -> None:
    await trio.sleep(number)
    new: NewObject | Refused
    try:
        new = await at.put_new(content, stored_class)
    except Refused as refusal:
        new = refusal
    if isinstance(new, Refused):
        assert new.code in (Code.IO, Code.NO_SPACE)
        assert stored_class in str(new)
        return
    wanted = parse_class(stored_class)
    assert new.form in (str(form_for(wanted, len(content), 99)), str(form_for(wanted, len(content), 0)))
    assert parse_class(new.form).tolerance == wanted.tolerance
    check_promise(at, new.object, new.form)


@pytest.mark.parametrize("seed", range(24))
async def test_no_wrong_bytes(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    """Any nodes are bad in any way, and change their minds: what is read is right, or refused; with at most M bad, it is right."""
    draw = random.Random(seed)
    form = draw.choice([ErasureClass(4, 2), ErasureClass(3, 2), ErasureClass(2, 1)])
    content = draw.randbytes(draw.choice([BLOCK_BYTES, 700_000, 2 * MIB + 9]))
    async with shelf(form.width + draw.randrange(3), default_class=draw.choice([str(form), "replica:2"])) as at:
        oid = await at.put(content, str(form))
        holders = [node for node in at.nodes.values() if oid in node.held]
        bad = draw.sample(holders, draw.randrange(form.width))
        for node in bad:
            draw.choice(FAULTS)(node)
            node.get_s = draw.choice([0, 0, 0.2])
        for _ in range(4):
            if draw.random() < 0.5:
                at.objects.places.forget(oid)
            first = draw.randrange(block_count(len(content)))
            count = draw.choice([1, 3, 16, 128])
            found = await at.fetched(oid, first, count)
            if isinstance(found, Refused):
                assert found.code is Code.IO
                assert len(bad) > form.parity
            else:
                assert bytes(found) == content[first * BLOCK_BYTES : (first + count) * BLOCK_BYTES]


async def test_parity_that_was_made_up(autojump_clock: trio.testing.MockClock) -> None:
    """Parity whose own table matches it and that is nevertheless wrong is not believed: others are taken."""
    content = content_of(MIB)
    async with shelf(6, default_class="ec:4+2") as at:
        oid = await at.put(content, "ec:4+2")
        first, liar = at.order(content)[0], at.order(content)[4]
        other = content_of(MIB + 1)
        await at.put(other, "ec:4+2")
        part = Part(4, 2, 4)
        false = next(node.held[id_of(other)][part] for node in at.nodes.values() if part in node.held[id_of(other)])
        holding = liar.held[oid][part]
        size_bytes = len(holding.content)
        own = false.tables.own[: len(holding.tables.own)]
        liar.held[oid][part] = holding._replace(content=false.content[:size_bytes], tables=holding.tables._replace(own=own))
        first.held.clear()
        assert await at.whole(oid, MIB) == content


async def test_parts_that_move_while_they_are_read(autojump_clock: trio.testing.MockClock) -> None:
    """A reader that was told where parts are, and does not find them there any more, looks again."""
    content = content_of(2 * MIB)
    async with shelf(8, default_class="ec:4+2") as at:
        oid = await at.put(content, "ec:4+2")
        nodes = at.order(content)
        for round_ in range(3):
            # Fragments go from node to node; metadata and map know nothing of it.
            held = [node.held.pop(oid, {}) for node in nodes]
            for node, parts in zip(nodes, held[-1:] + held[:-1], strict=True):
                if parts:
                    node.held[oid] = parts
            assert await at.whole(oid, len(content)) == content, round_
        # From fragments to copies, at once.
        for node in nodes:
            node.held.clear()
        async with shelf(1) as elsewhere:
            await elsewhere.put(content, "replica:1")
            nodes[6].held[oid] = elsewhere.nodes[1].held[oid]
        found = await at.fetched(oid, 3, 1)
        assert not isinstance(found, Refused)
        assert bytes(found) == content[3 * BLOCK_BYTES : 4 * BLOCK_BYTES]


@pytest.mark.parametrize("lost", range(4))
async def test_a_stream_past_a_lost_fragment_reads_everything_once(lost: int, autojump_clock: trio.testing.MockClock) -> None:
    """What was read before, or was fetched to decode something else, is not fetched again: eight units in eight gets."""
    content = content_of(OBJECT_BYTES_MAX)
    async with shelf(6, default_class="ec:4+2") as at:
        oid = await at.put(content, "ec:4+2")
        cache: dict[tuple[int, int], memoryview] = {}
        at.objects.peek_by(lambda _oid, first, count: cache.get((first, count)))
        at.order(content)[lost].held.clear()
        await at.objects.read_blocks(oid, lost * 32, 1)
        before = sum(node.get_count for node in at.nodes.values())
        for first in range(0, 128, 16):
            found = await at.fetched(oid, first, 16)
            assert not isinstance(found, Refused)
            assert bytes(found) == content[first * BLOCK_BYTES :][:MIB]
            cache[first, 16] = found
        assert sum(node.get_count for node in at.nodes.values()) - before <= 8
