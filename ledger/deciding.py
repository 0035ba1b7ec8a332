"""People's decisions on withdrawals: verified, judged, counted where they take effect (C-07, S3).

Promises that who decides is what a verified token says, that a decision names exactly the amount
and the payee that stand, and that the same decision with the same token is answered alike for ever.
A refused decision counts nowhere; it is in the audit, and the token that was bound to it spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.approvals import (
    Made,
    Refusals,
    Tried,
    Verify,
    count_decision,
    counted,
    decisions_of,
    delegations_to,
    spend_token,
)
from ledger.audit import Act, Audit
from ledger.withdrawal_views import decision_on
from ledger.withdrawals import Held, Withdrawals, decided
from tillkeeper.contracts.actor import ActorToken, Decision, decision_digest
from tillkeeper.contracts.approval import Decide, Verdict
from tillkeeper.contracts.binding import withdrawal_decision
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.withdrawal import (
    WithdrawalCommand,
    WithdrawalState,
    WithdrawalView,
)
from tillkeeper.rules.approvals import Case, Ruling, judge_approval, judge_veto
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.sealing import KeyRing


@dataclass(frozen=True, slots=True)
class _Said:
    """A verified decision."""

    token: ActorToken
    decision: Decision
    verdict: Verdict
    reason: str
    at: datetime


class Deciding:
    """Approvals and vetoes, inside the caller's transaction; raises Rejected for a refusal."""

    def __init__(
        self, withdrawals: Withdrawals, ring: KeyRing, profile: PrepaidProfile, verify: Verify
    ) -> None:
        self._withdrawals = withdrawals
        self._ring = ring
        self._profile = profile
        self._verify = verify
        self._audit = Audit(ring)
        self._refusals = Refusals(verify, self._audit, profile.name)

    async def decide(
        self, connection: AsyncConnection, command: WithdrawalCommand[Decide]
    ) -> WithdrawalView:
        """Count an approval, or reject; the last approval freezes the payee (P-68, P-69)."""
        body, at = command.body, command.at
        token = self._verify(body.token, at)
        held = await self._withdrawals.hold(connection, command)
        decision = _said_in(command)
        if await spend_token(connection, token, decision, at):
            said = _Said(token, decision, body.verdict, body.reason or "", at)
            await self._count(held, said)
        return await self._withdrawals.shown(held, at)

    async def refuse(
        self, connection: AsyncConnection, command: WithdrawalCommand[Decide], refusal: Rejected
    ) -> None:
        """Write a refused decision to the audit; the token bound to it is spent."""
        said = _said_in(command)
        tried = Tried(said.subject, said, command.body.token, command.at)
        await self._refusals.record(connection, tried, refusal)

    async def _count(self, held: Held, said: _Said) -> None:
        """Judge, count, and do what follows from it."""
        ruling = await self._judged(held, said)
        made = Made(said.token, said.decision, ruling.level, ruling.on_behalf_of, said.reason)
        await count_decision(held.connection, self._ring, made, said.at)
        await self._audit.record(
            held.connection, self._act("decide_withdrawal", said), held.row.subject,
            before={}, after=_audited(made),
        )  # fmt: skip
        if said.verdict is Verdict.REJECT:
            await self._withdrawals.reject(held, self._act("reject_withdrawal", said))
        elif ruling.complete and held.payee.party is not None:
            act = self._act("approve_withdrawal", said)
            await self._withdrawals.approve(held, held.payee.party, act)
        await held.sheet.write()

    async def _judged(self, held: Held, said: _Said) -> Ruling:
        """The ruling, or every reason against the decision."""
        if not _may_come(held.row.state, said.verdict):
            raise decided(held.row)
        reasons = _stale(held, said.decision)
        if said.verdict is Verdict.APPROVE:
            reasons += held.payee.flaws
            reasons += [Reason(code=code, detail=_BLOCKED) for code in held.blocks]
        try:
            ruling = await self._ruling(held, said)
        except Rejected as refusal:
            raise Rejected(*refusal.reasons, *reasons) from None
        if reasons:
            raise Rejected(*reasons)
        return ruling

    async def _ruling(self, held: Held, said: _Said) -> Ruling:
        row = held.row
        standing = decision_digest(decision_on(row, Verdict.APPROVE, held.payee.digest))
        case = Case(
            merchant=row.merchant,
            requested_by=row.requested_by,
            levels=row.levels,
            counted=counted(await decisions_of(held.connection, row.subject), standing),
            delegations=await delegations_to(held.connection, said.token.subject, said.at),
        )
        judge = judge_veto if said.verdict is Verdict.REJECT else judge_approval
        return judge(case, said.token, said.at)

    def _act(self, action: str, said: _Said) -> Act:
        name, token = self._profile.name, said.token
        return Act(action, token.subject, said.at, name, said.reason, token.token_id)


_BLOCKED = "until it is cleared, nothing is approved"


def _may_come(state: WithdrawalState, verdict: Verdict) -> bool:
    """A veto is the undo of an approval whose payment is not recorded yet."""
    if verdict is Verdict.REJECT:
        return state in (WithdrawalState.WAITING_APPROVAL, WithdrawalState.APPROVED)
    return state is WithdrawalState.WAITING_APPROVAL


def _said_in(command: WithdrawalCommand[Decide]) -> Decision:
    """What the command decides, in the words it came in."""
    return withdrawal_decision(command.merchant, command.request, command.body)


def _stale(held: Held, decision: Decision) -> list[Reason]:
    """What was decided must be what stands; without a payee, a veto needs no payee's digest."""
    row, payee = held.row, held.payee
    same = (decision.amount_minor, decision.currency) == (row.amount, row.currency)
    if same and (payee.party is None or decision.shown == payee.digest):
        return []
    detail = "amount or payee are not what was shown"
    return [Reason(code=Code.DECISION_STALE, detail=detail)]


def _audited(made: Made) -> dict[str, str | None]:
    return {
        "verdict": made.decision.verdict,
        "level": made.level,
        "on_behalf_of": made.on_behalf_of,
        "decision": decision_digest(made.decision),
    }
