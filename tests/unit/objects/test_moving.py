"""Parts made anew: the same parts as a put makes, whatever there is to make them of, or a refusal and nothing put."""

import random
from collections.abc import Callable

import pytest
import trio

from ringfs.base.errors import Code
from ringfs.base.limits import BLOCK_BYTES, MIB
from ringfs.ring.classes import ErasureClass, ReplicaClass, ServiceClass
from ringfs.ring.parts import COPY, Part, part_bytes, parts_of
from tests.support.nodes import Holding, MemoryNode
from tests.support.refusals import refused
from tests.support.shelf import Shelf, empty, fail, fill, mute, shelf, shorten, spoil_content

EC = ErasureClass(4, 2)
SIZES = [2 * BLOCK_BYTES, 5 * BLOCK_BYTES + 7, 2 * MIB + 5]


def content_of(size_bytes: int) -> bytes:
    """Some bytes, the same ones each time."""
    return random.Random(size_bytes).randbytes(size_bytes)


def same(held: Holding, expected: Holding) -> bool:
    """Whether they are the same but for their births."""
    return held[:3] == expected[:3]


async def parts_put(content: bytes, stored_class: ServiceClass) -> dict[Part, Holding]:
    """The parts that a put makes."""
    async with shelf(stored_class.width) as at:
        oid = await at.put(content, str(stored_class))
        return {part: holding for node in at.nodes.values() for part, holding in node.held[oid].items()}


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_every_part_from_any_others(size_bytes: int, autojump_clock: trio.testing.MockClock) -> None:
    """Each fragment, and a copy, is made of fragments of which M are lost, and equals what a put makes."""
    content = content_of(size_bytes)
    async with shelf(8, default_class=str(EC)) as at:
        oid = await at.put(content, str(EC))
        holders, target = at.order(content)[:6], at.order(content)[7]
        expected = {**await parts_put(content, EC), **await parts_put(content, ReplicaClass(1))}
        for part in [COPY, *parts_of(EC)]:
            lost = {part.number, random.Random(part.number).choice([n for n in range(6) if n != part.number])}
            for number, node in enumerate(holders):
                each = Part(4, 2, number)
                node.held = {} if number in lost else {oid: {each: expected[each]}}
            target.held.clear()
            sent = await at.objects.make_part(oid, part, at.row(target))
            assert sent == part_bytes(part, size_bytes)
            assert same(target.held[oid][part], expected[part])


async def test_parity_is_copied_if_it_is_somewhere(autojump_clock: trio.testing.MockClock) -> None:
    """A node that is drained gives its parity away, without four others being read; bad parity is computed anew."""
    content = content_of(2 * MIB)
    async with shelf(8, default_class=str(EC)) as at:
        oid = await at.put(content, str(EC))
        expected = await parts_put(content, EC)
        part = Part(4, 2, 5)
        holder, target = at.order(content)[5], at.order(content)[7]
        for spoil in (None, spoil_content, shorten, fail):
            if spoil is not None:
                spoil(holder)
            gets = sum(node.get_count for node in at.nodes.values())
            await at.objects.make_part(oid, part, at.row(target))
            assert same(target.held.pop(oid)[part], expected[part])
            if spoil is None:
                assert sum(node.get_count for node in at.nodes.values()) == gets + 1


@pytest.mark.parametrize("form", [ErasureClass(4, 2), ErasureClass(2, 1), ReplicaClass(3)])
@pytest.mark.parametrize("stored_class", [ErasureClass(4, 2), ReplicaClass(2)])
async def test_another_form(stored_class: ServiceClass, form: ServiceClass, autojump_clock: trio.testing.MockClock) -> None:
    """All parts of another form are made on the targets given, beside those that are there; both can be read."""
    content = content_of(MIB + 5)
    async with shelf(8) as at:
        oid = await at.put(content, str(stored_class))
        before = {node.name: set(node.held.get(oid, {})) for node in at.nodes.values()}
        targets = at.order(content)[8 - form.width :]
        sent = await at.objects.make_all(oid, form, [at.row(node) for node in targets])
        assert sent == sum(part_bytes(part, len(content)) for part in parts_of(form))
        expected = await parts_put(content, form)
        for node, part in zip(targets, parts_of(form), strict=True):
            assert same(node.held[oid][part], expected[part])
            assert set(node.held[oid]) == before[node.name] | {part}
        for node in at.nodes.values():
            node.held[oid] = {part: expected[part] for part in expected if node in targets and part in node.held[oid]}
            if node not in targets:
                del node.held[oid]
        assert await at.whole(oid, len(content)) == content


@pytest.mark.parametrize(
    ("fault", "code"), [(fill, Code.NO_SPACE), (fail, Code.IO), (mute, Code.IO)], ids=["full", "failed", "mute"]
)
async def test_targets_that_do_not_take_it(
    fault: Callable[[MemoryNode], None], code: Code, autojump_clock: trio.testing.MockClock
) -> None:
    """They are said to be full, or bad; the other parts of a form are put nevertheless, and nothing is dropped."""
    content = content_of(MIB)
    async with shelf(8) as at:
        oid = await at.put(content, "replica:2")
        targets = at.order(content)[2:]
        fault(targets[3])
        with refused(code):
            await at.objects.make_part(oid, COPY, at.row(targets[3]))
        with refused(code):
            await at.objects.make_all(oid, EC, [at.row(node) for node in targets])
        assert [oid in node.held for node in at.order(content)] == [True, True, True, True, True, False, True, True]


async def test_what_cannot_be_read_is_not_made(autojump_clock: trio.testing.MockClock) -> None:
    """Lost objects, and those of which only bad copies are left, are refused; nothing is put."""
    content = content_of(MIB)
    async with shelf(6) as at:
        oid = await at.put(content, "replica:2")
        target = at.order(content)[4]
        for part in (COPY, Part(4, 2, 1), Part(4, 2, 4)):
            for spoil in (spoil_content, empty):
                for node in at.order(content)[:2]:
                    spoil(node)
                await _refused_to_make(at, oid, part, target)
            for node in at.order(content)[:2]:
                node.corrupts_content = False
            at.objects.places.forget(oid)
            await at.put(content, "replica:2")


async def _refused_to_make(at: Shelf, oid: bytes, part: Part, target: MemoryNode) -> None:
    at.objects.places.forget(oid)
    with refused(Code.IO):
        await at.objects.make_part(oid, part, at.row(target))
    with refused(Code.IO):
        await at.objects.make_all(oid, ReplicaClass(1), [at.row(target)])
    assert oid not in target.held
