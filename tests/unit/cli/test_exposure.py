"""What an operator is told about objects that stewards cannot help: how many, why, and what would."""

from dataclasses import replace
from typing import Any

import pytest

from ringfs.cli.exposure import exposure_of, exposure_text
from ringfs.cli.heal_view import heal_text, work_text
from ringfs.wire.messages.cluster import NODE_DOWN, STANDING_LOST, STANDING_MAINTENANCE, ClusterMap, Node
from tests.support.heal_reports import HEALED, NAMES, REPORT, node

EXPOSED = replace(HEALED, reports=[replace(REPORT, exposed=3), replace(REPORT, node=2, exposed=2)])


def map_of(*others: Node, count: int = 3, classes: tuple[str, ...] = ("ec:2+1",), **second: Any) -> ClusterMap:
    """So many nodes, of which the second is down."""
    nodes = [node(1), node(2, **{"state": NODE_DOWN, **second}), *(node(number) for number in range(3, count + 1))]
    return ClusterMap(7, "c", [*nodes, *others], list(classes))


def test_nothing_is_said_of_what_is_safe() -> None:
    assert exposure_of(HEALED, map_of()) is None
    assert exposure_text(HEALED, map_of()) == ""


def test_nothing_is_said_by_a_map_that_stewards_have_not_gone_through() -> None:
    """What was down a moment ago is up now: nobody has looked yet."""
    assert exposure_of(EXPOSED, replace(map_of(), epoch=8)) is None
    assert exposure_of(replace(EXPOSED, epoch=8), replace(map_of(), epoch=8)) is None
    late = replace(EXPOSED, reports=[EXPOSED.reports[0], replace(EXPOSED.reports[1], seen_epoch=6)])
    assert exposure_text(late, map_of()).startswith("3 objects")


@pytest.mark.parametrize(
    ("cluster_map", "what"),
    [
        (map_of(), "'ringfs node replace data2'"),
        (map_of(), "nothing can be rebuilt without data2, for ec:2+1 needs 3 failure domains and 2 are up"),
        (map_of(count=4), "start data2; what is not back in time is lost, and made anew"),
        (map_of(count=4, classes=("ec:2+1", "replica:4")), "replica:4 needs 4 failure domains and 3 are up"),
        (map_of(node(4, state=NODE_DOWN)), "without data4, for ec:2+1 needs 3 failure domains and 2 are up"),
        (map_of(uuid=""), "put the new disk of data2 in and start the node"),
        (map_of(count=5, standing=STANDING_LOST), "no place for what is missing"),
        (map_of(standing=STANDING_MAINTENANCE), "start data2"),
    ],
)
def test_why_and_what_to_do(cluster_map: ClusterMap, what: str) -> None:
    """With four nodes of which two are down, the first to be given up is not the one that is missed."""
    text = exposure_text(EXPOSED, cluster_map)
    assert text.startswith("5 objects would not survive the next loss: ")
    assert what in text


def test_what_cannot_be_read_comes_first() -> None:
    heal = replace(HEALED, reports=[replace(REPORT, exposed=1, unreadable=1)])
    assert exposure_text(heal, map_of()).startswith("1 object cannot be read now, 1 object would not survive the next loss: ")


def test_announced_is_what_is_in_maintenance() -> None:
    for cluster_map, is_announced in (
        (map_of(standing=STANDING_MAINTENANCE), True),
        (map_of(), False),
        (map_of(node(4, state=NODE_DOWN), standing=STANDING_MAINTENANCE), False),
    ):
        exposure = exposure_of(EXPOSED, cluster_map)
        assert exposure is not None
        assert exposure.is_announced == is_announced


def test_heal_status_does_not_call_it_healed() -> None:
    assert work_text(EXPOSED) == "nothing more can be done now"
    assert "\nwaiting   why\n" in heal_text(EXPOSED, NAMES, "why")
