"""How our errors travel through Temporal, and back: the one table.

* Rejected     final; type = its first code, details = every reason
* Unavailable  retried for ever
* Broken       final; type = its code: a person must look
* any other    final; type = PROGRAMMING_ERROR: a person must look
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import TypeAdapter, ValidationError
from temporalio.exceptions import ApplicationError

from tillkeeper.contracts.errors import Broken, Code, Reason, Rejected, Unavailable

PROGRAMMING_ERROR: Final = "PROGRAMMING_ERROR"

_REASONS: Final = TypeAdapter(tuple[Reason, ...])


def as_failure(error: Exception) -> ApplicationError:
    """The Temporal failure for any error of ours; texts of unknown errors stay behind."""
    match error:
        case ApplicationError():
            return error
        case Rejected():
            reasons = [reason.model_dump(mode="json") for reason in error.reasons]
            kind = error.codes[0].value if error.codes else Code.INPUT_NOT_UNDERSTOOD.value
            return ApplicationError(str(error), reasons, type=kind, non_retryable=True)
        case Unavailable():
            return ApplicationError(str(error), type=error.code.value)
        case Broken():
            return ApplicationError(str(error), type=error.code.value, non_retryable=True)
        case _:
            name = type(error).__name__
            return ApplicationError(name, type=PROGRAMMING_ERROR, non_retryable=True)


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turn a refusal inside into the failure that the caller of an update hears."""
    try:
        yield
    except Rejected as refusal:
        raise as_failure(refusal) from None


def refusal_in(error: BaseException | None) -> Rejected | None:
    """The refusal that ``error`` or one of its causes carries, with every reason; else None."""
    while error is not None:
        if isinstance(error, ApplicationError) and error.details:
            try:
                return Rejected(*_REASONS.validate_python(error.details[0]))
            except ValidationError:
                return None
        error = error.__cause__
    return None


def kind_of(error: BaseException | None) -> str:
    """Type of the first application failure, for people: BOOK_BROKEN, PROGRAMMING_ERROR, …"""
    cause = error
    while cause is not None:
        if isinstance(cause, ApplicationError) and cause.type:
            return cause.type
        cause = cause.__cause__
    return type(error).__name__
