"""The shell of daemons: how they end is recorded, and signals end them cleanly."""

import os
import signal
import socket
from pathlib import Path

import pytest
import trio

from ringfs.base.errors import UserError
from ringfs.cli import daemon, exits


def test_end_is_recorded() -> None:
    """A clean end, a refusal and a bug each leave their code and words; what was raised goes on."""
    ends: list[tuple[int, str]] = []
    with daemon.recorded(lambda *end: ends.append(end)):
        pass
    with pytest.raises(UserError), daemon.recorded(lambda *end: ends.append(end)):
        raise UserError("the disk is another cluster's: name another")
    with pytest.raises(ZeroDivisionError), daemon.recorded(lambda *end: ends.append(end)):
        raise ZeroDivisionError("by zero")
    assert ends == [
        (exits.OK, ""),
        (exits.USAGE, "the disk is another cluster's: name another"),
        (exits.NOT_CLEAN, "a bug stopped it: ZeroDivisionError('by zero')"),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_is_a_clean_end(number: signal.Signals) -> None:
    """The daemon is cancelled, may clean up, and nothing is raised."""
    cleaned = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), number)
            await trio.sleep_forever()
        finally:
            cleaned.append(True)

    await daemon.until_told(main)
    assert cleaned == [True]


async def test_returning_is_an_end() -> None:
    """A daemon that returns by itself is not waited for any longer."""
    await daemon.until_told(trio.lowlevel.checkpoint)


async def test_failure_goes_on() -> None:
    """What a daemon raises is not lost."""

    async def main() -> None:
        await trio.lowlevel.checkpoint()
        raise UserError("mend it")

    with pytest.RaisesGroup(UserError):
        await daemon.until_told(main)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """READY=1 reaches the socket of sd_notify, by path or by abstract name."""
    name = f"@ringfs-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        daemon._tell_systemd()
        assert listener.recv(100) == b"READY=1"
