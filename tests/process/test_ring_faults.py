"""tools/ring_faults.py, shortened: a ring of six nodes loses two disks at once under applications; bytes rot. It heals."""

import pytest

from tools import ring_faults


def test_two_disks_and_rotten_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """No application sees an error or a wrong byte, `ringfs check --deep` is clean after each, what was acknowledged is there."""
    kinds = ("lose-two", "flip-bits")
    code = ring_faults.main(["--rounds", "1", "--kinds", ",".join(kinds)])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert all(f"| {kind} |" in said.out for kind in kinds)
