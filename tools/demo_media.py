"""What the demo asks of ffmpeg and ffprobe: make clips, look at them, cut a range by timecode, make thumbnails. No ringfs here."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FRAMES_PER_SECOND = 25
CLIP_START = "10:00:00:00"
_FFMPEG = ("ffmpeg", "-y", "-nostdin", "-nostats", "-loglevel", "error")


class MediaError(Exception):
    """ffmpeg or ffprobe failed; the text is what it said."""


def run(*command: str | Path) -> str:
    """What the command prints; raises MediaError."""
    finished = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise MediaError(f"{command[0]} ended with {finished.returncode}: {finished.stderr.strip()[-500:]}")
    return finished.stdout


def _encode(on_frame: Callable[[int], None], *arguments: str | Path) -> None:
    """Runs ffmpeg and tells how many frames more it has made whenever it says so."""
    command = [*_FFMPEG, "-progress", "pipe:1", *map(str, arguments)]
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            key, _, value = line.strip().partition("=")
            if key == "frame" and value.isdigit():
                on_frame(int(value) - done)
                done = int(value)
        said = process.stderr.read()
    if process.returncode:
        raise MediaError(f"ffmpeg ended with {process.returncode}: {said.strip()[-500:]}")


def make_clip(path: Path, frame_count: int, on_frame: Callable[[int], None]) -> None:
    """An MXF: intra-only MPEG-2 4:2:2 1080p25 with sound and timecode, about 5.5 MB a second."""
    video = f"testsrc2=size=1920x1080:rate={FRAMES_PER_SECOND}"
    sound = "sine=frequency=440:sample_rate=48000"
    inputs = ("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", sound)
    codecs = ("-c:v", "mpeg2video", "-g", "1", "-pix_fmt", "yuv422p", "-q:v", "1", "-qmin", "1", "-c:a", "pcm_s16le")
    seconds = str(frame_count / FRAMES_PER_SECOND)
    _encode(on_frame, *inputs, "-t", seconds, *codecs, "-timecode", CLIP_START, path)


def make_sequence(directory: Path, frame_count: int, on_frame: Callable[[int], None]) -> None:
    """A DPX sequence, 10-bit RGB, about 0.9 MB a frame."""
    directory.mkdir()
    video = f"testsrc2=size=640x360:rate={FRAMES_PER_SECOND}"
    _encode(
        on_frame,
        "-f",
        "lavfi",
        "-i",
        video,
        "-frames:v",
        str(frame_count),
        "-pix_fmt",
        "gbrp10le",
        "-c:v",
        "dpx",
        directory / "%06d.dpx",
    )


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What the sidecar of a clip says of it."""

    start_timecode: str
    width: int
    height: int
    codec: str


def read_facts(path: Path) -> ClipFacts:
    """From ffprobe."""
    text = run("ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", path)
    report = json.loads(text)
    video = next(stream for stream in report["streams"] if stream["codec_type"] == "video")
    timecode = report["format"].get("tags", {}).get("timecode", "00:00:00:00")
    return ClipFacts(timecode, video["width"], video["height"], video["codec_name"])


def frames_of(timecode: str) -> int:
    """Frames since midnight of hh:mm:ss:ff."""
    hours, minutes, seconds, frames = map(int, timecode.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * FRAMES_PER_SECOND + frames


def timecode_of(frames: int) -> str:
    """The reverse."""
    seconds, rest = divmod(frames, FRAMES_PER_SECOND)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{rest:02}"


def restore_range(clip: Path, first: str, last: str, target: Path) -> int:
    """Copies frames first to last (timecodes, last included) of a clip into target; how many frames that is."""
    count = frames_of(last) - frames_of(first) + 1
    skip_s = (frames_of(first) - frames_of(read_facts(clip).start_timecode)) / FRAMES_PER_SECOND
    # A length in seconds, not in frames: with sound beside it, the muxer would drop the last frame.
    length_s = count / FRAMES_PER_SECOND
    run(
        *_FFMPEG, "-ss", f"{skip_s:.3f}", "-i", clip, "-t", f"{length_s:.3f}", "-map", "0", "-c", "copy", "-timecode", first, target
    )
    return count


def picture_hashes(clip: Path, first_frame: int = 0, count: int | None = None) -> list[str]:
    """MD5 of each decoded picture from a frame number on. Decodes from the start, so it trusts no index and no seek."""
    chosen = ("-vf", f"select=gte(n\\,{first_frame})", "-vsync", "passthrough", *(("-frames:v", str(count)) if count else ()))
    text = run(*_FFMPEG, "-i", clip, "-map", "0:v", *chosen, "-f", "framemd5", "-")
    return [line.split(",")[-1].strip() for line in text.splitlines() if line and not line.startswith("#")]


def make_thumbnail(picture_source: Path, target: Path, *, at_s: float = 0) -> None:
    """A JPEG of 320 pixels' width."""
    run(*_FFMPEG, "-ss", f"{at_s:.3f}", "-i", picture_source, "-frames:v", "1", "-update", "1", "-vf", "scale=320:-2", target)


def write_sidecar(target: Path, facts: dict[str, str]) -> None:
    """An XML with an element for each fact."""
    root = ElementTree.Element("clip")
    for name, value in facts.items():
        ElementTree.SubElement(root, name).text = value
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(target, encoding="utf-8", xml_declaration=True)


def read_sidecar(path: Path) -> dict[str, str]:
    """What write_sidecar wrote."""
    return {element.tag: element.text or "" for element in ElementTree.parse(path).getroot()}
