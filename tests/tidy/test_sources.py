"""The house is in order: every module says what it is, none is too long, golden rules that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 600
SOURCES = sorted(path for folder in ("ringfs", "tools") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name(path: Path) -> str:
    """As in a message."""
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    """The lists below are not empty because a folder moved."""
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_module_says_what_it_is(path: Path) -> None:
    """Every module opens with a docstring, empty ones excepted."""
    tree = ast.parse(path.read_bytes())
    assert not tree.body or ast.get_docstring(tree), f"{name(path)} has no module docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_module_is_short(path: Path) -> None:
    """One idea per file: no module is longer than LINES_MAX."""
    count = len(path.read_bytes().splitlines())
    assert count <= LINES_MAX, f"{name(path)} has {count} lines, more than {LINES_MAX}"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_no_handler_swallows_everything(path: Path) -> None:
    """No bare except, and no handler whose whole body is `pass` under Exception or BaseException."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ExceptHandler):
            where = f"{name(path)}:{node.lineno}"
            assert node.type is not None, f"{where}: bare except"
            is_broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            assert not (is_broad and all(isinstance(line, ast.Pass) for line in node.body)), f"{where}: swallows every error"
