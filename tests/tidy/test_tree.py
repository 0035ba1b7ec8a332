"""Style is a test: sizes, docstrings, names, floats, promises (style.md's habits)."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
ROOMS: Final = (
    "tillkeeper", "workflows", "activities", "ledger", "gateways", "worker", "console", "bench",
)  # fmt: skip
MODULE_LINES_MAX: Final = 400
MODULE_LINES_MEDIAN_MAX: Final = 150
FUNCTION_LINES_MAX: Final = 70
FUNCTIONS_OVER_50_MAX: Final = 0.02

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def _lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


ALL: Final = _sources(*ROOMS)


class TestSizes:
    def test_modules_stay_below_400_lines(self) -> None:
        sizes = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in ALL}
        assert {name: size for name, size in sizes.items() if size > MODULE_LINES_MAX} == {}
        assert median(sizes.values()) <= MODULE_LINES_MEDIAN_MAX

    def test_functions_stay_below_70_lines_and_rarely_pass_50(self) -> None:
        sizes = {
            f"{p.relative_to(ROOT)}:{node.name}": _lines(node)
            for p in ALL
            for node in _functions(p)
        }
        assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES_MAX} == {}
        over = [name for name, size in sizes.items() if size > 50]
        assert len(over) <= FUNCTIONS_OVER_50_MAX * len(sizes), over


class TestWords:
    @pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(ROOT)))
    def test_module_has_a_docstring(self, path: Path) -> None:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    def test_public_classes_and_functions_have_docstrings(self) -> None:
        silent = [
            f"{path.relative_to(ROOT)}:{node.name}"
            for path in ALL
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
        assert silent == []

    def test_no_leftover_markers(self) -> None:
        marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
        assert [p for p in ALL if marker.search(p.read_text(encoding="utf-8"))] == []


class TestMoney:
    def test_no_float_in_contracts_and_rules(self) -> None:
        """C-01: no floating point near money."""
        for path in _sources("tillkeeper/contracts", "tillkeeper/rules"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                named = isinstance(node, ast.Name) and node.id == "float"
                literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
                division = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
                assert True not in (named, literal, division), f"{path}: {ast.unparse(node)}"

    def test_workflows_read_no_clock_and_roll_no_dice(self) -> None:
        banned = re.compile(
            r"datetime\.(utc)?now|time\.time|uuid\.uuid4|random\.|import (time|random|uuid)\b"
        )
        for path in _sources("workflows"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not banned.search(line), f"{path}: {line}"


class TestWheel:
    def test_published_package_is_tillkeeper_alone(self) -> None:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert 'packages = ["tillkeeper"]' in text


class TestRepository:
    def test_no_machine_path_or_package_index_in_the_tree(self) -> None:
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
        banned = re.compile(r"--(extra-)?index-url|--find-links|/(root|home)/[a-z]+/")
        for name in filter(None, tracked.split("\0")):
            path = ROOT / name
            if path == Path(__file__).resolve() or path.suffix in {".json", ".gz"}:
                continue
            if path.is_file():
                assert not banned.search(path.read_text(encoding="utf-8", errors="ignore")), name
