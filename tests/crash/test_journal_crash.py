"""The journal survives a crash at every write and sync boundary, whatever of the unsynced bytes survives.

The state's checkpoint is modelled as one atomic, durable number: LMDB cannot run over the file layer; see test_store_kill.py.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ringfs.meta.journal.segments import SegmentLog
from tests.support.crashing_files import Crashed, CrashingFiles, choices, nothing_survives, some_survives
from tests.support.journals import entries, entry, open_log


@dataclass
class Truth:
    """What the workload knows, and a crash cannot take from it."""

    #: The last position that append has returned.
    acknowledged: int = 0
    #: The last position that was handed to append.
    attempted: int = 0
    #: What the last checkpoint included.
    checkpointed: int = 0


def append(log: SegmentLog, truth: Truth, count: int) -> None:
    """Append so many entries."""
    truth.attempted = truth.acknowledged + count
    truth.acknowledged = log.append(1, entries(truth.acknowledged + 1, count))


def work(log: SegmentLog, truth: Truth, seed: int, count: int = 32) -> None:
    """Appends of all sizes (some over several segments), checkpoints, trims; rotations come by themselves."""
    chance = random.Random(seed)
    for _ in range(count):
        match chance.choice(["append"] * 8 + ["burst", "checkpoint", "trim", "trim"]):
            case "append":
                append(log, truth, chance.randint(1, 3))
            case "burst":
                append(log, truth, chance.randint(10, 40))
            case "checkpoint":
                truth.checkpointed = truth.acknowledged
            case "trim":
                log.trim(truth.checkpointed)


def recovered(log: SegmentLog, truth: Truth) -> int:
    """Replay after the checkpoint, as a server does. What comes back is right and complete; the last position."""
    assert log.first - 1 <= truth.checkpointed <= log.tip.last, "state and journal belong together"
    replayed = list(log.replay(truth.checkpointed))
    assert replayed == [(position, entry(position)) for position in range(truth.checkpointed + 1, log.tip.last + 1)]
    return log.tip.last


def check(files: CrashingFiles, truth: Truth, name: str) -> int:
    """After a crash: everything acknowledged is there, beyond it at most what was attempted, and life goes on."""
    log = open_log(files)
    last = recovered(log, truth)
    assert truth.acknowledged <= last <= truth.attempted, f"{name}: {last}"
    later = Truth(last, last, truth.checkpointed)
    work(log, later, seed=last, count=6)
    log.close()
    log = open_log(files.after_crash(nothing_survives))
    assert recovered(log, later) == later.acknowledged, f"{name}: after going on"
    return last


def crash_everywhere(start: Callable[[CrashingFiles, Truth], None], name: str, random_count: int) -> int:
    """Run `start` up to each boundary, and recover from each crash in several ways. The number of crashes."""
    boundary, crashes = 0, 0
    while True:
        boundary += 1
        files, truth = CrashingFiles(), Truth()
        files.crash_at = boundary
        try:
            start(files, truth)
        except Crashed:
            for choice, choose in choices(f"{name}/{boundary}", random_count):
                where = f"{name}, boundary {boundary}, survives {choice}"
                check(files.after_crash(choose), truth, where)
                crashes += 1
            check(files.after_kill(), truth, f"{name}, boundary {boundary}, process killed")
            crash_in_recovery(files, truth, f"{name}, boundary {boundary}")
        else:
            return crashes


def crash_in_recovery(files: CrashingFiles, truth: Truth, name: str) -> None:
    """Crash once more at every boundary of the opening that follows: nothing more is lost than the first crash did."""
    boundary = 0
    while True:
        boundary += 1
        seed = f"{name}/{boundary}"
        second = files.after_crash(some_survives(seed))
        second.crash_at = boundary
        try:
            log = open_log(second)
        except Crashed:
            check(second.after_crash(some_survives(f"{seed}/again")), truth, f"{seed} of recovery")
        else:
            # What an open journal holds is durable, even what was never acknowledged.
            held = log.tip.last
            assert open_log(second.after_crash(nothing_survives)).tip.last == held, seed
            return


@pytest.mark.parametrize("seed", range(3))
def test_crash_at_every_boundary(seed: int) -> None:
    """Appends, rotations, checkpoints and trims, one after the other."""

    def start(files: CrashingFiles, truth: Truth) -> None:
        work(open_log(files), truth, seed)

    assert crash_everywhere(start, f"seed {seed}", random_count=3) > 500


def test_crash_while_trim_and_append_interleave() -> None:
    """Appends (with rotations) between every two steps of trims, and trims between every two steps of appends."""

    def start(files: CrashingFiles, truth: Truth) -> None:
        log = open_log(files)
        inside = False

        def meanwhile(_operation: str) -> None:
            # The other thread runs here, up to its next boundaries.
            nonlocal inside
            if not inside:
                inside = True
                other()
                inside = False

        def other_appends() -> None:
            append(log, truth, 2)

        def other_trims() -> None:
            truth.checkpointed = truth.acknowledged - 3
            log.trim(truth.checkpointed)

        files.at_step = None
        append(log, truth, 60)
        truth.checkpointed = 60
        other = other_appends
        files.at_step = meanwhile
        log.trim(60)
        files.at_step = None
        append(log, truth, 60)
        truth.checkpointed = truth.acknowledged
        other = other_trims
        files.at_step = meanwhile
        for _ in range(6):
            append(log, truth, 4)

    assert crash_everywhere(start, "interleaved", random_count=3) > 300


def test_crash_while_many_segments_are_trimmed() -> None:
    """A trim of more segments than are kept as spares: some become spares, the others go, and never one in the middle alone."""

    def start(files: CrashingFiles, truth: Truth) -> None:
        log = open_log(files)
        append(log, truth, 150)
        truth.checkpointed = 149
        log.trim(149)
        append(log, truth, 2)

    assert crash_everywhere(start, "long trim", random_count=8) > 300
