"""Takes elements of a form that is known out of a file's text, before the parser has to see them.

In the place of each run of them the parser gets one mark, an element of its own, and as many line
breaks as the run had: it still proves that all the rest, and the places of the runs, are
well-formed. A run is used where the reader meets its mark and nowhere else. Whoever uses this
must read a file once more without it when anything about it is refused or odd; it must never
take what the parser would have refused.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from lxml import etree

from gateways.bank.iso20022.document import local, piece_of
from gateways.bank.iso20022.shapes import Element, Fields, Shapes, Template, Values
from gateways.bank.iso20022.templates import is_odd, is_plain, markup_of, may_be_odd

TEMPLATE_AFTER: Final = 16
TEMPLATES_MAX: Final = 64
TEMPLATE_CHARS_MAX: Final = 16 * 1024
MARKUPS_MAX: Final = 256
LESSONS_MAX: Final = 1_000
REST_BYTES_MAX: Final = 256 * 1024
WAITING_MAX: Final = 4_096
DEPTH_MAX: Final = 32

_CLOSED_BY: Final = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}
_HEAD_BYTES: Final = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:<\?xml[^<>]*\?>)?")
_OTHER_ENCODING: Final = re.compile(rb"encoding\s*=\s*[\"'](?!utf-?8[\"'])", re.IGNORECASE)


class OddRunError(Exception):
    """A run stands where none may stand: the file must be read without runs."""


class Said(NamedTuple):
    """One element of a run: its values, its line, and the line of the one inside it."""

    template: Template
    values: Values
    line: int
    inner_line: int

    def fields(self) -> Fields:
        """The fields: exactly what would be read of the element."""
        return self.template.groups.taken(self.values)


class _Run(NamedTuple):
    name: str
    said: list[Said]


class Runs:
    """The runs of one file; its pieces go through ``condensed`` on their way to the parser."""

    def __init__(self, shapes: Mapping[str, Shapes], *, inner: str) -> None:
        """``shapes`` by name of element; of an ``inner`` one the line is told."""
        self._shapes = shapes
        self._inner = inner
        self._mark = f"run-{secrets.token_hex(8)}"
        self._token = _token(*shapes)
        self._known: dict[str, list[Template]] = {}
        self._templates = 0
        self._met: Counter[tuple[str, str]] = Counter()
        self._waiting: dict[str, _Run] = {}
        self._made = 0
        self._rest = b""
        self._line = 1
        self._lessons = LESSONS_MAX
        self._begun = self._off = False

    def condensed(self, piece: bytes) -> bytes:
        """What the parser shall see of the next piece; a little of it may come with a later one."""
        if self._off:
            return piece
        body = self._rest + piece
        if not self._begun:
            self._begun = True
            head = _HEAD_BYTES.match(body)
            skipped = body[: head.end()] if head else b""
            if _OTHER_ENCODING.search(skipped):
                return self._give_up(body)
            self._line += skipped.count(b"\n")
            self._rest = b""
            return skipped + self._condensed(body[len(skipped) :])
        return self._condensed(body)

    def rest(self) -> bytes:
        """What is left for the parser when the file has ended."""
        rest, self._rest = self._rest, b""
        return rest

    def taken(self, mark: Element, name: str) -> list[Said]:
        """What the run said that stood in the place of ``mark``. Raises OddRunError."""
        run = self._waiting.pop(mark.get("at") or "", None)
        if run is None or run.name != name:
            raise OddRunError
        return run.said

    def is_mark(self, element: Element) -> bool:
        """Whether a run stood there."""
        return local(element) == self._mark

    def tags(self, name: str) -> tuple[str, str]:
        """What to look for: the elements of this name, and all marks."""
        return f"{{*}}{name}", f"{{*}}{self._mark}"

    def check_used(self) -> None:
        """At the end. Raises OddRunError when a run stood where nobody has looked for it."""
        if self._waiting:
            raise OddRunError

    def _give_up(self, body: bytes) -> bytes:
        self._off, self._rest = True, b""
        return body

    def _condensed(self, body: bytes) -> bytes:
        cut = body.rfind(b">") + 1
        try:
            text = body[:cut].decode()
        except UnicodeDecodeError:
            return self._give_up(body)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
            if "\r" in text:
                return self._give_up(body)
        said, kept = self._replaced(text)
        self._rest = text[kept:].encode() + body[cut:]
        if len(self._rest) > REST_BYTES_MAX:
            said, self._rest = f"{said}{text[kept:]}", body[cut:]
            return said.encode() + self._give_up(self._rest)
        return said.encode()

    def _replaced(self, text: str) -> tuple[str, int]:
        """The text with marks for runs, and how much of it that is: the rest is to come again."""
        doubt = may_be_odd(text)
        pieces: list[str] = []
        at = done = counted = 0
        while (token := self._token.search(text, at)) is not None:
            begin = token.start()
            if token["name"] is None:
                at = _closed_at(text, token)
                if at < 0:
                    break
                continue
            self._line += text.count("\n", counted, begin)
            counted, line = begin, self._line
            said, end = self._run(text, token, doubt=doubt)
            if said:
                breaks = "\n" * (self._line - line)
                pieces += text[done:begin], self._marked(token, said), breaks
                at = done = counted = end
            elif self._missed(text, token):
                at = token.end()
            else:
                break
        kept = len(text) if token is None else token.start()
        self._line += text.count("\n", counted, kept)
        pieces.append(text[done:kept])
        return "".join(pieces), kept

    def _run(self, text: str, token: re.Match[str], *, doubt: bool) -> tuple[list[Said], int]:
        """What the elements say that stand in a row from there on, and where they end."""
        known = self._known.get(token[0], [])
        inner = f"<{token['prefix']}{self._inner}>"
        said: list[Said] = []
        at, line = token.start(), self._line
        while (taken := _first_taken(known, text, at, doubt=doubt)) is not None:
            template, values, end = taken
            begin, at = at, end
            inner_line = line
            if template.groups.inner is not None:
                inner_line += text.count("\n", begin, text.index(inner, begin))
            said.append(Said(template, values, line, inner_line))
            line += text.count("\n", begin, end)
        self._line = line
        self._lessons += len(said)
        return said, at

    def _marked(self, token: re.Match[str], said: list[Said]) -> str:
        if len(self._waiting) >= WAITING_MAX:
            raise OddRunError
        self._made += 1
        self._waiting[str(self._made)] = _Run(token["name"], said)
        return f'<{token["prefix"]}{self._mark} at="{self._made}"/>'

    def _missed(self, text: str, token: re.Match[str]) -> bool:
        """Leave the element to the parser; whether it, or so much of it, is there already."""
        if self._lessons < 0:
            return True  # a file of which little can be learned
        begin, close = token.start(), f"</{token[0][1:]}>"
        end = text.find(close, begin, begin + TEMPLATE_CHARS_MAX)
        if end < 0:
            return len(text) - begin > TEMPLATE_CHARS_MAX
        self._lessons -= 1
        whole = text[begin : end + len(close)]
        inner = f"<{token['prefix']}{self._inner}"
        if whole.count(inner) > 1 or whole.count(inner) != whole.count(f"{inner}>"):
            return True
        key = (token[0], markup_of(whole))
        if key not in self._met and len(self._met) >= MARKUPS_MAX:
            self._met.clear()
        self._met[key] += 1
        # a few times, for the first ones may have been blank or odd; a template is dear to make
        if self._met[key] in _lessons() and self._templates < TEMPLATES_MAX:
            self._learn(whole, token)
        return True

    def _learn(self, whole: str, token: re.Match[str]) -> None:
        prefix, name = token["prefix"], token["name"]
        if not is_plain(whole, prefix) or is_odd(whole, 0, len(whole)):
            return
        declared = f" xmlns:{prefix[:-1]}='urn:any'" if prefix else ""
        try:
            found = list(piece_of(f"<any{declared}>{whole}</any>"))
        except etree.XMLSyntaxError:
            return
        learned = self._shapes[name].learned(whole, found[0]) if len(found) == 1 else None
        if learned is not None:
            self._known.setdefault(token[0], []).insert(0, learned)
            self._templates += 1


def check_depth(element: Element) -> None:
    """What is in a run is less deep than the parser allows. Raises OddRunError."""
    if sum(1 for _ in element.iterancestors()) > DEPTH_MAX:
        raise OddRunError


def _lessons() -> tuple[int, ...]:
    return TEMPLATE_AFTER, 4 * TEMPLATE_AFTER, 16 * TEMPLATE_AFTER


def _closed_at(text: str, token: re.Match[str]) -> int:
    """Where a comment, a CDATA or an instruction ends; negative where it does not."""
    closer = _CLOSED_BY.get(token[0])
    end = -1 if closer is None else text.find(closer, token.end())
    return end if closer is None or end < 0 else end + len(closer)


def _first_taken(
    known: list[Template], text: str, begin: int, *, doubt: bool
) -> tuple[Template, Values, int] | None:
    """The first template that fits, and what it takes; it is the first to be tried for the next."""
    for rank, one in enumerate(known):
        taken = one.values(text, begin, doubt=doubt)
        if taken is not None:
            if rank:
                known.insert(0, known.pop(rank))
            return one, *taken
    return None


def _token(*names: str) -> re.Pattern[str]:
    """The next element of these names; or what may hold the same letters without being one."""
    named = f"(?P<prefix>(?:[\\w.-]+:)?)(?P<name>{'|'.join(names)})(?=[ >])"
    return re.compile(f"<(?:!--|!\\[CDATA\\[|[!?]|{named})")
