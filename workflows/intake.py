"""Reads what arrives from outside: start input, signals and updates come as raw payloads.

Promises that nothing unreadable can wedge a workflow: it is refused where a caller waits for the
answer, and noted where nobody does. It never repeats what a payload holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from tillkeeper.contracts.base import Model, json_at_the_door
from tillkeeper.contracts.errors import Code, Reason, Rejected, rejected_from
from tillkeeper.failures import refusals_told

M = TypeVar("M", bound=Model)

NOTHING: Final = RawValue(Payload())
"""Stands for an input that was not given at all."""

_JSON: Final = b"json/plain"
SEALED: Final = b"binary/encrypted"
"""How the codec marks what it sealed (tillkeeper.codec)."""


def understood(raw: RawValue, model: type[M]) -> M:
    """``raw`` as ``model``, ignoring unknown fields, as histories need it. Raises Rejected."""
    try:
        return model.model_validate_json(_json(raw, model))
    except ValidationError as error:
        raise rejected_from(error) from None


def start_input(
    raw: RawValue, model: type[M], id_of: Callable[[M], str]
) -> tuple[M | None, Rejected | None]:
    """The start input, or the refusal that the run must end with.

    Whoever starts a workflow by hand may give it any id; only its input's business id is right.
    """
    try:
        given = understood(raw, model)
    except Rejected as refusal:
        return None, Rejected(Code.INPUT_NOT_UNDERSTOOD, detail=str(refusal))
    if workflow.info().workflow_id != id_of(given):
        return None, Rejected(Code.WORKFLOW_ID_MISMATCH, detail="the id is not the input's")
    return given, None


def is_sealed(payload: Payload) -> bool:
    """Whether the codec left the payload closed: no key of this worker opens it."""
    return payload.metadata.get("encoding") == SEALED


def at_the_update_door(model: type[Model]) -> Any:  # the SDK has no name for its type
    """A validator that refuses what does not parse, and unknown fields too.

    Validators run once, when the update arrives, and never in a replay: here strictness is safe.
    """

    class Door:
        # A method in form, as the SDK compares signatures: `self` is the workflow.
        def validate(self, raw: RawValue) -> None:
            with refusals_told():
                json_at_the_door(model, _json(raw, model))

    return Door.validate


def _json(raw: RawValue, model: type[Model]) -> bytes:
    """The text of a payload in clear; a payload that no key opened is not understood."""
    if raw.payload.metadata.get("encoding") != _JSON:
        detail = f"not readable as {model.__name__}"
        raise Rejected(Reason(code=Code.INPUT_NOT_UNDERSTOOD, detail=detail))
    return raw.payload.data
