"""Takes fields out of elements by a table of paths, fast enough for batches of thousands.

A bank writes thousands of elements in a few shapes. Which descendant gives which field is worked
out once per shape and then only looked up; a shape is names and child counts in document order,
which describe a tree exactly, so no two different trees can share a plan. A shape that comes
again and again gets a template; what a template reads is what the plan would read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from lxml import etree

from gateways.bank.iso20022.templates import CARRIAGE_RETURN, template, unescaped, written

Element = etree._Element

SHAPES_MAX: Final = 256
SHAPE_ELEMENTS_MAX: Final = 500
PATH_DEPTH_MAX: Final = 10
TEMPLATE_AFTER: Final = 16
TEMPLATES_MAX: Final = 64
TEMPLATE_CHARS_MAX: Final = 16 * 1024

_Key = tuple[tuple[str, ...], tuple[int, ...]]
_Table = Mapping[str, tuple[int, str]]
_HERE: Final = "here"


_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_NO_LISTS: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


class Fields(dict[str, str]):
    """The fields found; a field that is absent or blank has no key. ``many`` holds the lists.

    ``inners`` counts the elements inside that have a table of their own; ``inner`` are the fields
    of an only one.
    """

    __slots__ = ("inner", "inners", "many")

    def __init__(self, fields: Mapping[str, str] = _NONE) -> None:
        dict.__init__(self, fields)
        self.many: Mapping[str, Sequence[str]] = _NO_LISTS
        self.inner: Fields | None = None
        self.inners = 0


@dataclass(slots=True)
class _Plan:
    """Which descendant, by its place in document order, gives which field; best ones first."""

    places: list[tuple[int, str]]
    constant: dict[str, str]
    inner: _Plan | None = None
    inners: int = 0
    met: int = 0

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


class _Groups:
    """A plan for a template: none of its values is blank, and its attributes never change."""

    def __init__(self, plan: _Plan, nodes: Sequence[Element], group: Mapping[int, int]) -> None:
        """``group``: which group of the template has the value of which place."""
        self._constant, self._many = dict(plan.constant), defaultdict[str, list[int]](list)
        single: dict[str, int] = {}
        for place, name in plan.places:
            if place in group and name[-1] == "*":
                self._many[name[:-1]].append(group[place])
            elif place in group and name not in single:
                single[name] = group[place]
                if name[-1] == "@":
                    self._constant[f"{name}currency"] = currency_of(nodes[place])
        self._single = tuple(single.items())
        self._inners = plan.inners
        self._inner = None if plan.inner is None else _Groups(plan.inner, nodes, group)

    def taken(self, values: Sequence[str]) -> Fields:
        """The fields: exactly what the plan would take."""
        fields = Fields(self._constant)
        for name, at in self._single:
            fields[name] = values[at]
        if self._many:
            fields.many = {name: [values[at] for at in of] for name, of in self._many.items()}
        fields.inners = self._inners
        if self._inner is not None:
            fields.inner = self._inner.taken(values)
        return fields


class _Template(NamedTuple):
    """What an element looks like, and which of its groups are which fields."""

    pattern: re.Pattern[str]
    groups: _Groups


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
        self._after = TEMPLATE_AFTER
        self._templates: dict[int, list[_Template]] = defaultdict(list)
        self._count = 0

    def read(self, element: Element) -> Fields:
        """The fields of ``element``."""
        if not self._count:
            return self._walk(element, "")
        text = written(element)
        for one in self._templates.get(text.count("<"), ()):
            found = one.pattern.fullmatch(text)
            if found is not None:
                values = found.groups()
                if "&" in text:
                    if CARRIAGE_RETURN in text:
                        break
                    values = tuple(map(unescaped, values))
                return one.groups.taken(values)
        return self._walk(element, text)

    def _walk(self, element: Element, text: str) -> Fields:
        nodes = list(element.iter("*"))
        key = (tuple([node.tag for node in nodes]), tuple([len(node) for node in nodes]))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._remember(key)
        plan.met += 1
        if plan.met % self._after == 0 and self._count < TEMPLATES_MAX:
            self._learn(text or written(element), plan, nodes)
        return plan.taken(nodes)

    def _learn(self, text: str, plan: _Plan, nodes: Sequence[Element]) -> None:
        """Elements of this markup are read by a template from now on."""
        of = [*plan.places, *(plan.inner.places if plan.inner else ())]
        # an element written without content has no value: it is markup, and has no group
        places = sorted({place for place, _ in of if nodes[place].text})
        blank = any(not (nodes[place].text or "").strip() for place in places)
        if places and not blank and len(text) <= TEMPLATE_CHARS_MAX:
            group = {place: at for at, place in enumerate(places)}
            learned = _Template(template(text, places), _Groups(plan, nodes, group))
            self._templates[text.count("<")].insert(0, learned)
            self._count += 1

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
