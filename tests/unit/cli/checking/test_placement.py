"""Whether parts are where a form asks for them: against trying everything."""

import itertools
import random

import pytest

from ringfs.cli.checking.placement import Holding, fault_text, judge
from ringfs.ring.classes import parse_class
from ringfs.ring.parts import COPY, Part, parts_of
from ringfs.wire.messages.cluster import STANDING_DRAINING, STANDING_LOST, STANDING_OUT
from tests.support.heal_reports import node

EC = parse_class("ec:2+2")


def spread_by_trying(held: list[Holding]) -> int:
    """The most parts of EC that are in domains of their own: every choice of a domain for each part is tried."""
    choices = [[None, *{each.node.domain for each in held if each.part == part}] for part in parts_of(EC)]
    chosen = ([domain for domain in choice if domain is not None] for choice in itertools.product(*choices))
    return max(len(domains) for domains in chosen if len(set(domains)) == len(domains))


@pytest.mark.parametrize("seed", range(20))
def test_spread_of_fragments(seed: int) -> None:
    """As many parts as can be had from distinct domains, and not one more."""
    rng = random.Random(seed)
    for _ in range(50):
        nodes = [node(number, domain=f"rack{rng.randrange(5)}") for number in range(1, 7)]
        held = [Holding(rng.choice(nodes), rng.choice(parts_of(EC))) for _ in range(rng.randrange(9))]
        verdict = judge(EC, held)
        assert verdict.spread == spread_by_trying(held), f"seed {seed}"
        assert set(verdict.missing) == set(parts_of(EC)) - {each.part for each in held}
        assert verdict.is_kept == (verdict.spread == 4)


def test_copies() -> None:
    """Two in one domain survive no more than one; fragments are no copies."""
    form = parse_class("replica:2")
    one, other, third = Holding(node(1, domain="a"), COPY), Holding(node(2, domain="a"), COPY), Holding(node(3), COPY)
    assert judge(form, [one, third]).is_kept
    assert judge(form, [one, other]).missing == ()
    assert not judge(form, [one, other]).is_kept
    assert judge(form, [one]).missing == (COPY,)
    assert judge(form, [one, Holding(node(4), Part(2, 1, 0))]).missing == (COPY,)


def test_standings() -> None:
    """What drains counts until it is moved; what is out or lost does not."""
    form = parse_class("replica:2")
    for standing, is_kept in ((STANDING_DRAINING, True), (STANDING_OUT, False), (STANDING_LOST, False)):
        assert judge(form, [Holding(node(1), COPY), Holding(node(2, standing=standing), COPY)]).is_kept is is_kept


def test_to_move() -> None:
    """Counted where a part belongs and none is, once nothing is missing: what is missing is rebuilt there anyway."""
    held = [Holding(node(number), part) for number, part in enumerate(parts_of(EC), 1)]
    assert judge(EC, held, [4, 3, 2, 1]).to_move == 0
    assert judge(EC, held, [1, 2, 5, 6]).to_move == 2
    assert judge(EC, held[:3], [1, 2, 5, 6]).to_move == 0


def test_fault_of_a_form_that_is_not_the_class() -> None:
    """Both are named."""
    assert fault_text(judge(EC, []), "ec:4+2", []) == (
        "4 of 4 fragments missing (ec:4+2 as ec:2+2): 0, 1, 2, 3; held: no node that answers"
    )
