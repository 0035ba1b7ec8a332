"""docs/promises.md has one row per promise with the test that proves it; the test must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
_ROW: Final = re.compile(r"`(tests/[\w/]+\.py)::(?:(\w+)::)?(\w+)`")


def _promises() -> list[tuple[str, str, str]]:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    return [(m[0], m[1], m[2]) for m in _ROW.findall(text)]


def test_there_are_promises() -> None:
    assert len(_promises()) >= 20


@pytest.mark.parametrize(("file", "group", "name"), _promises())
def test_promise_names_a_test_that_exists(file: str, group: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    body: list[ast.stmt] = tree.body
    if group:
        [found] = [n for n in body if isinstance(n, ast.ClassDef) and n.name == group]
        body = found.body
    names = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in names
