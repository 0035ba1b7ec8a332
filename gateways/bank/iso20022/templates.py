"""What an element looks like with its values left out, to read the next one like it at once.

Works on what lxml writes of an element that lxml has parsed, never on a file's bytes: there
comments, CDATA and entities are gone, and ``<`` begins markup and nothing else. A template takes
an element only where all of its markup is equal, to the letter; whatever differs is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lxml import etree

CARRIAGE_RETURN: Final = "&#13;"
"""The fourth sign that lxml escapes: it is a blank, which no value may begin or end with."""

_MARKUP: Final = re.compile("(<[^<>]*>)")
_VALUE: Final = "([^<]*+)"
_IGNORED: Final = "[^<]*+"


def written(element: etree._Element) -> str:
    """The element as lxml writes it: one form for all ways in which a file may write it.

    It begins with its own mark and every namespace that is in force there.
    """
    return etree.tostring(element, encoding="unicode", with_tail=False)


def unescaped(text: str) -> str:
    """A value out of what lxml wrote; a carriage return is left to the caller."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def after_elements(text: str, begin: int, count: int) -> int:
    """Where ``count`` elements end that are written side by side from ``begin`` on."""
    at, depth = begin, 0
    marks = _MARKUP.finditer(text, begin)
    while count:
        mark = next(marks)
        at = mark.end()
        if text.startswith("</", mark.start()):
            depth -= 1
        elif not text.startswith("/>", at - 2):
            depth += 1
        count -= depth == 0
    return at


def template(text: str, wanted: Sequence[int]) -> re.Pattern[str]:
    """Matches all that differs from ``text`` in nothing but values of elements without children.

    ``wanted`` are those whose values are groups, by their place among the elements, ascending.
    """
    pieces = _MARKUP.split(text)
    pattern = [re.escape(pieces[0])]
    place = -1
    for at in range(1, len(pieces), 2):
        markup, between = pieces[at], pieces[at + 1]
        pattern.append(re.escape(markup))
        place += not markup.startswith("</")
        begins = not markup.startswith("</") and not markup.endswith("/>")
        if begins and pieces[at + 2].startswith("</"):
            pattern.append(_VALUE if place in wanted else _IGNORED)
        else:
            pattern.append(re.escape(between))
    return re.compile("".join(pattern))
