"""Transactions in a batch leave what they leave one by one, answer the same, and a refusal among them changes nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfs.base.ids import ROOT_INODE
from ringfs.base.kv.memory import MemoryView
from ringfs.meta.namespace import machine, usage
from ringfs.meta.namespace.batch import Batch
from ringfs.meta.namespace.check import check
from ringfs.meta.namespace.facts import child_number
from ringfs.meta.namespace.machine import Outcome, Transaction
from ringfs.meta.namespace.work import Work
from ringfs.wire.messages import namespace as m
from ringfs.wire.messages.quota import SetQuota
from tests.support.namespace import TrialNamespace, inline

NAMES = (b"a", b"b")


def places() -> tuple[TrialNamespace, list[int]]:
    """Two directories in another one, with a file of two names and bytes, an empty file and a directory in them."""
    space = TrialNamespace()
    outer = space.directory(b"outer")
    inner = [space.directory(name, outer) for name in NAMES]
    file = space.file(b"a", inner[0])
    space.commit(file, inline(0, b"x" * 10))
    space.do(m.Link(file, inner[1], b"a"))
    space.directory(b"b", inner[0])
    return space, [ROOT_INODE, outer, *inner]


@st.composite
def operations(draw: st.DrawFn) -> list[Any]:
    """What clients do ahead, on few names, so that much of it meets."""
    _, directories = places()
    names, parents = st.sampled_from(NAMES), st.sampled_from(directories)
    kinds: list[st.SearchStrategy[Any]] = [
        st.builds(lambda p, n: m.Mkdir(p, n, 0o755, 0, 0, 0), parents, names),
        st.builds(lambda p, n: m.Mknod(p, n, 0o644, 0, 0, 0, 0, 0, True), parents, names),
        st.builds(m.Unlink, parents, names),
        st.builds(m.Rmdir, parents, names),
        st.builds(m.Link, st.integers(min_value=5, max_value=9), parents, names),
        st.builds(m.Rename, parents, names, parents, names, st.sampled_from([0, m.RENAME_EXCHANGE])),
    ]
    return draw(st.lists(st.one_of(kinds), min_size=1, max_size=12))


def apply_all(space: TrialNamespace, view: Any, todo: list[Any]) -> list[Outcome]:
    """To that view, as a client's next requests."""
    first = space.numbers[space.session] + 1
    return [
        machine.apply(view, Transaction(space.session, number, first, space.now_ns + number, [], operation))
        for number, operation in enumerate(todo, first)
    ]


def said(outcomes: list[Outcome]) -> list[tuple[str, set[int], bool]]:
    """What can be compared."""
    return [(repr(each.answer), each.touched, each.changed) for each in outcomes]


def together(space: TrialNamespace, todo: list[Any]) -> list[Outcome]:
    """The same as one batch."""
    batch = Batch(space.view)
    before = space.view.pairs()
    outcomes = apply_all(space, batch, todo)
    if not any(isinstance(each, m.Rmdir | m.Unlink | m.Rename | m.Link) for each in todo):
        assert space.view.pairs() == before, "nothing is written before the end"
    usage.end_batch(batch)
    return outcomes


@pytest.mark.parametrize("quota", [False, True])
@settings(deadline=None)
@given(todo=operations())
def test_as_one_by_one(*, quota: bool, todo: list[Any]) -> None:
    """Whatever comes, with and without a quota in the way."""
    alone, batched = places()[0], places()[0]
    if quota:
        for space in (alone, batched):
            space.do(SetQuota(2, 1 << 20, 7))
    assert said(apply_all(alone, alone.view, todo)) == said(together(batched, todo))
    assert alone.view.pairs() == batched.view.pairs()
    assert not list(check(batched.view))


def test_nothing_counts_before_it_is_sure() -> None:
    """What finds another home in the middle of a transaction is counted there at its end, when nothing refuses it any more."""
    space, (_, _, first, second) = places()
    batch = Batch(space.view)
    work = Work(batch, space.now_ns, space.session, [], 1)
    file = work.inode(child_number(space.view, first, b"a") or 0)
    file.parent = second
    usage.move_unchecked(work, file)
    assert batch.deltas == {}
    usage.settle(work)
    assert batch.deltas == {first: [-10, -1], second: [10, 1]}


def test_scan_sees_what_came_before() -> None:
    """It writes what there is, and goes through the view."""
    view = MemoryView()
    view.put(b"a1", b"x")
    batch = Batch(view)
    batch.put(b"a2", b"y")
    batch.delete(b"a1")
    assert list(batch.scan(b"a", b"b")) == [(b"a2", b"y")]
    assert batch.changes() == {}
