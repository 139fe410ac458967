"""docs/posix.md names tests that exist: what it says of an operation is shown by them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLAIM = re.compile(r"`((?:tests/[a-z_/]+/)?test_[a-z0-9_]+\.py)(?:: ([a-z0-9_, ]+))?`")


def test_every_test_that_is_named_exists() -> None:
    """File and function; and there are many."""
    claims = CLAIM.findall((ROOT / "docs/posix.md").read_text())
    assert len(claims) > 60
    for file, functions in claims:
        source = (ROOT / (file if "/" in file else f"tests/mount/{file}")).read_text()
        for function in filter(None, functions.split(", ")):
            assert f"def {function}(" in source, f"{file}: {function}"


def test_every_test_of_mounts_has_its_page() -> None:
    """No file of tests/mount is missing from it, but the one of whole programs."""
    page = (ROOT / "docs/posix.md").read_text()
    missing = [path.name for path in (ROOT / "tests/mount").glob("test_*.py") if path.name not in page]
    assert missing == ["test_programs.py"]
