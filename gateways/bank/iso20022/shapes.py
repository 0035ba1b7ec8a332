"""Takes fields out of elements by a table of paths, fast enough for batches of thousands.

A bank writes thousands of elements in a few shapes. Which descendant gives which field is worked
out once per shape and then only looked up; a shape is names and child counts in document order,
which describe a tree exactly, so no two different trees can share a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

Element = etree._Element

SHAPES_MAX: Final = 256
SHAPE_ELEMENTS_MAX: Final = 500
PATH_DEPTH_MAX: Final = 8

_Key = tuple[tuple[str, ...], tuple[int, ...]]
_SPECIAL: Final = "*@"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which descendant, by its place in document order, gives which field."""

    plain: list[tuple[int, str]]
    special: list[tuple[int, str]]


class Fields(dict[str, str]):
    """The fields found; a field that is absent or blank has no key. ``many`` holds the lists."""

    __slots__ = ("many",)

    def __init__(self) -> None:
        self.many: dict[str, list[str]] = {}


class Shapes:
    """Reads elements by ``table``: path of local names, joined by slashes, to name of field.

    Where several paths give one field the earlier one in the table wins, and of equal paths the
    first in the document. A field ``x*`` keeps every value; ``x@`` keeps its ``Ccy`` as
    ``x_currency`` too.
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = {path: (rank, name) for rank, (path, name) in enumerate(table.items())}
        self._plans: dict[_Key, _Plan] = {}

    def read(self, element: Element) -> Fields:
        """The fields of ``element``."""
        nodes = list(element.iter("*"))
        key = (tuple([node.tag for node in nodes]), tuple([len(node) for node in nodes]))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._remember(key)
        fields = Fields()
        for index, name in plan.plain:
            text = nodes[index].text
            if text and name not in fields and (text := text.strip()):
                fields[name] = text
        for index, name in plan.special:
            text = nodes[index].text
            if text and (text := text.strip()):
                self._keep(fields, name, text, nodes[index])
        return fields

    @staticmethod
    def _keep(fields: Fields, name: str, text: str, node: Element) -> None:
        if name[-1] == "*":
            fields.many.setdefault(name[:-1], []).append(text)
        elif name[:-1] not in fields:
            fields[name[:-1]] = text
            fields[f"{name[:-1]}_currency"] = str(node.get("Ccy") or "")

    def _remember(self, key: _Key) -> _Plan:
        plan = self._plan(*key)
        if len(key[0]) <= SHAPE_ELEMENTS_MAX:
            if len(self._plans) >= SHAPES_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _plan(self, tags: tuple[str, ...], counts: tuple[int, ...]) -> _Plan:
        """Walk the tree that names and counts describe, and note where the table's paths lie."""
        found: list[tuple[int, int, str]] = []
        path: list[str] = []
        left: list[int] = []
        for index, (tag, count) in enumerate(zip(tags, counts, strict=True)):
            path.append(tag[tag.rfind("}") + 1 :])
            left.append(count)
            # an element with children is no value, whatever text stands around them
            if count == 0 and 1 < len(path) <= PATH_DEPTH_MAX:
                entry = self._table.get("/".join(path[1:]))
                if entry is not None:
                    found.append((entry[0], index, entry[1]))
            while left and left[-1] == 0:
                path.pop()
                left.pop()
                if left:
                    left[-1] -= 1
        placed = [(index, name) for _, index, name in sorted(found)]
        return _Plan(
            plain=[(index, name) for index, name in placed if name[-1] not in _SPECIAL],
            special=[(index, name) for index, name in placed if name[-1] in _SPECIAL],
        )
