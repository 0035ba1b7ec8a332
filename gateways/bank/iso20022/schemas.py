"""Checks a file that was read against the official schema of its version: a note, never a gate.

Banks leave elements out and add their own, and their files must be read all the same. A note names
the line and the kind of flaw, and repeats nothing of the file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

from lxml import etree

from gateways.bank.findings import Findings
from gateways.bank.iso20022.document import local
from tillkeeper.contracts.errors import Code

CHECKED_BYTES_MAX: Final = 16 * 1024 * 1024


def note_schema(source: BinaryIO, *, version: str | None, folder: Path, findings: Findings) -> None:
    """Add a BANK_FILE_SCHEMA warning where the file breaks ``<version>.xsd`` in ``folder``.

    One too where it was not checked: no such schema, no version, or more than 16 MiB.
    """
    body = source.read(CHECKED_BYTES_MAX + 1)
    if len(body) > CHECKED_BYTES_MAX:
        _note(findings, "not checked: more than 16 MiB")
        return
    schema = _schema(folder / f"{version}.xsd") if version else None
    if schema is None:
        _note(findings, f"not checked: no schema of {version or 'no version'} that can be read")
        return
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        document = _document(etree.fromstring(body, parser))
    except etree.XMLSyntaxError:
        _note(findings, "not checked: not one document")
        return
    if not schema.validate(document):
        log: Any = schema.error_log
        flaws = list(log)
        kind = flaws[0].type_name if flaws else "unknown"
        line = flaws[0].line if flaws else None
        _note(findings, f"{len(flaws)} flaw(s) by the schema of {version}: first {kind}", line)


def _note(findings: Findings, detail: str, line: int | None = None) -> None:
    findings.warn(Code.BANK_FILE_SCHEMA, "file", detail=detail, line=line)


def _document(root: etree._Element) -> etree._Element:
    """The message itself, whatever envelope stands around it."""
    for element in root.iter("{*}Document"):
        if local(element) == "Document":
            return element
    return root


@lru_cache(maxsize=32)
def _schema(path: Path) -> etree.XMLSchema | None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.XMLSchema(etree.parse(str(path), parser))
    except (OSError, etree.LxmlError):
        return None
