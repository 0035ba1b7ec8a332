"""Takes fields out of elements by a table of paths, fast enough for batches of thousands.

A bank writes thousands of elements in a few shapes. Which descendant gives which field is worked
out once per shape and then only looked up; a shape is names and child counts in document order,
which describe a tree exactly, so no two different trees can share a plan. A shape that comes
again and again gets a template, for elements that stand in a row; what it reads is what the plan
would read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from lxml import etree

from gateways.bank.iso20022.templates import (
    CARRIAGE_RETURN,
    after_elements,
    template,
    unescaped,
    written,
)

Element = etree._Element

SHAPES_MAX: Final = 256
SHAPE_ELEMENTS_MAX: Final = 500
PATH_DEPTH_MAX: Final = 10
TEMPLATE_AFTER: Final = 16
TEMPLATES_MAX: Final = 64
TEMPLATE_CHARS_MAX: Final = 16 * 1024
STRANGERS_MAX: Final = 16
KEPT_CHARS_MAX: Final = 64 * 1024

_Key = tuple[tuple[str, ...], tuple[int, ...]]
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
    met: int = 0
    due: bool = False

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
        self._names = tuple(single)
        # two more that no name is for: of a single one a getter makes no tuple
        self._picked = itemgetter(*single.values(), 0, 0)
        self._inners = plan.inners
        self._inner = None if plan.inner is None else _Groups(plan.inner, nodes, group)

    def taken(self, values: Sequence[str]) -> Fields:
        """The fields: exactly what the plan would take."""
        fields = Fields(zip(self._names, self._picked(values), strict=False))
        if self._constant:
            fields.update(self._constant)
        if self._many:
            fields.many = {name: [values[at] for at in of] for name, of in self._many.items()}
        if self._inners:
            fields.inners = self._inners
        if self._inner is not None:
            fields.inner = self._inner.taken(values)
        return fields


class _Template(NamedTuple):
    """What an element looks like, and which of its groups are which fields."""

    pattern: re.Pattern[str]
    groups: _Groups

    def taken(self, text: str, begin: int) -> tuple[Fields, int] | None:
        """The fields of the element that is written from ``begin`` on, and where it ends."""
        found = self.pattern.match(text, begin)
        if found is None:
            return None
        values, end = found.groups(), found.end()
        if text.find("&", begin, end) >= 0:
            if text.find(CARRIAGE_RETURN, begin, end) >= 0:
                return None
            values = tuple(map(unescaped, values))
        values = tuple(map(str.strip, values))
        return None if "" in values else (self.groups.taken(values), end)


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
        self._templates: dict[str, list[_Template]] = {}
        self._count = 0
        self._usual = False

    def read(self, element: Element) -> Fields:
        """The fields of ``element``."""
        return self._walk(element, "", [])

    def read_all(self, parent: Element, run: Sequence[Element]) -> Iterator[Fields]:
        """The fields of each of these children of ``parent``, in order; they stand in a row."""
        if not (self._usual and run and _worth_writing(parent, run)):
            yield from map(self.read, run)
            return
        text = written(parent)
        opened = text.index(">") + 1
        at = after_elements(text, opened, parent.index(run[0]))
        # what is kept before the run would be written again and again
        self._usual = at <= KEPT_CHARS_MAX
        # equal text between elements means the same only where the same namespaces are in force
        known = self._templates.setdefault(text[:opened], [])
        for element in run:
            at = text.index("<", at)
            taken = _first_taken(known, text, at)
            if taken is None:
                begin, at = at, after_elements(text, at, 1)
                yield self._walk(element, text[begin:at], known)
            else:
                fields, at = taken
                yield fields

    def _walk(self, element: Element, text: str, known: list[_Template]) -> Fields:
        nodes = list(element.iter("*"))
        key = (tuple([node.tag for node in nodes]), tuple([len(node) for node in nodes]))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._remember(key)
        plan.met += 1
        if plan.met % self._after == 0:
            self._usual = plan.due = True
        if plan.due and text and self._count < TEMPLATES_MAX:
            plan.due = False
            learned = _learned(text, plan, nodes)
            if learned is not None:
                known.insert(0, learned)
                self._count += 1
        return plan.taken(nodes)

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


def _worth_writing(parent: Element, run: Sequence[Element]) -> bool:
    """Whether the run is most of what the parent holds, so that little is written in vain."""
    most = len(parent) <= 2 * len(run) + STRANGERS_MAX
    return most and parent.index(run[-1]) - parent.index(run[0]) == len(run) - 1


def _first_taken(known: list[_Template], text: str, begin: int) -> tuple[Fields, int] | None:
    """What the first template that fits takes; it is the first one to be tried for the next."""
    for rank, one in enumerate(known):
        taken = one.taken(text, begin)
        if taken is not None:
            if rank:
                known.insert(0, known.pop(rank))
            return taken
    return None


def _learned(text: str, plan: _Plan, nodes: Sequence[Element]) -> _Template | None:
    """A template for elements of this markup; none where a value of the plan's is blank."""
    of = [*plan.places, *(plan.inner.places if plan.inner else ())]
    # an element written without content has no value: it is markup, and has no group
    places = sorted({place for place, _ in of if nodes[place].text})
    blank = any(not (nodes[place].text or "").strip() for place in places)
    if not places or blank or len(text) > TEMPLATE_CHARS_MAX:
        return None
    group = {place: at for at, place in enumerate(places)}
    return _Template(template(text, places), _Groups(plan, nodes, group))


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
