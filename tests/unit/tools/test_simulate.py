"""tools/simulate.py goes on after a seed that failed, however it failed, and tells which did; who interrupts it is obeyed."""

import argparse

import pytest
import trio

from tools import simulate

_ARGUMENTS = ["--world", "ring", "--seeds", "0-4", "--log"]


def run_seeds(monkeypatch: pytest.MonkeyPatch, failures: dict[int, BaseException]) -> int:
    """Its exit code, when these seeds fail."""

    def run(seed: int, _options: argparse.Namespace) -> str:
        if seed in failures:
            raise failures[seed]
        return "well"

    monkeypatch.setitem(simulate._WORLDS, "ring", run)
    return simulate.main(_ARGUMENTS)


def test_every_failure_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a seed that came to no end, which trio tells outside of all groups."""
    failures = {1: BaseExceptionGroup("", [AssertionError("wrong")]), 2: trio.TooSlowError()}
    assert run_seeds(monkeypatch, failures) == 1
    said = capsys.readouterr().out
    assert "seed 3: well" in said
    assert "failed: 1, 2\n" in said


def test_an_interrupt_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out of a simulation in a group."""
    with pytest.raises(BaseExceptionGroup) as raised:
        run_seeds(monkeypatch, {1: BaseExceptionGroup("", [KeyboardInterrupt()])})
    assert raised.group_contains(KeyboardInterrupt)
