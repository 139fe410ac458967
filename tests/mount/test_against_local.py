"""The same random system calls in a local directory and on the mount: results, errnos, attributes, contents and holes agree.

tools/side_by_side.py is the long version. A program that once showed a difference is kept in side_by_side/NAME.calls, with what
was wrong in its first line.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.support.side_by_side.calls import PRELUDE, Call, draw_call, read_program
from tests.support.side_by_side.differences import ALL, RINGFS, TWO_MOUNTS, Difference
from tests.support.side_by_side.worlds import Disagreement, Place, SideBySide
from tools.side_by_side import kind_of

Choice = TypeVar("Choice")

STEPS = 60
PROGRAMS = sorted((Path(__file__).parent / "side_by_side").glob("*.calls"))


class HypothesisDraw:
    """See Draw."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """See Draw."""
        return self._draw(st.integers(low, high))

    def choice(self, options: Sequence[Choice]) -> Choice:
        """See Draw."""
        return self._draw(st.sampled_from(options))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any call."""
    return draw_call(HypothesisDraw(draw))


@contextmanager
def side_by_side(roots: tuple[Path, ...], driver: str, known: Sequence[Difference] = ALL) -> Iterator[SideBySide]:
    """A local directory, and those on the mount."""
    with tempfile.TemporaryDirectory(prefix="ringfs-local.") as name:
        local = Path(name)
        local.chmod(0o755)
        both = SideBySide(
            Place(kind_of(local), (local,)), Place("pyfuse3" if driver == "pyfuse3" else kind_of(roots[0]), roots), known
        )
        try:
            yield both
        finally:
            both.close()


def exercise(both: SideBySide, examples: int) -> None:
    """Programs that Hypothesis draws; it makes one that fails shorter."""

    class SystemCalls(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            both.begin()
            for call in PRELUDE:
                both.perform(call)

        @rule(call=calls())
        def perform(self, call: Call) -> None:
            both.perform(call)

        def teardown(self) -> None:
            both.finish()

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    bounds = settings(max_examples=examples, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks, database=None)
    run_state_machine_as_test(SystemCalls, settings=bounds)


@pytest.mark.timeout(900)  # making a failure shorter takes its time
def test_random_calls(place: Path, driver: str) -> None:
    """Two processes with several open files each, three users, every call of tests/support/side_by_side/calls.py."""
    with side_by_side((place,), driver) as both:
        exercise(both, 60)
        assert both.call_count > 60 * len(PRELUDE)


@pytest.mark.timeout(900)
def test_random_calls_on_two_mounts(place: Path, mount_point: Path, second_mount_point: Path, driver: str) -> None:
    """Each process on a mount of its own: what one does the other sees as on one machine, in names, attributes, bytes and locks."""
    with side_by_side((place, second_mount_point / place.relative_to(mount_point)), driver) as both:
        exercise(both, 25)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_found_once(place: Path, mount_point: Path, second_mount_point: Path, driver: str, program: Path) -> None:
    """What once showed a difference shows none, the second process on a mount of its own."""
    with side_by_side((place, second_mount_point / place.relative_to(mount_point)), driver) as both:
        both.run(read_program(program.read_text()))


@pytest.mark.parametrize("difference", [each for each in (*RINGFS, *TWO_MOUNTS) if each.example], ids=lambda each: each.name)
def test_known_differences(place: Path, mount_point: Path, second_mount_point: Path, driver: str, difference: Difference) -> None:
    """Each is still one: what differs no more has no place in the table."""
    if difference.side not in ("ringfs", "two mounts", driver) or not driver:
        pytest.skip(f"these are of {difference.side}")
    others = [each for each in ALL if each is not difference]
    roots = (place, second_mount_point / place.relative_to(mount_point))
    with side_by_side(roots if difference in TWO_MOUNTS else roots[:1], driver, others) as both, pytest.raises(Disagreement):
        both.run(difference.example)
