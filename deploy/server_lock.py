"""Cuts the server's part out of requirements.lock, hashes too: `python deploy/server_lock.py`.

The image must not carry the embedded servers, and pip's --require-hashes wants every line pinned.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "deploy" / "requirements.server.lock"
_BLOCK = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)


def server_lock() -> str:
    """The blocks of `requirements.lock` that the server needs, in its order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted: set[str] = set()
    todo = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    seen: set[str] = set()
    while todo:
        text = todo.pop()
        if text in seen:
            continue
        seen.add(text)
        requirement = Requirement(text)
        wanted.add(canonicalize_name(requirement.name))
        todo += _needs(requirement)
    blocks = _blocks((ROOT / "requirements.lock").read_text())
    missing = wanted - set(blocks)
    if missing:
        raise SystemExit(f"requirements.lock lacks {', '.join(sorted(missing))}")
    return "".join(block for name, block in blocks.items() if name in wanted)


def _needs(requirement: Requirement) -> list[str]:
    try:
        found = distribution(requirement.name).requires or []
    except PackageNotFoundError:
        return []
    kept = []
    for text in found:
        needed = Requirement(text)
        contexts = [{"extra": extra} for extra in ("", *requirement.extras)]
        if needed.marker is None or any(needed.marker.evaluate(one) for one in contexts):
            kept.append(text.split(";")[0].strip())
    return kept


def _blocks(lock: str) -> dict[str, str]:
    starts = [*_BLOCK.finditer(lock)]
    ends = [start.start() for start in starts[1:]] + [len(lock)]
    return {
        canonicalize_name(start["name"]): lock[start.start() : end].rstrip() + "\n"
        for start, end in zip(starts, ends, strict=True)
    }


if __name__ == "__main__":
    TARGET.write_text(server_lock())
