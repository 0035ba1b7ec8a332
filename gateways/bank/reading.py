"""Reads a bank's file whatever its kind: sniffs, dispatches, and lets no error but ours out.

Nothing is taken of a file that is refused; of a file that is read, every loss is in ``problems``.
"""

from __future__ import annotations

import codecs
import hashlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from gateways.bank.findings import Findings
from gateways.bank.iso20022.camt import read_camt
from gateways.bank.iso20022.document import FILE_BYTES_MAX, HEAD_BYTES, Document
from gateways.bank.iso20022.pain002 import StatusReader
from gateways.bank.iso20022.schemas import note_schema
from gateways.bank.mt940 import Mt940Reader, looks_like_mt940
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.errors import Code, Rejected

SWIFT_BYTES_MAX: Final = 32 * 1024 * 1024
LINES_NAMED_MAX: Final = 50
_UNPACKING: Final = frozenset(
    {"unicode-escape", "raw-unicode-escape", "utf-7", "hz", "idna", "punycode"}
)
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bank_file(
    path: Path, *, encoding: str | None = None, schemas: Path | None = None
) -> BankFile:
    """Everything that the file at ``path`` says.

    ``encoding`` declares the letters of an MT940, which cannot say it itself (UTF-8 otherwise).
    ``schemas``: a folder of official schemas, ``camt.053.001.08.xsd``; a file that breaks its own
    gets a warning and is read all the same. Raises Rejected(FILE_UNREADABLE | BANK_FILE_…).
    """
    with _opened(path) as source:
        try:
            return read_bank_stream(source, encoding=encoding, schemas=schemas)
        except OSError as error:
            raise Rejected(Code.FILE_UNREADABLE, detail="the file cannot be read") from error


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise Rejected(Code.FILE_UNREADABLE, detail="there is no such file")
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 128 MiB in one file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise Rejected(Code.FILE_UNREADABLE, detail="the file cannot be opened") from error


def read_bank_bytes(
    body: bytes, *, encoding: str | None = None, schemas: Path | None = None
) -> BankFile:
    """As ``read_bank_file``, for a body that is in memory."""
    return read_bank_stream(BytesIO(body), encoding=encoding, schemas=schemas)


def read_bank_stream(
    source: BinaryIO, *, encoding: str | None = None, schemas: Path | None = None
) -> BankFile:
    """As ``read_bank_file``, for an open binary file; with ``schemas`` it is read again."""
    head = source.read(HEAD_BYTES)
    if not head.strip():
        raise Rejected(Code.BANK_FILE_EMPTY, detail="the file is empty")
    if _is_xml(head):
        document = Document(source, head=head)
        status = document.kind is FileKind.PAIN_002
        found = StatusReader(document).read() if status else read_camt(source, head)
        return found if schemas is None else _checked(found, source, schemas)
    return _read_swift(head, source, encoding)


def _is_xml(head: bytes) -> bool:
    start = head.removeprefix(codecs.BOM_UTF8).replace(b"\0", b"").lstrip()
    return head.startswith(_WIDE) or start.startswith(b"<")


def _checked(found: BankFile, source: BinaryIO, schemas: Path) -> BankFile:
    findings = Findings()
    source.seek(0)
    note_schema(source, version=found.version, folder=schemas, findings=findings)
    return found.model_copy(update={"warnings": (*found.warnings, *findings.warnings)})


def _read_swift(head: bytes, source: BinaryIO, encoding: str | None) -> BankFile:
    body = head + source.read(SWIFT_BYTES_MAX + 1 - len(head))
    if len(body) > SWIFT_BYTES_MAX:
        raise Rejected(Code.BANK_FILE_TOO_LARGE, detail="at most 32 MiB in one MT940 file")
    findings = Findings()
    text = _decoded(body, encoding, findings)
    if not looks_like_mt940(text):
        raise Rejected(
            Code.BANK_FILE_KIND_UNKNOWN, detail="neither ISO 20022 nor MT940 can be seen in it"
        )
    digest = hashlib.sha256(body).hexdigest()
    return Mt940Reader(text, digest=digest, findings=findings).read()


def is_charset(name: str) -> bool:
    """Whether ``name`` is an encoding that gives letters, and none that unpacks them from text.

    By an escape in his text a payer could begin a line, and a field, of his own.
    """
    try:
        return codecs.lookup(name).name not in _UNPACKING
    except (LookupError, ValueError):
        return False


def _decoded(body: bytes, encoding: str | None, findings: Findings) -> str:
    """The file's text; letters that are no UTF-8 are lost and told, for a guess may be a lie."""
    if encoding is not None and not is_charset(encoding):
        raise Rejected(Code.BANK_FILE_ENCODING, detail="not an encoding that is known")
    try:
        text = body.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError:
        if encoding is not None:
            detail = "the file is not in the encoding declared"
            raise Rejected(Code.BANK_FILE_ENCODING, detail=detail) from None
        text = body.decode("utf-8-sig", errors="replace")
        _tell_lost_letters(body, findings)
    except (LookupError, ValueError):
        raise Rejected(Code.BANK_FILE_ENCODING, detail="not an encoding that is known") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _tell_lost_letters(body: bytes, findings: Findings) -> None:
    lines = []
    for number, line in enumerate(body.replace(b"\r\n", b"\n").split(b"\n"), start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            lines.append(number)
    named = ", ".join(map(str, lines[:LINES_NAMED_MAX]))
    more = f" and {len(lines) - LINES_NAMED_MAX} more" if len(lines) > LINES_NAMED_MAX else ""
    findings.lose(
        Code.BANK_FILE_ENCODING,
        "file",
        detail=f"letters that are not UTF-8 in lines {named}{more}: declare the encoding",
        line=lines[0] if lines else None,
    )
