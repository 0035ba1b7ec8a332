"""What an element looks like with its values left out, to read the next one like it at once.

Works on a file's own text. A template is made of an element that the parser has read, and takes
another one only where all of its markup is equal, to the letter, and its values are text that XML
allows: what a template takes is well-formed. Whatever differs is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_MARKUP: Final = re.compile("(<[^<>]*>)")
_TEXT: Final = "[^<\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]*+"
_ODD: Final = re.compile("&(?!(?:lt|gt|amp|quot|apos);)|\\]\\]>|[\\ufffe\\uffff]")
_BLANKS: Final = "[ \\t\\n]*+"


def markup_of(text: str) -> str:
    """All marks of an element: equal where two differ in nothing but what stands between."""
    return "".join(_MARKUP.findall(text))


def is_plain(text: str, prefix: str) -> bool:
    """Whether the element means the same wherever its first mark may stand.

    No name has another prefix than the first, no namespace is declared, no mark has a break of
    lines or a ``>`` of its own, and nothing in it is comment, CDATA or instruction.
    """
    pieces = _MARKUP.split(text)
    marks = "".join(pieces[1::2]).replace(f"<{prefix}", "<").replace(f"</{prefix}", "</")
    if any(sign in marks for sign in (":", "xmlns", "<!", "<?", "\n", "&")):
        return False
    return not any("<" in between or ">" in between for between in pieces[::2])


def is_odd(text: str, begin: int, end: int) -> bool:
    """Whether a value there is no text, or refers to a sign in another way than by its name."""
    return _ODD.search(text, begin, end) is not None


def may_be_odd(text: str) -> bool:
    """Whether anything in ``text`` may be odd or escaped; costs little."""
    if "]" in text and "]]>" in text:
        return True
    return "&" in text or "\ufffe" in text or "\uffff" in text


def unescaped(text: str) -> str:
    """A value out of a file's text that is not odd."""
    if "&" not in text:
        return text
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    return text.replace("&apos;", "'").replace("&amp;", "&")


def template(text: str, wanted: Sequence[int]) -> re.Pattern[str]:
    """Matches all that differs from ``text`` in nothing but values of elements without children.

    ``wanted`` are those whose values are groups, by their place among the elements, ascending.
    An element without a value is no other than that. Blanks behind the element belong to it.
    """
    pieces = _MARKUP.split(text)
    pattern = [re.escape(pieces[0])]
    place = -1
    for at in range(1, len(pieces), 2):
        markup, between = pieces[at], pieces[at + 1]
        pattern.append(re.escape(markup))
        place += not markup.startswith("</")
        begins = not markup.startswith("</") and not markup.endswith("/>")
        if begins and pieces[at + 2].startswith("</") and between.strip():
            pattern.append(f"({_TEXT})" if place in wanted else _TEXT)
        else:
            pattern.append(re.escape(between))
    return re.compile("".join(pattern) + _BLANKS)
