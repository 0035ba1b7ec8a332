"""Which decision each word with a token makes: what its token has to be bound to (S3, C-07).

Issuer, client, console and ledger all ask here, so none of them can take a word for another one.
Everything is computed from what its sender sees or writes himself, without any key of ours. Reasons
are no part of a decision, but for a delegation's, which is all of it. A digest, once published,
must never change: by it decisions are counted and spent tokens known again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from tillkeeper.contracts.actor import Decision
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Decide,
    DecidePolicy,
    Delegate,
    ProposePolicy,
    Verdict,
    delegation_workflow_id,
    policy_workflow_id,
)
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.withdrawal import withdrawal_workflow_id
from tillkeeper.contracts.workitem import Approve, ProposalView, Propose, item_workflow_id

PROPOSE: Final = "PROPOSE"
DELEGATE: Final = "DELEGATE"
RELEASE: Final = "RELEASE"

_PROPOSED: Final = {"action", "target", "return_to"}


def withdrawal_decision(merchant: str, request: str, body: Decide) -> Decision:
    """A yes or no to the amount and the payee that were shown."""
    return Decision(
        subject=withdrawal_workflow_id(merchant, request),
        verdict=body.verdict.value,
        amount_minor=body.amount_minor,
        currency=body.currency,
        shown=body.payee_digest,
    )


def policy_digest(policy: ApprovalPolicy, effective_from: datetime) -> str:
    """64 hexadecimal characters for a policy and the moment it begins: what a decision names."""
    begins = effective_from.astimezone(UTC).isoformat()
    return _digest({"policy": policy.model_dump(mode="json"), "effective_from": begins})


def policy_proposal(body: ProposePolicy) -> Decision:
    """Asking for this policy from that moment on, under this id."""
    shown = policy_digest(body.policy, body.effective_from)
    return Decision(subject=policy_workflow_id(body.change), verdict=PROPOSE, shown=shown)


def policy_decision(change: str, body: DecidePolicy) -> Decision:
    """A yes or no to the policy that was shown."""
    subject = policy_workflow_id(change)
    return Decision(subject=subject, verdict=body.verdict.value, shown=body.policy_digest)


def delegation_decision(body: Delegate) -> Decision:
    """Lending these roles to that person until that moment, for that reason, under this id."""
    subject, shown = delegation_workflow_id(body.delegation), fingerprint(body.without_token())
    return Decision(subject=subject, verdict=DELEGATE, shown=shown)


def item_proposal(item: int, body: Propose) -> Decision:
    """Proposing this action on an item, with this target or this payee.

    Its sender knows no keyed digest of the payee yet, so ``shown`` is a plain one of all of it.
    """
    said = body.model_dump(mode="json", include=_PROPOSED, exclude_none=True)
    return Decision(subject=item_workflow_id(item), verdict=PROPOSE, shown=_digest(said))


def item_approval(item: int, body: Approve) -> Decision:
    """A yes to the proposal that was shown."""
    return _on_proposal(item, body.proposal, Verdict.APPROVE, body)


def item_rejection(item: int, shown: ProposalView) -> Decision:
    """A no to the proposal that is shown; its body names only the number."""
    return _on_proposal(item, shown.number, Verdict.REJECT, shown)


def item_release(item: int) -> Decision:
    """Giving an item back: it needs no token, but one that comes with it must be meant for it."""
    return Decision(subject=item_workflow_id(item), verdict=RELEASE)


def _on_proposal(
    item: int, number: int, verdict: Verdict, made: Approve | ProposalView
) -> Decision:
    """Its action, and whom or what it is about: the payee, else the target."""
    about = made.payee_digest or made.target
    return Decision(
        subject=f"{item_workflow_id(item)}/{number}",
        verdict=verdict.value,
        amount_minor=made.amount_minor,
        shown=made.action.value if about is None else f"{made.action.value} {about}",
    )


def _digest(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
