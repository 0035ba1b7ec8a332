"""Takes fields out of elements by a table of paths, fast enough for batches of thousands.

A bank writes thousands of elements in a few shapes. Which descendant gives which field is worked
out once per shape and then only looked up; a shape is names and child counts in document order,
which describe a tree exactly, so no two different trees can share a plan. For elements that come
again and again a plan makes a template; what it reads is what the plan would read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from lxml import etree

from gateways.bank.iso20022.templates import is_odd, template, unescaped

Element = etree._Element

SHAPES_MAX: Final = 256
SHAPE_ELEMENTS_MAX: Final = 500
PATH_DEPTH_MAX: Final = 10

_Key = tuple[tuple[str, ...], tuple[int, ...]]
Values = tuple[str | None, ...]
"""What a template takes of an element, none of it blank; the last one is None."""

_Table = Mapping[str, tuple[int, str]]
_HERE: Final = "here"


class Fields(dict[str, str]):
    """The fields found; a field that is absent or blank has no key. ``many`` holds the lists.

    ``inners`` counts the elements inside that have a table of their own; ``inner`` are the fields
    of an only one.
    """

    many: Mapping[str, Sequence[str]] = MappingProxyType({})
    inner: Fields | None = None
    inners: int = 0


@dataclass(slots=True)
class _Plan:
    """Which descendant, by its place in document order, gives which field; best ones first."""

    places: list[tuple[int, str]]
    constant: dict[str, str]
    inner: _Plan | None = None
    inners: int = 0

    def taken(self, nodes: Sequence[Element]) -> Fields:
        """The fields; what is blank is absent."""
        fields, many = Fields(self.constant), defaultdict[str, list[str]](list)
        for place, name in self.places:
            if name not in fields and (text := (nodes[place].text or "").strip()):
                if name[-1] == "*":
                    many[name[:-1]].append(text)
                else:
                    fields[name] = text
                    if name[-1] == "@":
                        fields[f"{name}currency"] = currency_of(nodes[place])
        if many:
            fields.many = many
        fields.inners = self.inners
        if self.inner is not None:
            fields.inner = self.inner.taken(nodes)
        return fields


class Groups:
    """A plan for a template: none of its values is blank, and its attributes never change."""

    def __init__(self, plan: _Plan, nodes: Sequence[Element], group: Mapping[int, int]) -> None:
        """``group``: which group of the template has the value of which place."""
        self.constant = dict(plan.constant)
        self.many = defaultdict[str, list[int]](list)
        self.single: dict[str, int] = {}
        for place, name in plan.places:
            if place in group and name[-1] == "*":
                self.many[name[:-1]].append(group[place])
            elif place in group and name not in self.single:
                self.single[name] = group[place]
                if name[-1] == "@":
                    self.constant[f"{name}currency"] = currency_of(nodes[place])
        self._names = tuple(self.single)
        # two more that no name is for: of a single one a getter makes no tuple
        self._picked = itemgetter(*self.single.values(), 0, 0)
        self._inners = plan.inners
        self.inner = None if plan.inner is None else Groups(plan.inner, nodes, group)

    def taken(self, values: Values) -> Fields:
        """The fields: exactly what the plan would take."""
        fields = Fields(zip(self._names, self._picked(values), strict=False))
        if self.constant:
            fields.update(self.constant)
        if self.many:
            fields.many = {name: [values[at] or "" for at in of] for name, of in self.many.items()}
        if self._inners:
            fields.inners = self._inners
        if self.inner is not None:
            fields.inner = self.inner.taken(values)
        return fields


@dataclass(slots=True, eq=False)
class Template:
    """What an element looks like, and which of its groups are which fields."""

    pattern: re.Pattern[str]
    groups: Groups

    def values(self, text: str, begin: int, *, doubt: bool) -> tuple[Values, int] | None:
        """The values of the element that begins there, and where it ends with its blanks.

        ``doubt``: something in ``text`` may be escaped, or no text that XML allows.
        """
        found = self.pattern.match(text, begin)
        if found is None:
            return None
        values, end = found.groups(), found.end()
        if doubt:
            if is_odd(text, begin, end):
                return None
            values = tuple(map(unescaped, values))
        values = tuple(map(str.strip, values))
        return None if "" in values else ((*values, None), end)


class Shapes:
    """Reads elements by ``table``: path of local names, joined by slashes, to name of field.

    Where several paths give one field the earlier one in the table wins, and of equal paths the
    first in the document. A field ``x*`` keeps every value, as ``many["x"]``; ``x@`` keeps its
    ``Ccy`` as ``x@currency`` too; ``x=y`` is ``y`` where the element is present, whatever it holds.
    """

    def __init__(
        self,
        table: Mapping[str, str],
        *,
        inner: tuple[str, Mapping[str, str]] | None = None,
    ) -> None:
        """``inner``: path and table of an element inside, read with it where there is just one."""
        self._table = _ranked(table)
        self._inner = inner and (inner[0], _ranked(inner[1], inside=f"{inner[0]}/"))
        self._plans: dict[_Key, _Plan] = {}

    def read(self, element: Element) -> Fields:
        """The fields of ``element``."""
        nodes, plan = self._walked(element)
        return plan.taken(nodes)

    def learned(self, text: str, element: Element) -> Template | None:
        """A template for all like ``element``, which is written as ``text``; None where it is not.

        None where a value is blank: then others may be looked at in its place.
        """
        nodes, plan = self._walked(element)
        of = [*plan.places, *(plan.inner.places if plan.inner else ())]
        # an element written without content has no value: it is markup, and has no group
        places = sorted({place for place, _ in of if nodes[place].text})
        if plan.inners and plan.inner is None:
            return None
        if not places or any(not (nodes[place].text or "").strip() for place in places):
            return None
        group = {place: at for at, place in enumerate(places)}
        return Template(template(text, places), Groups(plan, nodes, group))

    def _walked(self, element: Element) -> tuple[list[Element], _Plan]:
        nodes = list(element.iter("*"))
        key = (tuple([node.tag for node in nodes]), tuple([len(node) for node in nodes]))
        plan = self._plans.get(key)
        return nodes, self._remember(key) if plan is None else plan

    def _remember(self, key: _Key) -> _Plan:
        plan = _planned(*key, self._table)
        if self._inner is not None:
            path, table = self._inner
            name = path[path.rfind("/") + 1 :]
            inner = _planned(*key, table)
            plan.inners = sum(tag[tag.rfind("}") + 1 :] == name for tag in key[0])
            if inner.constant.pop(_HERE, None) and plan.inners == 1:
                plan.inner = inner
        if len(key[0]) <= SHAPE_ELEMENTS_MAX:
            if len(self._plans) >= SHAPES_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan


def _ranked(table: Mapping[str, str], *, inside: str = "") -> _Table:
    """Rank and field of each path; with ``inside``, that element's presence as a constant too."""
    ranked = {f"{inside}{path}": (rank, name) for rank, (path, name) in enumerate(table.items())}
    return ranked | ({inside[:-1]: (len(ranked), f"{_HERE}=yes")} if inside else {})


def _planned(tags: tuple[str, ...], counts: tuple[int, ...], table: _Table) -> _Plan:
    """Walk the tree that names and counts describe, and note where the table's paths lie."""
    found: list[tuple[int, int, str]] = []
    present: list[tuple[int, str]] = []
    path: list[str] = []
    left: list[int] = []
    for index, (tag, count) in enumerate(zip(tags, counts, strict=True)):
        path.append(tag[tag.rfind("}") + 1 :])
        left.append(count)
        if 1 < len(path) <= PATH_DEPTH_MAX:
            entry = table.get("/".join(path[1:]))
            if entry is not None and "=" in entry[1]:
                present.append(entry)
            # an element with children is no value, whatever text stands around them
            elif entry is not None and count == 0:
                found.append((entry[0], index, entry[1]))
        while left and left[-1] == 0:
            path.pop()
            left.pop()
            if left:
                left[-1] -= 1
    return _Plan(
        places=[(index, name) for _, index, name in sorted(found)],
        constant=dict(name.split("=") for _, name in sorted(present, reverse=True)),
    )


def currency_of(node: Element) -> str:
    """What the element's ``Ccy`` says; empty where it has none."""
    return str(node.get("Ccy") or "")
