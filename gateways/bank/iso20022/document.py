"""Streams the elements of an ISO 20022 file: hostile, broken or unmarked input is refused by code.

Follows no entity, no DTD and no network address, and holds only what the reader has not yet
cleared. Nothing of a file may be used before the stream has ended well.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, Literal, Protocol

from lxml import etree

from tillkeeper.contracts.bank import FileKind
from tillkeeper.contracts.errors import Code, Rejected

FILE_BYTES_MAX: Final = 128 * 1024 * 1024
HEAD_BYTES: Final = 64 * 1024
CHUNK_BYTES: Final = 256 * 1024
ENVELOPE_ELEMENTS_MAX: Final = 200

_MESSAGES: Final = {
    "BkToCstmrAcctRpt": FileKind.CAMT_052,
    "BkToCstmrStmt": FileKind.CAMT_053,
    "BkToCstmrDbtCdtNtfctn": FileKind.CAMT_054,
    "CstmrPmtStsRpt": FileKind.PAIN_002,
}
_ENCODINGS: Final = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "utf-16", "gb18030", "gbk", "gb2312", "big5"}
    | {"iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1252"}
)
_VERSION: Final = re.compile(r"(?:camt\.05[234]|pain\.002)\.\d{3}\.\d{2}", re.ASCII)
_VERSION_SUFFIX: Final = re.compile(r"V\d\d$", re.ASCII)
_DECLARED: Final = re.compile(
    rb"^<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']"
)
_WIDE_BOMS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DEPTH: Final = "Excessive depth"


class Sieve(Protocol):
    """Takes something out of a file before the parser sees it."""

    def condensed(self, piece: bytes) -> bytes:
        """What the parser shall see after the next piece of the file; may be nothing yet."""
        raise NotImplementedError

    def rest(self) -> bytes:
        """What it shall see after the last one."""
        raise NotImplementedError


class Document:
    """One file being read: its kind, its version, and its elements as they end.

    ``size`` is how many bytes of it have been read so far.
    """

    def __init__(self, source: BinaryIO, *, head: bytes) -> None:
        _check_encoding(head)
        self._source = source
        self._head = head
        self._digest = hashlib.sha256()
        self.size = 0
        self.kind, self.version = _kind_of(head)
        self.root: etree._Element | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes read so far, in hexadecimal."""
        return self._digest.hexdigest()

    def elements(self, *names: str) -> Iterator[etree._Element]:
        """Each element of these local names as it ends, in any namespace.

        Raises Rejected(BANK_FILE_…) when the file turns out broken: drop all that came before.
        """
        parser = _parser("end", [f"{{*}}{name}" for name in names])
        for _ in self._fed(parser):
            yield from _met(parser)

    def growth(self, *names: str, sieve: Sieve | None = None) -> Iterator[list[etree._Element]]:
        """After each piece of the file, the elements of these local names that begin in it.

        They grow while the file goes on: of what is inside only that which a sibling follows has
        ended, and nothing else may be changed. After the last piece all have ended. Costs half of
        what ``elements`` costs. The parser sees what ``sieve`` leaves. Raises as ``elements`` does.
        """
        parser = _parser("start", [f"{{*}}{name}" for name in names])
        for _ in self._fed(parser, sieve):
            yield list(_met(parser))

    def _fed(self, parser: etree.XMLPullParser, sieve: Sieve | None = None) -> Iterator[None]:
        """Feed the file to ``parser``, piece by piece, and end it."""
        chunk = self._head
        while chunk:
            self.size += len(chunk)
            if self.size > FILE_BYTES_MAX:
                raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 128 MiB in one file")
            self._digest.update(chunk)
            _feed(parser, chunk if sieve is None else sieve.condensed(chunk))
            yield
            chunk = self._source.read(CHUNK_BYTES)
        _feed(parser, b"" if sieve is None else sieve.rest())
        self.root = _finish(parser)
        yield


def local(element: etree._Element) -> str:
    """The element's name without its namespace; empty for comments and instructions."""
    tag = element.tag
    return tag[tag.rfind("}") + 1 :] if isinstance(tag, str) else ""


def namespace(element: etree._Element) -> str:
    """The element's namespace as the file has it, which may be no proper one; empty without."""
    tag = element.tag
    return tag[1 : tag.rfind("}")] if isinstance(tag, str) and "}" in tag else ""


def release(element: etree._Element) -> None:
    """Forget an element that was read, and the like ones before it, so that memory stays flat."""
    element.clear()
    before = element.getprevious()
    if before is not None and before.tag == element.tag:
        parent = element.getparent()
        if parent is not None:
            parent.remove(before)


