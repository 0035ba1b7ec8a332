"""Which decision a token of ``token issue`` is to be good for: what stands now, or what was typed.

It reads what stands in the database, decides nothing, and lets no option pass that would not count.
A digest may be given by its first letters; it is completed from what stands, or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from console.asking import fields_from, identifier, read_model
from console.connection import House
from console.withdrawal import recorded
from ledger.engine import in_transaction
from ledger.policies import recorded_change
from ledger.workitems import ItemRows, item_view
from tillkeeper.contracts.actor import Decision
from tillkeeper.contracts.approval import Decide, DecidePolicy, Delegate, ProposePolicy
from tillkeeper.contracts.binding import (
    delegation_decision,
    item_approval,
    item_proposal,
    item_rejection,
    policy_decision,
    policy_proposal,
    withdrawal_decision,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.money import parse_amount
from tillkeeper.contracts.withdrawal import WithdrawalView
from tillkeeper.contracts.workitem import Approve, ItemAction, ProposalView, Propose, ReturnTo

SHOWN_CHARS_MIN: Final = 12
"""How much of a digest has to be repeated."""

NO_PAYEE: Final = "no-payee-bound"
"""What a decision names where no payee stands: only a no can take effect there."""

_DIGEST_CHARS: Final = 64
_ANY: Final = "any"
"""The reason, or the actor, of a body whose decision does not name it."""


class Word(StrEnum):
    """What is said of a thing."""

    PROPOSE = "propose"
    APPROVE = "approve"
    REJECT = "reject"
    DELEGATE = "delegate"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed after ``--for`` and ``--verdict``; None: not given."""

    amount: str | None = None
    currency: str | None = None
    shown: str | None = None
    policy: Path | None = None
    effective_from: datetime | None = None
    action: ItemAction | None = None
    target: str | None = None
    to: str | None = None
    lend: tuple[str, ...] | None = None
    until: datetime | None = None
    reason: str | None = None

    def given(self) -> set[str]:
        """The names of what was typed."""
        return {name for name in self.__slots__ if getattr(self, name) is not None}


_WITHDRAWAL: Final = frozenset({"amount", "currency", "shown"})
_TAKES: Final = {
    ("withdrawal", Word.APPROVE): _WITHDRAWAL,
    ("withdrawal", Word.REJECT): _WITHDRAWAL,
    ("policy", Word.PROPOSE): frozenset({"policy", "effective_from"}),
    ("policy", Word.APPROVE): frozenset({"shown"}),
    ("policy", Word.REJECT): frozenset({"shown"}),
    ("delegation", Word.DELEGATE): frozenset({"to", "lend", "until", "reason"}),
    ("item", Word.PROPOSE): frozenset({"action", "target", "to"}),
    ("item", Word.APPROVE): frozenset[str](),
    ("item", Word.REJECT): frozenset[str](),
}
_NEEDS: Final = {
    ("policy", Word.PROPOSE): ("policy", "effective_from"),
    ("delegation", Word.DELEGATE): ("to", "lend", "until", "reason"),
    ("item", Word.PROPOSE): ("action",),
}
_FORMS: Final = "withdrawal/M/R, policy/C, delegation/ID or item/N"


async def decision_for(house: House, subject: str, word: Word, wanted: Wanted) -> Decision:
    """The decision that these options describe. Raises Rejected for what fits nothing."""
    kind, *names = subject.split("/")
    sort = (kind, word)
    if len(names) != (2 if kind == "withdrawal" else 1):
        raise Rejected(Code.FIELD_INVALID, detail=f"--for: {_FORMS}")
    names = [identifier(name, "--for") for name in names]
    if sort not in _TAKES:
        raise Rejected(Code.FIELD_INVALID, detail=f"--for: {_FORMS}, with a --verdict of its own")
    useless = sorted(wanted.given() - _TAKES[sort])
    if useless:
        detail = f"{_option(useless[0])} says nothing about such a decision"
        raise Rejected(Code.FIELD_INVALID, detail=detail)
    missing = [name for name in _NEEDS.get(sort, ()) if name not in wanted.given()]
    if missing:
        detail = ", ".join(map(_option, missing))
        raise Rejected(Code.FIELD_MISSING, detail=f"this decision needs {detail}")
    if kind == "withdrawal":
        return await _withdrawal(house, (names[0], names[1]), word, wanted)
    if kind == "policy":
        return await _policy(house, names[0], word, wanted)
    if kind == "delegation":
        return _delegation(names[0], wanted)
    return await _item(house, names[0], word, wanted)


