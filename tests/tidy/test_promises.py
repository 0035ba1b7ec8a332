"""docs/promises.md has one row per promise with the test that proves it; the test must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROMISES_MIN: Final = 20
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(?:(\w+)::)?(\w+)`")


def _rows() -> list[str]:
    """The rows of the table, without its two heading lines."""
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def _exists(file: str, group: str, name: str) -> bool:
    try:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    body: list[ast.stmt] = tree.body
    if group:
        classes = [n for n in body if isinstance(n, ast.ClassDef) and n.name == group]
        body = [node for found in classes for node in found.body]
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return any(isinstance(node, functions) and node.name == name for node in body)


def test_there_are_promises() -> None:
    assert len(_rows()) >= PROMISES_MIN


def test_each_row_has_a_promise_a_figure_and_a_test_that_exists() -> None:
    wrong = []
    for row in _rows():
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        tests = _TEST.findall(cells[-1])
        if len(cells) != 3 or not all(cells) or not tests:
            wrong.append(f"{row}: a promise, a figure, a test")
        wrong += ["::".join(test) for test in tests if not _exists(*test)]
    assert wrong == []
