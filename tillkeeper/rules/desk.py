"""Who may do what with a work item, and what needs a second person (P-29, C-05, C-07).

Decides only, on the item as it stands under its lock. Each ``judge_…`` answers whether there is
something to do: False means that this very act was done already and is answered alike.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.workitem import (
    LUMPS,
    Approve,
    ClaimItem,
    ItemAction,
    ItemKind,
    ItemState,
    ItemView,
    Outcome,
    Propose,
    RejectProposal,
    ReleaseItem,
)

_ACTIONS: Final = MappingProxyType(
    {
        ItemKind.UNMATCHED_RECEIPT: (ItemAction.MATCH, ItemAction.RETURN),
        ItemKind.UNKNOWN_DEBIT: (ItemAction.CHARGE, ItemAction.PAYMENT),
        # Its money stands in suspense: a note alone would leave it there without work.
        ItemKind.CREDIT_REVERSED: (ItemAction.CHARGE,),
        # A note alone would leave the merchant's money reserved for ever (P-71).
        ItemKind.WITHDRAWAL_FAILED: (
            ItemAction.RETRY,
            ItemAction.RETRY_CORRECTED,
            ItemAction.RETURN_TO_AVAILABLE,
        ),
        ItemKind.PAYMENT_OVERDUE: (ItemAction.NOT_PAID, ItemAction.ACKNOWLEDGE),
    }
)
_NOTE_ONLY: Final = (ItemAction.ACKNOWLEDGE,)

OF_LUMPS: Final = (ItemAction.THESE_PIECES, ItemAction.OTHER_MONEY)
"""For a lump that is held: a note alone would leave its money in no book, without work."""

FOUR_EYES: Final = frozenset(
    {
        ItemAction.MATCH,
        ItemAction.RETURN,
        ItemAction.CHARGE,
        ItemAction.PAYMENT,
        ItemAction.RETRY_CORRECTED,
        ItemAction.NOT_PAID,
        ItemAction.THESE_PIECES,
        ItemAction.OTHER_MONEY,
    }
)
"""What moves money to where nobody approved it yet needs a second person (C-07).

Paying an approved withdrawal again, or giving its money back, is one person's choice (P-71).
"""

PAYS: Final = (ItemAction.RETURN, ItemAction.RETRY_CORRECTED)
"""What may name a payee."""

OUTCOMES: Final = MappingProxyType(
    {
        ItemAction.MATCH: Outcome.MATCHED,
        ItemAction.RETURN: Outcome.RETURNED,
        ItemAction.CHARGE: Outcome.CHARGED,
        ItemAction.PAYMENT: Outcome.PAID,
        ItemAction.RETRY: Outcome.RETRIED,
        ItemAction.RETRY_CORRECTED: Outcome.RETRIED,
        ItemAction.RETURN_TO_AVAILABLE: Outcome.RETURNED,
        ItemAction.NOT_PAID: Outcome.NOT_PAID,
        ItemAction.THESE_PIECES: Outcome.KNOWN,
        ItemAction.OTHER_MONEY: Outcome.BOOKED,
        ItemAction.ACKNOWLEDGE: Outcome.ACKNOWLEDGED,
    }
)
"""How an item ends by each action."""


def allowed_actions(kind: ItemKind, subject: str = "") -> tuple[ItemAction, ...]:
    """What may be proposed for an item of this kind; where nothing can move, a note."""
    if kind is ItemKind.STATEMENT_OVERLAP and subject.startswith(LUMPS):
        return OF_LUMPS
    return _ACTIONS.get(kind, _NOTE_ONLY)


def same_person(left: str | None, right: str) -> bool:
    """Whether two actors are one; letters' case makes nobody a second person (C-07)."""
    return left is not None and left.casefold() == right.casefold()


def target_of(text: str | None) -> tuple[str, str]:
    """Merchant and request of a target. Raises Rejected(TARGET_MISSING)."""
    merchant, slash, request = (text or "").partition("/")
    if not (merchant and slash and request) or "/" in request:
        raise Rejected(Code.TARGET_MISSING, detail="a match needs its target: merchant/request")
    return merchant, request


def judge_claim(item: ItemView, body: ClaimItem) -> bool:
    """Only what nobody has may be taken. Raises Rejected."""
    _refuse_closed(item)
    if same_person(item.owner, body.actor):
        return False
    if item.state is ItemState.PROPOSED:
        raise Rejected(Code.ITEM_PROPOSED, detail="it waits for a second person's decision")
    if item.state is ItemState.CLAIMED:
        raise Rejected(Code.ITEM_OWNED, detail="somebody else has it")
    return True


