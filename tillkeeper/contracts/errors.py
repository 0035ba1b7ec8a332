"""Every error that may leave a door, with its stable code. Codes are never renamed or reused.

* TillkeeperError
  x Rejected       the caller's fault or a rule's no: final, nothing changed
  x Unavailable    something of ours is down: the same call may be sent again
  x Unclear        the effect outside is unknown: ask, never send again blind
  x Broken         an invariant does not hold: stop, page a person
    + BookBroken     the book contradicts itself
    + SealBroken     sealed data was altered, or opened for another purpose
    + KeyUnknown     sealed with a key that the ring does not hold
    + TimeForged     a command of another time than the server's
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, ClassVar, LiteralString

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError


class Code(StrEnum):
    """Stable codes of refusals, by the thing that is wrong."""

    # shape of the input
    AMOUNT_NOT_INTEGER = "AMOUNT_NOT_INTEGER"
    AMOUNT_NOT_POSITIVE = "AMOUNT_NOT_POSITIVE"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    AMOUNT_MALFORMED = "AMOUNT_MALFORMED"
    AMOUNT_TOO_PRECISE = "AMOUNT_TOO_PRECISE"
    CURRENCY_UNKNOWN = "CURRENCY_UNKNOWN"
    ID_MALFORMED = "ID_MALFORMED"
    TEXT_EMPTY = "TEXT_EMPTY"
    TEXT_TOO_LONG = "TEXT_TOO_LONG"
    TEXT_NOT_PRINTABLE = "TEXT_NOT_PRINTABLE"
    TIME_NAIVE = "TIME_NAIVE"
    TIME_OUT_OF_RANGE = "TIME_OUT_OF_RANGE"
    FIELD_UNKNOWN = "FIELD_UNKNOWN"
    FIELD_MISSING = "FIELD_MISSING"
    FIELD_INVALID = "FIELD_INVALID"
    INPUT_NOT_UNDERSTOOD = "INPUT_NOT_UNDERSTOOD"
    WORKFLOW_ID_MISMATCH = "WORKFLOW_ID_MISMATCH"
    # the same key, another body (C-02)
    KEY_REUSED = "KEY_REUSED"
    # opening and configuring an account (P-01 … P-11)
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    NAME_MISMATCH = "NAME_MISMATCH"
    BANK_DETAILS_NOT_WIRE = "BANK_DETAILS_NOT_WIRE"
    BANK_DETAILS_NOT_EFFECTIVE = "BANK_DETAILS_NOT_EFFECTIVE"
    ALERT_NOT_CONFIGURED = "ALERT_NOT_CONFIGURED"
    NOT_CONFIGURABLE = "NOT_CONFIGURABLE"
    BELOW_SUSPENSION = "BELOW_SUSPENSION"
    CONTACT_LIMIT_3 = "CONTACT_LIMIT_3"
    CONTACT_REQUIRED = "CONTACT_REQUIRED"
    CONTACT_UNREACHABLE = "CONTACT_UNREACHABLE"
    CONTACT_UNKNOWN = "CONTACT_UNKNOWN"
    ACCOUNT_NOT_OPENED = "ACCOUNT_NOT_OPENED"
    ACCOUNT_NOT_ACTIVE = "ACCOUNT_NOT_ACTIVE"
    ACCOUNT_ABNORMAL = "ACCOUNT_ABNORMAL"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    BALANCE_NOT_ZERO = "BALANCE_NOT_ZERO"
    FUNDS_FROZEN = "FUNDS_FROZEN"
    WITHDRAWAL_IN_PROGRESS = "WITHDRAWAL_IN_PROGRESS"
    DUES_OUTSTANDING = "DUES_OUTSTANDING"
    OPEN_TOPUP_REQUEST = "OPEN_TOPUP_REQUEST"
    # top-ups and receipts (P-20 … P-32)
    METHOD_NOT_SUPPORTED = "METHOD_NOT_SUPPORTED"
    BELOW_MIN_TOPUP = "BELOW_MIN_TOPUP"
    DUPLICATE_OPEN_REQUEST = "DUPLICATE_OPEN_REQUEST"
    REQUEST_UNKNOWN = "REQUEST_UNKNOWN"
    REQUEST_DECIDED = "REQUEST_DECIDED"
    WRONG_ACCOUNT = "WRONG_ACCOUNT"
    # reasons why a receipt stays unmatched
    PAYER_NAME_MISMATCH = "PAYER_NAME_MISMATCH"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    NOT_CORPORATE = "NOT_CORPORATE"
    REQUEST_EXPIRED = "REQUEST_EXPIRED"
    AMBIGUOUS = "AMBIGUOUS"
    NO_OPEN_REQUEST = "NO_OPEN_REQUEST"
    PAYER_UNKNOWN = "PAYER_UNKNOWN"
    # what people decide at the desk (P-29, C-05, C-07)
    ITEM_UNKNOWN = "ITEM_UNKNOWN"
    ITEM_CLOSED = "ITEM_CLOSED"
    ITEM_OWNED = "ITEM_OWNED"
    ITEM_NOT_PROPOSED = "ITEM_NOT_PROPOSED"
    ITEM_PROPOSED = "ITEM_PROPOSED"
    ACTION_NOT_ALLOWED = "ACTION_NOT_ALLOWED"
    TARGET_MISSING = "TARGET_MISSING"
    PROPOSAL_STALE = "PROPOSAL_STALE"
    OWN_PROPOSAL = "OWN_PROPOSAL"
    RECEIPT_UNKNOWN = "RECEIPT_UNKNOWN"
    RECEIPT_DECIDED = "RECEIPT_DECIDED"
    # payments out (C-12, C-13)
    PAYMENT_UNKNOWN = "PAYMENT_UNKNOWN"
    PAYMENT_DATA_MISSING = "PAYMENT_DATA_MISSING"
    PAYMENT_FILE_INVALID = "PAYMENT_FILE_INVALID"
    BANK_ACCOUNT_UNKNOWN = "BANK_ACCOUNT_UNKNOWN"
    BANK_EXCHANGE_MISSING = "BANK_EXCHANGE_MISSING"
    BANK_DOOR_MISSING = "BANK_DOOR_MISSING"
    PAYMENT_NAMED = "PAYMENT_NAMED"
    DEBIT_OF_ANOTHER = "DEBIT_OF_ANOTHER"
    FILES_UNREAD = "FILES_UNREAD"
    # withdrawals (P-65 … P-74)
    INSUFFICIENT_AVAILABLE = "INSUFFICIENT_AVAILABLE"
    BELOW_MIN_WITHDRAWAL = "BELOW_MIN_WITHDRAWAL"
    ABOVE_DAILY_WITHDRAWAL = "ABOVE_DAILY_WITHDRAWAL"
    WOULD_SUSPEND_CAMPAIGNS = "WOULD_SUSPEND_CAMPAIGNS"
    BANK_DETAILS_FRESH = "BANK_DETAILS_FRESH"
    # who decides (C-07)
    TOKEN_MISSING = "TOKEN_MISSING"  # noqa: S105 - a code, no token
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105
    TOKEN_SPENT = "TOKEN_SPENT"  # noqa: S105
    TOKEN_UNBOUND = "TOKEN_UNBOUND"  # noqa: S105
    ROLE_MISSING = "ROLE_MISSING"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    OWN_REQUEST = "OWN_REQUEST"
    ALREADY_DECIDED = "ALREADY_DECIDED"
    DECISION_STALE = "DECISION_STALE"
    REASON_MISSING = "REASON_MISSING"
    # orders (P-40 … P-50.2)
    INSTALMENTS_NOT_PRICED = "INSTALMENTS_NOT_PRICED"
    EXCEEDS_HELD = "EXCEEDS_HELD"
    EXCEEDS_SETTLED = "EXCEEDS_SETTLED"
    ORDER_ALREADY_HELD = "ORDER_ALREADY_HELD"
    FORMER_BILLING_MODE = "FORMER_BILLING_MODE"
    RETURN_WITHOUT_ORDER = "RETURN_WITHOUT_ORDER"
    ORDER_REFUSED = "ORDER_REFUSED"
    EVENT_UNKNOWN = "EVENT_UNKNOWN"
    ROW_MALFORMED = "ROW_MALFORMED"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    FILE_UNREADABLE = "FILE_UNREADABLE"
    FILE_TRUNCATED = "FILE_TRUNCATED"
    FILE_EXISTS = "FILE_EXISTS"
    FILE_UNWRITABLE = "FILE_UNWRITABLE"
    # a bank's file, refused as a whole
    BANK_FILE_EMPTY = "BANK_FILE_EMPTY"
    BANK_FILE_TOO_LARGE = "BANK_FILE_TOO_LARGE"
    BANK_FILE_TOO_DEEP = "BANK_FILE_TOO_DEEP"
    BANK_FILE_DOCTYPE = "BANK_FILE_DOCTYPE"
    BANK_FILE_ENCODING = "BANK_FILE_ENCODING"
    BANK_FILE_MALFORMED = "BANK_FILE_MALFORMED"
    BANK_FILE_TRUNCATED = "BANK_FILE_TRUNCATED"
    BANK_FILE_KIND_UNKNOWN = "BANK_FILE_KIND_UNKNOWN"
    # a loss in a bank's file that is read otherwise
    BANK_FILE_AMOUNT = "BANK_FILE_AMOUNT"
    BANK_FILE_SIDE = "BANK_FILE_SIDE"
    BANK_FILE_STATUS = "BANK_FILE_STATUS"
    BANK_FILE_DATE = "BANK_FILE_DATE"
    BANK_FILE_BALANCE = "BANK_FILE_BALANCE"
    BANK_FILE_LINE = "BANK_FILE_LINE"
    BANK_FILE_HEADER = "BANK_FILE_HEADER"
    # odd, but nothing is lost
    BANK_FILE_PARTS_DIFFER = "BANK_FILE_PARTS_DIFFER"
    BANK_FILE_NO_STATUS = "BANK_FILE_NO_STATUS"
    BANK_FILE_SCHEMA = "BANK_FILE_SCHEMA"
    BANK_FILE_UNKNOWN = "BANK_FILE_UNKNOWN"
    # the book
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    BOOK_ACCOUNT_UNKNOWN = "BOOK_ACCOUNT_UNKNOWN"
    LINKED_REFUSED = "LINKED_REFUSED"
    TOO_MANY = "TOO_MANY"
    # where we stand
    UNAVAILABLE = "UNAVAILABLE"
    UNCLEAR = "UNCLEAR"
    BROKEN = "BROKEN"
    BOOK_BROKEN = "BOOK_BROKEN"
    SEAL_BROKEN = "SEAL_BROKEN"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    COMMAND_TIME = "COMMAND_TIME"
    SETTINGS_INVALID = "SETTINGS_INVALID"


class Reason(BaseModel):
    """One reason of a refusal: a stable code and a sentence without personal data."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: Code
    detail: str = ""


