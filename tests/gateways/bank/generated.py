"""Files made up at random, each with what it says: well-formed camt of all forms, and MT940."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final
from xml.sax.saxutils import escape

from hypothesis import strategies as st

from gateways.bank.amounts import decimals
from tillkeeper.contracts.bank import BookingStatus, Side
from tillkeeper.contracts.receipt import PayerKind

Draw = st.DrawFn
MESSAGES: Final = {
    "camt.052": ("BkToCstmrAcctRpt", "Rpt"),
    "camt.053": ("BkToCstmrStmt", "Stmt"),
    "camt.054": ("BkToCstmrDbtCdtNtfctn", "Ntfctn"),
}
SIDES: Final = {"CRDT": Side.CREDIT, "DBIT": Side.DEBIT}
STATUSES: Final = {
    "BOOK": BookingStatus.BOOKED,
    "PDNG": BookingStatus.PENDING,
    "FUTR": BookingStatus.PENDING,
    "INFO": BookingStatus.INFORMATION,
}
KINDS: Final = {
    "": PayerKind.UNKNOWN,
    "OrgId": PayerKind.CORPORATE,
    "PrvtId": PayerKind.PERSONAL,
}
CURRENCIES: Final = ("CNY", "EUR", "JPY", "KWD")

letters: Final = st.sampled_from("aZ0 9&<>'\"/?+-.é甲乙公司（）€\u3000😀")
texts: Final = st.text(letters, min_size=1, max_size=12).map(str.strip).filter(bool)
ids: Final = st.text("ABCxyz0189/-.", min_size=1, max_size=16)
days: Final = st.dates(date(1999, 1, 1), date(2099, 12, 31))


@dataclass
class Made:
    """A file and the fields of each transaction that it says."""

    body: bytes
    said: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Style:
    """How one file writes what all write."""

    prefix: str
    gap: str
    new_party: bool
    odd: bool
    noise: int


def _node(style: _Style, name: str, *inner: str, **attributes: str) -> str:
    marks = "".join(f' {key}="{value}"' for key, value in attributes.items())
    if style.odd:
        marks += " x='a > b'"
    body = style.gap.join(inner)
    return f"<{style.prefix}{name}{marks}>{body}</{style.prefix}{name}>"


def _written(draw: Draw, style: _Style, value: str) -> str:
    """The value in one of the ways in which XML can say it."""
    way = draw(st.integers(0, 6)) if style.noise else 0
    if way == 1 and "]]>" not in value:
        return f"<![CDATA[{value}]]>"
    if way == 2:
        return "".join(f"&#{ord(sign)};" for sign in value)
    if way == 3:
        return f"{escape(value[:1])}<!-- <Nm>no</Nm> -->{escape(value[1:])}"
    if way == 4:
        return f"\n  {escape(value)}\t"
    if way == 5:
        return f"{escape(value)}<?no <Amt>1</Amt>?>"
    return escape(value)


def _amount(draw: Draw, style: _Style, minor: int, currency: str) -> str:
    digits = decimals(currency)
    whole, part = divmod(minor, 10**digits)
    text = f"{whole}.{part:0{digits}d}" if digits else str(whole)
    if style.noise and "." in text:
        text += draw(st.sampled_from(["", "0", "000"]))
    return _node(style, "Amt", _written(draw, style, text), Ccy=currency)


def _party(draw: Draw, style: _Style, role: str, said: dict[str, Any], name: str) -> list[str]:
    found = []
    if draw(st.booleans()):
        said[f"{name}_name"] = value = draw(texts)
        inner = [_node(style, "Nm", _written(draw, style, value))]
        kind = draw(st.sampled_from(sorted(KINDS)))
        if kind:
            inner.append(_node(style, "Id", _node(style, kind, _node(style, "Othr"))))
        if name == "debtor":
            said["payer_kind"] = KINDS[kind]
        if style.new_party:
            inner = [_node(style, "Pty", *inner)]
        found.append(_node(style, role, *inner))
    if draw(st.booleans()):
        said[f"{name}_account"] = value = draw(ids)
        number = _node(style, "IBAN", value)
        if draw(st.booleans()):
            number = _node(style, "Othr", _node(style, "Id", value))
        found.append(_node(style, f"{role}Acct", _node(style, "Id", number)))
    return found


def _part(draw: Draw, style: _Style, said: dict[str, Any], amount: str) -> str:
    """One ``TxDtls``; what it says goes into ``said``."""
    inner = []
    if draw(st.booleans()):
        said["end_to_end_id"], said["transaction_id"] = draw(ids), draw(ids)
        inner.append(
            _node(
                style,
                "Refs",
                _node(style, "EndToEndId", said["end_to_end_id"]),
                _node(style, "TxId", said["transaction_id"]),
            )
        )
    inner.append(amount)
    parties = _party(draw, style, "Dbtr", said, "debtor")
    parties += _party(draw, style, "Cdtr", said, "creditor")
    if parties:
        inner.append(_node(style, "RltdPties", *parties))
    if draw(st.booleans()):
        lines = draw(st.lists(texts, min_size=1, max_size=3))
        said["remittance"] = "\n".join(lines)
        inner.append(
            _node(
                style,
                "RmtInf",
                *[_node(style, "Ustrd", _written(draw, style, line)) for line in lines],
            )
        )
    if draw(st.booleans()):
        said["return_reason"] = "AC04"
        inner.append(_node(style, "RtrInf", _node(style, "Rsn", _node(style, "Cd", "AC04"))))
    return _node(style, "TxDtls", *inner)


def _parts(draw: Draw, style: _Style, entry: dict[str, Any], code: str) -> list[dict[str, Any]]:
    """The entry's transactions; their XML is under ``xml``."""
    count = draw(st.sampled_from([0, 1, 1, 1, 2, 5]))
    if count == 0:
        return [{**entry, "amount_minor": entry["entry_amount_minor"], "adds_up": True, "xml": ""}]
    total, currency = entry["entry_amount_minor"], entry["currency"]
    shares = [total // count] * count
    shares[-1] += total - sum(shares)
    other = draw(st.booleans()) and draw(st.booleans())
    if other:
        currency = "USD"
    found: list[dict[str, Any]] = []
    for share in shares:
        said = {**entry, "amount_minor": share, "currency": currency, "adds_up": not other}
        amount = _amount(draw, style, share, currency) + _node(style, "CdtDbtInd", code)
        if count == 1 and not other and draw(st.booleans()):
            amount = ""
        found.append({**said, "xml": _part(draw, style, said, amount), **said})
    return found


def _entry(draw: Draw, style: _Style) -> tuple[str, list[dict[str, Any]]]:
    currency, code = draw(st.sampled_from(CURRENCIES)), draw(st.sampled_from(sorted(SIDES)))
    status = draw(st.sampled_from(["BOOK", "BOOK", *sorted(STATUSES)]))
    entry: dict[str, Any] = {
        "entry_amount_minor": draw(st.integers(0, 10**12)),
        "currency": currency,
        "side": SIDES[code],
        "status": STATUSES[status],
        "reversal": draw(st.booleans()),
        "booking_date": draw(days),
    }
    inner = [
        _amount(draw, style, entry["entry_amount_minor"], currency),
        _node(style, "CdtDbtInd", code),
        _node(style, "RvslInd", "true" if entry["reversal"] else "false"),
        _node(style, "Sts", _node(style, "Cd", status) if style.new_party else status),
        _node(style, "BookgDt", _node(style, "Dt", entry["booking_date"].isoformat())),
    ]
    if draw(st.booleans()):
        entry["entry_bank_reference"] = entry["bank_reference"] = draw(ids)
        inner.append(_node(style, "AcctSvcrRef", entry["bank_reference"]))
    parts = _parts(draw, style, entry, code)
    if parts[0]["xml"]:
        inner.append(_node(style, "NtryDtls", *[part["xml"] for part in parts]))
    if draw(st.booleans()):
        information = draw(texts)
        inner.append(_node(style, "AddtlNtryInf", _written(draw, style, information)))
        for part in parts:
            part["information"] = information
    for number, part in enumerate(parts, start=1):
        del part["xml"]
        part.update(part=number, parts=len(parts))
    return _node(style, "Ntry", *inner), parts


@st.composite
def camt_files(draw: Draw) -> Made:
    """A camt file: any message, version, namespace, envelope, encoding, and ways of writing."""
    kind = draw(st.sampled_from(sorted(MESSAGES)))
    version = draw(st.sampled_from(["02", "04", "06", "08", "10", "13"]))
    prefix = draw(st.sampled_from(["", "ns2:", "p:"]))
    style = _Style(
        prefix=prefix,
        gap=draw(st.sampled_from(["", "\n", "\n<!-- <Ntry/> -->  "])),
        new_party=draw(st.booleans()),
        odd=draw(st.booleans()),
        noise=draw(st.integers(0, 1)),
    )
    message, container = MESSAGES[kind]
    made = Made(b"")
    statements = []
    for index in range(1, draw(st.integers(1, 3)) + 1):
        account = draw(ids)
        inner = [
            _node(style, "Id", str(index)),
            _node(style, "Acct", _node(style, "Id", _node(style, "IBAN", account))),
        ]
        forms = [_entry(draw, style) for _ in range(draw(st.integers(0, 4)))]
        # thousands of entries of one form are usual: some must come again and again
        order = draw(st.lists(st.sampled_from(forms), max_size=12)) if forms else []
        for number, (xml, parts) in enumerate([*forms, *order], start=1):
            inner.append(xml)
            place = {"statement": index, "entry": number, "account": account}
            made.said += [{**part, **place} for part in parts]
        statements.append(_node(style, container, *inner))
    space = f"urn:iso:std:iso:20022:tech:xsd:{kind}.001.{version}"
    name = f"xmlns:{prefix[:-1]}" if prefix else "xmlns"
    body = _node(style, message, *statements)
    body = f'<{prefix}Document {name}="{space}">{body}</{prefix}Document>'
    if draw(st.booleans()):
        body = f"<e:Envelope xmlns:e='urn:e'><e:Head/>{body}</e:Envelope>"
    encoding = draw(st.sampled_from(["UTF-8", "UTF-16", "GB18030"]))
    made.body = f'<?xml version="1.0" encoding="{encoding}"?>{body}'.encode(encoding)
    return made


@st.composite
def mt940_files(draw: Draw) -> Made:
    """MT940 statements in one file: every mark, with and without details, wrapped or not."""
    made, lines = Made(b""), []
    for index in range(1, draw(st.integers(1, 3)) + 1):
        account, currency = (
            draw(st.text("0189", min_size=4, max_size=20)),
            draw(st.sampled_from(CURRENCIES)),
        )
        day = draw(st.dates(date(2001, 1, 2), date(2098, 12, 30)))
        head = f":20:S{index}", f":25:{account}", f":28C:{index}/1"
        lines += [*head, f":60F:C{day:%y%m%d}{currency}0,"]
        for number in range(1, draw(st.integers(0, 6)) + 1):
            mark, side, reversal = draw(
                st.sampled_from(
                    [("C", Side.CREDIT, False), ("D", Side.DEBIT, False),
                     ("RC", Side.DEBIT, True), ("RD", Side.CREDIT, True)]
                )
            )  # fmt: skip
            minor = draw(st.integers(0, 10**11))
            reference = draw(st.text("ABC0189", min_size=1, max_size=14))
            whole, part = divmod(minor, 10 ** decimals(currency))
            digits = f"{part:0{decimals(currency)}d}" if decimals(currency) else ""
            lines.append(f":61:{day:%y%m%d%m%d}{mark}{whole},{digits}NTRFNONREF//{reference}")
            text = draw(st.text("abcXYZ 019.-甲乙", max_size=40).map(str.strip))
            if text:
                lines.append(f":86:{text}")
            made.said.append(
                {
                    "statement": index, "entry": number, "account": account, "line": len(lines)
                    - bool(text), "amount_minor": minor, "currency": currency, "side": side,
                    "reversal": reversal, "status": BookingStatus.BOOKED, "value_date": day,
                    "booking_date": day, "bank_reference": reference, "remittance": text,
                }
            )  # fmt: skip
        lines += [f":62F:C{day:%y%m%d}{currency}0,", "-"]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    made.body = end.join([*lines, ""]).encode()
    return made