def completed(shown: str, standing: str) -> str:
    """The whole digest for its first letters. Raises Rejected(DECISION_STALE)."""
    if len(shown) < SHOWN_CHARS_MIN or not standing.startswith(shown):
        detail = f"another one stands there than --shown says (its first {SHOWN_CHARS_MIN} letters)"
        raise Rejected(Code.DECISION_STALE, detail=detail)
    return standing


async def standing_policy(house: House, change: str) -> str:
    """The digest of a proposed policy. Raises Rejected(REQUEST_UNKNOWN)."""
    row = await in_transaction(house.engine, lambda c: recorded_change(c, change))
    return row.digest


def proposal_fields(action: ItemAction, target: str | None, payee: Path | None) -> dict[str, Any]:
    """What a proposal at the desk says, as its body has it; the payee comes from a file."""
    fields: dict[str, Any] = {"action": action.value}
    if target is not None:
        fields["target"] = target
    if payee is not None:
        read = read_model(ReturnTo, fields_from(payee))
        fields["return_to"] = read.model_dump(exclude_none=True)
    return fields


def approval_fields(shown: ProposalView) -> dict[str, Any]:
    """What a yes repeats of the proposal that was shown."""
    named = {"action", "target", "amount_minor", "payee_digest"}
    return shown.model_dump(mode="json", include=named)


async def _withdrawal(house: House, names: tuple[str, str], word: Word, wanted: Wanted) -> Decision:
    amount, currency, shown = wanted.amount, wanted.currency, wanted.shown
    standing: WithdrawalView | None = None
    if None in (amount, currency) or len(shown or "") < _DIGEST_CHARS:
        standing = await recorded(house, *names)
        currency = currency or standing.currency
        payee = standing.payee_digest
        shown = (payee or NO_PAYEE) if shown is None else completed(shown, payee or shown)
    fields = {
        "verdict": word.name, "currency": currency, "payee_digest": shown, "reason": _ANY,
        "amount_minor": parse_amount(amount, currency or "")
        if amount is not None
        else standing and standing.amount_minor,
    }  # fmt: skip
    return withdrawal_decision(*names, read_model(Decide, fields))


async def _policy(house: House, change: str, word: Word, wanted: Wanted) -> Decision:
    if wanted.policy is not None and wanted.effective_from is not None:
        proposed: dict[str, Any] = {
            "change": change, "policy": fields_from(wanted.policy), "reason": _ANY,
            "effective_from": wanted.effective_from.replace(tzinfo=UTC).isoformat(),
        }  # fmt: skip
        return policy_proposal(read_model(ProposePolicy, proposed))
    shown = wanted.shown
    if len(shown or "") < _DIGEST_CHARS:
        standing = await standing_policy(house, change)
        shown = standing if shown is None else completed(shown, standing)
    fields = {"verdict": word.name, "policy_digest": shown, "reason": _ANY}
    return policy_decision(change, read_model(DecidePolicy, fields))


def _delegation(name: str, wanted: Wanted) -> Decision:
    until = None if wanted.until is None else wanted.until.replace(tzinfo=UTC).isoformat()
    fields: dict[str, Any] = {
        "delegation": name, "delegate": wanted.to, "roles": wanted.lend, "until": until,
        "reason": wanted.reason,
    }  # fmt: skip
    return delegation_decision(read_model(Delegate, fields))


async def _item(house: House, name: str, word: Word, wanted: Wanted) -> Decision:
    if not name.isdecimal():
        raise Rejected(Code.FIELD_INVALID, detail="--for: an item has a number")
    item = int(name)
    if wanted.action is not None:
        payee = None if wanted.to is None else Path(wanted.to)
        fields = proposal_fields(wanted.action, wanted.target, payee)
        return item_proposal(item, read_model(Propose, fields | {"reason": _ANY, "actor": _ANY}))
    rows = ItemRows(house.ring)
    shown = item_view(await in_transaction(house.engine, lambda c: rows.read(c, item))).proposal
    if shown is None:
        raise Rejected(Code.ITEM_NOT_PROPOSED, detail="nothing is proposed that could be decided")
    if word is Word.REJECT:
        return item_rejection(item, shown)
    fields = approval_fields(shown) | {"proposal": shown.number, "actor": _ANY}
    return item_approval(item, read_model(Approve, fields))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