class TillkeeperError(Exception):
    """Root of all errors that this package raises on purpose."""

    code: ClassVar[Code]


class Rejected(TillkeeperError):  # noqa: N818 - design's own words
    """Refused for good; nothing changed. Carries all failing reasons at once."""

    def __init__(self, *reasons: Reason | Code, detail: str = "") -> None:
        self.reasons = tuple(
            r if isinstance(r, Reason) else Reason(code=r, detail=detail) for r in reasons
        )
        super().__init__(
            "; ".join(f"{r.code}: {r.detail}" if r.detail else r.code for r in self.reasons)
        )

    @property
    def codes(self) -> tuple[Code, ...]:
        """The stable codes, in the order in which the rules were checked."""
        return tuple(r.code for r in self.reasons)


class Unavailable(TillkeeperError):  # noqa: N818 - design's own words
    """Something of ours does not answer; sending the same call again is safe."""

    code = Code.UNAVAILABLE


class Unclear(TillkeeperError):  # noqa: N818 - design's own words
    """Whether an effect outside happened is unknown; find out before anything is sent again."""

    code = Code.UNCLEAR


class Broken(TillkeeperError):  # noqa: N818 - design's own words
    """An invariant does not hold; retrying cannot help, a person must look."""

    code = Code.BROKEN


