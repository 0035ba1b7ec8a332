"""A withdrawal's payment seen through: its payout as a child run, and what its end means.

Promises that one payment has one run, whoever starts it. It reads no row and decides nothing.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError

from tillkeeper.contracts import payment
from tillkeeper.contracts.base import Step
from tillkeeper.contracts.money import format_amount
from tillkeeper.contracts.payment import PayoutStart, PayoutView, payout_workflow_id
from tillkeeper.contracts.withdrawal import WithdrawalState, WithdrawalView
from tillkeeper.failures import kind_of
from workflows.calls import nudge
from workflows.lifecycle import AMOUNT_MINOR, DUE_AT, LIFECYCLE, MERCHANT, NEEDS_PERSON, STAGE
from workflows.payout import due_of, stage_of


class PayoutLost(Exception):  # noqa: N818 - no error of ours: somebody stopped the payout's run
    """The payout's run ended without a result; the payment itself stands as it stood."""


async def see_through(known: PayoutView) -> PayoutView | None:
    """How the payment ended; None where another run began the payout: it nudges when it ends.

    ``known`` spares the payout its first look. Raises PayoutLost.
    """
    run = known.run or known.end_to_end_id
    current = None if known.end_to_end_id == run else known.end_to_end_id
    try:
        ended: PayoutView = await workflow.execute_child_workflow(
            payment.WORKFLOW,
            PayoutStart(end_to_end_id=run, current=current, known=known),
            id=payout_workflow_id(run),
            result_type=PayoutView,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=_attributes(known),
            static_summary=f"{_money(known.amount_minor, known.currency)} to {known.account}",
        )
    except WorkflowAlreadyStartedError:
        await nudge(payout_workflow_id(run), payment.WATCH_SIGNAL)
        return None
    except ChildWorkflowError as error:
        raise PayoutLost(f"{payment.WORKFLOW}: {kind_of(error.cause)}") from None
    return ended


def paid(view: WithdrawalView, by: PayoutView) -> WithdrawalView:
    """The withdrawal after the debit that ``by`` tells of: as its row says by now."""
    done = Step(name="paid", at=by.decided_at)
    steps = (*(step for step in view.steps if step.at is not None), done)
    return view.model_copy(
        update={
            "state": WithdrawalState.PAID,
            "payment": by,
            "attempts": max(view.attempts, by.attempt),
            "ended_at": by.decided_at,
            "steps": steps,
        }
    )


def withdrawal_words(view: WithdrawalView) -> str:
    """What the Temporal UI says of it: no names, the account masked."""
    words = [f"**{view.state}**", _money(view.amount_minor, view.currency)]
    if view.account:
        words.append(f"to {view.account}")
    if view.state is WithdrawalState.WAITING_APPROVAL:
        words += [
            f"{level.name}: {level.approvals} of {level.quorum}" + (" ←" if level.current else "")
            for level in view.levels
        ]
    if view.reminders:
        words.append(f"reminded {view.reminders} times" + (", escalated" * view.escalated))
    words += [f"held back: {code}" for code in view.blocked]
    words += [f"warning: {code}" for code in view.warnings]
    words += [f"refused: {reason.code}" for reason in view.refused]
    if view.payment is not None:
        words.append(f"payment {view.payment.end_to_end_id} {view.payment.reason or ''}".strip())
    return " · ".join(words)


def _money(amount_minor: int, currency: str) -> str:
    return f"{format_amount(amount_minor, currency, grouped=True)} {currency}"


def _attributes(known: PayoutView) -> TypedSearchAttributes:
    """What people find the payout by from its first event on."""
    due = due_of(known, workflow.now())
    return TypedSearchAttributes(
        [
            *([] if due is None else [SearchAttributePair(DUE_AT, due)]),
            SearchAttributePair(LIFECYCLE, payment.WORKFLOW),
            SearchAttributePair(MERCHANT, known.merchant),
            SearchAttributePair(STAGE, stage_of(known)),
            SearchAttributePair(AMOUNT_MINOR, known.amount_minor),
            SearchAttributePair(NEEDS_PERSON, False),
        ]
    )
