"""tools/failover.py, shortened: no application sees more than a pause while leaders and members of etcd are killed and stopped."""

import pytest

from tools import failover


def test_one_short_round(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing acknowledged is missing, nothing is there twice, `ringfs check` is clean; each kind of event has its line."""
    kinds = ("kill-leader", "stop-leader", "kill-etcd-leader", "kill-successor")
    code = failover.main(["--rounds", "1", "--kinds", ",".join(kinds)])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert all(f"| {kind} | 1 |" in said.out for kind in kinds)