def judge_release(item: ItemView, body: ReleaseItem) -> bool:
    """Anybody frees what its owner left lying; a proposal is withdrawn by its proposer only."""
    _refuse_closed(item)
    if item.state is ItemState.OPEN:
        return False
    proposal = item.proposal
    if item.state is ItemState.PROPOSED and not (
        proposal is not None and same_person(proposal.proposed_by, body.actor)
    ):
        raise Rejected(Code.ITEM_PROPOSED, detail="only its proposer withdraws it: reject it")
    return True


def judge_proposal(item: ItemView, body: Propose) -> bool:
    """An action of this kind, by whoever has the item. Raises Rejected with every reason."""
    if item.proposal is not None and item.proposal.fingerprint == fingerprint(body.act):
        return False
    _refuse_closed(item)
    if item.state is ItemState.PROPOSED:
        raise Rejected(Code.ITEM_PROPOSED, detail="another proposal waits for a decision")
    if item.state is ItemState.CLAIMED and not same_person(item.owner, body.actor):
        raise Rejected(Code.ITEM_OWNED, detail="somebody else has it")
    reasons = _proposal_refusals(item, body)
    if reasons:
        raise Rejected(*reasons)
    return True


def judge_approval(item: ItemView, body: Approve) -> bool:
    """Nobody approves his own proposal, nor another one than he was shown (C-07)."""
    proposal = item.proposal
    if item.state is ItemState.CLOSED:
        done = item.outcome is OUTCOMES[body.action] and _shown(item, body)
        if not done or proposal is None or same_person(proposal.proposed_by, body.actor):
            _refuse_closed(item)
        return False
    if proposal is None or item.state is not ItemState.PROPOSED:
        raise Rejected(_no_proposal(item))
    reasons = []
    if not _shown(item, body):
        reasons.append(Reason(code=Code.PROPOSAL_STALE, detail="another one is proposed now"))
    if same_person(proposal.proposed_by, body.actor):
        reasons.append(_own())
    if reasons:
        raise Rejected(*reasons)
    return True


def judge_rejection(item: ItemView, body: RejectProposal) -> bool:
    """A second person's no, to the proposal that was shown."""
    _refuse_closed(item)
    proposal = item.proposal
    if proposal is None or item.state is not ItemState.PROPOSED:
        if item.proposals and body.proposal == item.proposals:
            return False
        raise Rejected(_no_proposal(item))
    reasons = []
    if body.proposal != proposal.number:
        reasons.append(Reason(code=Code.PROPOSAL_STALE, detail="another one is proposed now"))
    if same_person(proposal.proposed_by, body.actor):
        reasons.append(_own())
    if reasons:
        raise Rejected(*reasons)
    return True


def _proposal_refusals(item: ItemView, body: Propose) -> list[Reason]:
    reasons = []
    if body.action not in item.actions:
        possible = ", ".join(item.actions)
        detail = f"{item.kind} allows {possible}"
        reasons.append(Reason(code=Code.ACTION_NOT_ALLOWED, detail=detail))
    if body.action is ItemAction.MATCH:
        try:
            target_of(body.target)
        except Rejected as refusal:
            reasons += refusal.reasons
    elif body.action is ItemAction.PAYMENT:
        if body.target is None:
            detail = "a payment needs its target: the end-to-end id"
            reasons.append(Reason(code=Code.TARGET_MISSING, detail=detail))
    elif body.target is not None and body.action is not ItemAction.NOT_PAID:
        detail = "target: only a match or a payment has one"
        reasons.append(Reason(code=Code.FIELD_INVALID, detail=detail))
    if body.return_to is not None and body.action not in PAYS:
        detail = "return_to: only a return or a corrected payment has it"
        reasons.append(Reason(code=Code.FIELD_INVALID, detail=detail))
    if body.return_to is None and body.action is ItemAction.RETRY_CORRECTED:
        detail = "a corrected payment needs its payee: return_to"
        reasons.append(Reason(code=Code.FIELD_MISSING, detail=detail))
    return reasons


def _shown(item: ItemView, body: Approve) -> bool:
    """Whether the approval names what is proposed: number, action, target, amount and payee."""
    made = item.proposal
    return made is not None and (
        (made.number, made.action, made.target, made.amount_minor, made.payee_digest)
        == (body.proposal, body.action, body.target, body.amount_minor, body.payee_digest)
    )


def _no_proposal(item: ItemView) -> Reason:
    if item.proposals:
        return Reason(code=Code.PROPOSAL_STALE, detail="it was rejected or withdrawn")
    return Reason(code=Code.ITEM_NOT_PROPOSED, detail="nothing is proposed yet")


def _own() -> Reason:
    return Reason(code=Code.OWN_PROPOSAL, detail="a second person decides")


def _refuse_closed(item: ItemView) -> None:
    if item.state is ItemState.CLOSED:
        raise Rejected(Code.ITEM_CLOSED, detail=f"it ended as {item.outcome}")