def line_of(element: etree._Element) -> int | None:
    """The line on which the element begins."""
    line: object = element.sourceline
    return line if isinstance(line, int) else None


def _met(parser: etree.XMLPullParser) -> Iterator[etree._Element]:
    for _, element in parser.read_events():
        if isinstance(element, etree._Element):
            yield element


def _parser(event: Literal["start", "end"], tags: Sequence[str] | None) -> etree.XMLPullParser:
    return etree.XMLPullParser(
        events=(event,),
        tag=tags,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def piece_of(text: str) -> etree._Element:
    """The element that stands in ``text``, which is a piece of a file. Raises XMLSyntaxError."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    return etree.fromstring(text, parser)


def _feed(parser: etree.XMLPullParser, chunk: bytes) -> None:
    if not chunk:
        return
    try:
        parser.feed(chunk)
    except etree.XMLSyntaxError as error:
        raise _refusal(error) from None


def _finish(parser: etree.XMLPullParser) -> etree._Element | None:
    try:
        root = parser.close()
    except etree.XMLSyntaxError as error:
        if _code(error) in (etree.ErrorTypes.ERR_INTERNAL_ERROR, etree.ErrorTypes.WAR_NS_URI):
            raise Rejected(Code.BANK_FILE_MALFORMED, detail="no well-formed XML") from None
        raise Rejected(Code.BANK_FILE_TRUNCATED, detail="the file ends too early") from None
    return root if isinstance(root, etree._Element) else None


def _code(error: etree.XMLSyntaxError) -> int:
    """The number that libxml2 gives the error."""
    return int(getattr(error, "code", 0) or 0)


def _refusal(error: etree.XMLSyntaxError) -> Rejected:
    """The code for what libxml2 says; its own text may quote the file and is not repeated."""
    line = f"line {error.lineno or 0}"
    code = _code(error)
    if code == etree.ErrorTypes.ERR_RESOURCE_LIMIT:
        if _DEPTH in str(error.msg):
            return Rejected(Code.BANK_FILE_TOO_DEEP, detail=f"elements in elements, {line}")
        return Rejected(Code.BANK_FILE_TOO_LARGE, detail=f"too long a text, {line}")
    if code in _ENCODING_ERRORS:
        return Rejected(Code.BANK_FILE_ENCODING, detail=f"bytes that are not text, {line}")
    return Rejected(Code.BANK_FILE_MALFORMED, detail=f"no well-formed XML, {line}")


_ENCODING_ERRORS: Final = frozenset(
    {
        etree.ErrorTypes.ERR_INVALID_ENCODING,
        etree.ErrorTypes.ERR_UNSUPPORTED_ENCODING,
        etree.ErrorTypes.ERR_UNKNOWN_ENCODING,
        etree.ErrorTypes.I18N_CONV_FAILED,
    }
)


def _check_encoding(head: bytes) -> None:
    """Refuse what is neither marked nor UTF-8, and any DOCTYPE before a parser has seen it."""
    plain = head.replace(b"\0", b"")
    if b"<!DOCTYPE" in plain.upper():
        raise Rejected(Code.BANK_FILE_DOCTYPE, detail="a bank's file has no document type")
    if head.startswith(_WIDE_BOMS):
        return
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:2].count(b"\0"):
        raise Rejected(Code.BANK_FILE_ENCODING, detail="UTF-16 needs its mark")
    declared = _DECLARED.match(head.removeprefix(codecs.BOM_UTF8).lstrip())
    if declared and declared[1].decode("ascii").lower() not in _ENCODINGS:
        raise Rejected(Code.BANK_FILE_ENCODING, detail="not an encoding that is read here")


def _kind_of(head: bytes) -> tuple[FileKind, str | None]:
    """Kind and version by the message element, however many envelopes stand around it."""
    parser = _parser("start", None)
    _feed(parser, head)
    for count, element in enumerate(_met(parser)):
        if element.getroottree().docinfo.internalDTD is not None:
            raise Rejected(Code.BANK_FILE_DOCTYPE, detail="a bank's file has no document type")
        kind = _MESSAGES.get(_VERSION_SUFFIX.sub("", local(element)))
        if kind is not None:
            found = _VERSION.search(namespace(element))
            return kind, found[0] if found else None
        if count > ENVELOPE_ELEMENTS_MAX:
            break
    raise Rejected(
        Code.BANK_FILE_KIND_UNKNOWN, detail="neither camt.052, camt.053, camt.054 nor pain.002"
    )
