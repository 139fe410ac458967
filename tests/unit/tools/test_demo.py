"""tools/demo.py on a local directory: it verifies what it did, and fails when the archive lies."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import demo, demo_media, demo_transfer

#: The least that has five seconds after its middle, and a few frames.
FRAMES = ["--frames", "250", "6"]


def arguments(tmp_path: Path) -> list[str]:
    """A small run without a cluster."""
    return ["--home", str(tmp_path / "home"), "--directory", str(tmp_path / "archive"), *FRAMES]


def test_whole_workflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything verifies, the table has a line for each step, companions are beside the clips."""
    assert demo.main(arguments(tmp_path)) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    for step in ("ingest MXF", "ingest DPX", "read and verify", "restore 10:00:05:00 to 10:00:09:24", "thumbnails", "rename"):
        assert step in said
    archive = tmp_path / "archive/archive/2026/A001"
    assert sorted(path.name for path in archive.iterdir()) == [
        "A001C001.jpg",
        "A001C001.mxf",
        "A001C001.xml",
        "A001C002",
        "A001C002.jpg",
        "A001C002.xml",
    ]
    assert demo_media.read_sidecar(archive / "A001C001.xml")["frames"] == "250"


def flip_a_byte(path: Path) -> None:
    """Changes one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


LIES: dict[str, tuple[Callable[[demo_transfer.Transfer], object], str]] = {
    "a flipped byte": (lambda transfer: flip_a_byte(transfer.targets[-1]), "its BLAKE3 is not"),
    "a lost file": (lambda transfer: transfer.targets[-1].unlink(), "names in the archive differ"),
    "a file too many": (lambda transfer: (transfer.targets[0].parent / "extra").touch(), "names in the archive differ"),
}


@pytest.mark.parametrize("lie", LIES)
def test_fails_when_the_archive_lies(
    tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive that changed after the ingest ends the demo with 1 and says what."""
    tell, complaint = LIES[lie]

    def lying_ingest(transfer: demo_transfer.Transfer, advance: demo_transfer.Advance) -> tuple[list[str], list[str]]:
        result = demo_transfer.ingest_chased(transfer, advance)
        tell(transfer)
        return result

    monkeypatch.setattr(demo, "ingest_chased", lying_ingest)
    assert demo.main([*arguments(tmp_path)[:-2], "50", "6"]) == 1
    assert complaint in " ".join(capsys.readouterr().out.split())


def test_reader_that_sees_other_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A chasing reader that saw other bytes ends the demo with 1."""
    monkeypatch.setattr(
        demo, "ingest_chased", lambda transfer, advance: (["a"] * len(transfer.sources), ["b"] * len(transfer.sources))
    )
    assert demo.main([*arguments(tmp_path)[:-2], "50", "6"]) == 1
    assert "saw other bytes" in " ".join(capsys.readouterr().out.split())


def test_reader_of_a_failed_ingest_ends(tmp_path: Path) -> None:
    """An ingest that fails half way does not leave its reader waiting."""
    sources = [tmp_path / "there", tmp_path / "not there"]
    sources[0].write_bytes(b"x" * 3_000_000)
    transfer = demo_transfer.Transfer(sources, [tmp_path / "0", tmp_path / "1"], tmp_path / "growing")
    with pytest.raises(FileNotFoundError):
        demo_transfer.ingest_chased(transfer, lambda done: None)


def test_timecodes() -> None:
    """Text and frames are each other's reverse."""
    for timecode in ("00:00:00:00", "10:00:00:24", "23:59:59:24"):
        assert demo_media.timecode_of(demo_media.frames_of(timecode)) == timecode
    assert demo_media.frames_of("10:00:01:01") - demo_media.frames_of("10:00:00:00") == 26