class BookBroken(Broken):
    """The book contradicts itself."""

    code = Code.BOOK_BROKEN


class SealBroken(Broken):
    """Sealed data was altered or is opened for another purpose than it was sealed for."""

    code = Code.SEAL_BROKEN


class KeyUnknown(Broken):
    """Data was sealed with a key that the key ring does not hold."""

    code = Code.KEY_UNKNOWN


class TimeForged(Broken):
    """A command says another time than the Temporal server that asked for it."""

    code = Code.COMMAND_TIME


_CODES = frozenset(code.value for code in Code)
_PYDANTIC_CODES = {
    "extra_forbidden": Code.FIELD_UNKNOWN,
    "missing": Code.FIELD_MISSING,
    "json_invalid": Code.INPUT_NOT_UNDERSTOOD,
}


def flaw(code: Code, sentence: LiteralString) -> PydanticCustomError:
    """What a validator raises: pydantic carries our code as the type of its error."""
    kind: Any = code.value
    return PydanticCustomError(kind, sentence)


def rejected_from(error: ValidationError) -> Rejected:
    """The refusal for input that does not parse; the sentence never repeats the input's values."""
    return Rejected(*_reasons(error))


def _reasons(error: ValidationError) -> Iterable[Reason]:
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        kind = item["type"]
        where = ".".join(str(part) for part in item["loc"]) or "input"
        code = Code(kind) if kind in _CODES else _PYDANTIC_CODES.get(kind, Code.FIELD_INVALID)
        yield Reason(code=code, detail=f"{where}: {item['msg']}")
