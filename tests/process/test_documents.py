"""The commands in README.md and docs/operating.md work as written, from top to bottom, and leave nothing behind."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfs.base import mountinfo
from ringfs.cli import processes
from tests.support.mounts import RINGFS

ROOT = Path(__file__).resolve().parents[2]
#: On a machine that does nothing else it takes a tenth.
SECONDS_MAX = 1800


@pytest.fixture
def scratch() -> Iterator[Path]:
    """An empty directory; a cluster that a failed session left in it is taken down."""
    with tempfile.TemporaryDirectory(prefix="ringfs-documents.") as directory:
        yield Path(directory)
        for lock in Path(directory).glob("*/dev.lock"):
            subprocess.run([RINGFS, "dev", "down", lock.parent, "--timeout", "10"], check=False)


def session_of(page: Path) -> str:
    """All its sh blocks as one script, without what installs the package that is being tested."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    return "".join(blocks).replace("pip install .\n", "")


@pytest.mark.timeout(SECONDS_MAX + 60)
@pytest.mark.parametrize("name", ["README.md", "docs/operating.md"])
def test_session(scratch: Path, name: str) -> None:
    """No command fails."""
    environment = {**os.environ, "PATH": f"{RINGFS.parent}:{os.environ['PATH']}"}
    environment.pop("RINGFS_CLUSTER", None)
    command = ["bash", "-euxo", "pipefail", "-c", session_of(ROOT / name)]
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, cwd=scratch, env=environment, stdout=output, stderr=output, timeout=SECONDS_MAX, check=False)
        output.seek(0)
        assert done.returncode == 0, output.read()
    assert not [mount for mount in mountinfo.read_mounts() if mount.point.is_relative_to(scratch)]
    assert not list(processes.find(lambda argv: any(part.startswith(str(scratch)) for part in argv)))
