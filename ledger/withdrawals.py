"""The acts on withdrawals: each inside one transaction, under the merchant's lock (P-65 … P-74).

Promises that the money is reserved with the request, that the payee is frozen by the approval, and
that a payment is recorded before anything leaves. What ends a withdrawal without a payment gives
its money back at once. A refusal changes nothing. Who may decide is ``ledger.deciding``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountRows, PrepaidAccount
from ledger.audit import SYSTEM, Act
from ledger.engine import fetch
from ledger.notices import record_notice, withdrawal_notice
from ledger.payments import NewPayment, record_payment
from ledger.policies import policy_in_force
from ledger.reserves import blocks_of, give_back, reserve
from ledger.sheet import Sheet
from ledger.withdrawal_rows import (
    Terms,
    WithdrawalRow,
    change,
    insert,
    locked,
    read,
    sealed_payee,
    sealed_reason,
)
from ledger.withdrawal_views import (
    Asked,
    Payee,
    WithdrawalViews,
    asked_by,
    bound_payee,
    payee_of,
    payment_terms,
)
from ledger.workitems import NewItem, open_items, settle_items
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.errors import Code, Reason, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.payment import PaymentParty, Rail
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalCommand,
    WithdrawalRequest,
    WithdrawalState,
    WithdrawalView,
)
from tillkeeper.contracts.workitem import ItemKind, Outcome
from tillkeeper.rules.approvals import levels_for
from tillkeeper.rules.profiles import PrepaidProfile
from tillkeeper.rules.withdrawals import (
    WithdrawalFigures,
    is_bound,
    is_overdue,
    local_day,
    reminders_due,
    withdrawal_refusals,
)
from tillkeeper.sealing import KeyRing

ChooseRail = Callable[[str], Rail | None]
"""By which way payments in a currency leave; None: nothing can pay it."""

Command = WithdrawalCommand[Any]

_TODAY: Final = """
SELECT coalesce(sum(amount), 0)::bigint FROM withdrawals
 WHERE account = $1 AND requested_at >= $2 AND requested_at < $3
   AND state IN ('WAITING_APPROVAL', 'APPROVED', 'REMITTING', 'PAID', 'FAILED_MANUAL')"""


@dataclass(slots=True)
class Held:
    """One withdrawal under its merchant's lock, with account and payee as they stand now."""

    connection: AsyncConnection
    sheet: Sheet
    row: WithdrawalRow
    account: PrepaidAccount | None
    payee: Payee

    @property
    def blocks(self) -> tuple[Code, ...]:
        """What forbids to approve or to remit it now (P-45, 1.9)."""
        return blocks_of(self.sheet, self.row)


class Withdrawals:
    """The acts of merchants and of the clock; raises Rejected for a refusal."""

    def __init__(self, ring: KeyRing, profile: PrepaidProfile, rail: ChooseRail) -> None:
        self._ring = ring
        self._profile = profile
        self._rail = rail
        self._accounts = AccountRows(ring)
        self._audit = self._accounts.audit
        self._views = WithdrawalViews(ring, profile)

    async def submit(
        self, connection: AsyncConnection, command: WithdrawalCommand[WithdrawalRequest]
    ) -> WithdrawalView:
        """Reserve the money with the request, or record its refusal with every reason."""
        request = command.body
        row = await read(connection, request.merchant, request.request)
        if row is None:
            row = await self._submit(connection, request, command.at)
        if row.fingerprint != fingerprint(request):
            raise Rejected(Code.KEY_REUSED, detail="this request id came with another request")
        return await self._views.view(connection, row, command.at)

    async def read(self, connection: AsyncConnection, command: Command) -> WithdrawalView:
        """The withdrawal as it stands. Raises Rejected(REQUEST_UNKNOWN)."""
        return await self._views.view(connection, await _known(connection, command), command.at)

    async def cancel(
        self, connection: AsyncConnection, command: WithdrawalCommand[CancelWithdrawal]
    ) -> WithdrawalView:
        """The merchant takes it back; refused once it is approved (P-73)."""
        held, body = await self.hold(connection, command), command.body
        if held.row.state is WithdrawalState.WAITING_APPROVAL:
            name = self._profile.name
            act = Act("cancel_withdrawal", body.actor, command.at, name, body.reason)
            await self.end(held, act, WithdrawalState.CANCELLED_BY_MERCHANT)
            await held.sheet.write()
        elif held.row.state is not WithdrawalState.CANCELLED_BY_MERCHANT:
            raise decided(held.row)
        return await self.shown(held, command.at)

    async def remit(self, connection: AsyncConnection, command: Command) -> WithdrawalView:
        """After the grace period: record the payment, unless dues or the state forbid it (P-45)."""
        held, at = await self.hold(connection, command), command.at
        row, party = held.row, held.payee.party
        due = None if row.state is not WithdrawalState.APPROVED else row.remit_at
        if due is not None and party is not None and at >= due and not held.blocks:
            act = Act("remit_withdrawal", SYSTEM, at, self._profile.name)
            remitting = await self._remitting(held, party, act)
            held.row = await change(connection, row, act, **remitting)
        return await self.shown(held, at)

    async def remind(self, connection: AsyncConnection, command: Command) -> WithdrawalView:
        """Remind whoever is to decide, if it is time; after three days a person is told (P-68)."""
        held, at = await self.hold(connection, command), command.at
        row = held.row
        waits = row.state is WithdrawalState.WAITING_APPROVAL
        if waits and at >= self._views.remind_at(row):
            due = reminders_due(row.requested_at, at, self._profile)
            changes: dict[str, Any] = {"reminders": max(row.reminders, due)}
            if row.escalated_at is None and is_overdue(row.requested_at, at, self._profile):
                changes["escalated_at"] = at
                item = NewItem(
                    ItemKind.WITHDRAWAL_OVERDUE, row.subject, "", row.amount, row.currency
                )
                await open_items(connection, [item], at=at)
            act = Act("remind_of_withdrawal", SYSTEM, at, self._profile.name)
            held.row = await change(connection, row, act, **changes)
        return await self.shown(held, at)

    async def hold(self, connection: AsyncConnection, command: Command) -> Held:
        """The withdrawal under its merchant's lock. Raises Rejected(REQUEST_UNKNOWN)."""
        found = await _known(connection, command)
        owner = (found.merchant, found.currency)
        sheet = await Sheet.open(connection, merchants=[owner])
        account = await self._accounts.read(connection, *owner)
        row = await locked(connection, found.merchant, found.request)
        return Held(connection, sheet, row, account, payee_of(self._ring, row, account))

    async def shown(self, held: Held, at: datetime) -> WithdrawalView:
        """What people see of it after an act."""
        return await self._views.view(held.connection, held.row, at)

    async def approve(self, held: Held, party: PaymentParty, act: Act) -> None:
        """Approved for good: the payee is frozen; without a grace period it is on its way."""
        row, at = held.row, act.at
        grace = self._profile.withdrawal_grace
        changes: dict[str, Any] = {
            "state": WithdrawalState.APPROVED,
            "payee_sealed": sealed_payee(self._ring, row, party),
            "approved_at": at,
            "remit_at": at + grace,
        }
        if not grace:
            changes |= await self._remitting(held, party, act)
        held.row = await change(held.connection, row, act, self._audit, **changes)
        await self._told(held, "approved", at)
        await self._no_longer_overdue(held, at)

    async def reject(self, held: Held, act: Act) -> None:
        """A veto: the money goes back, the merchant is told why (P-70)."""
        await self.end(held, act, WithdrawalState.REJECTED)
        await self._told(held, "rejected", act.at, act.reason)

    async def end(self, held: Held, act: Act, state: WithdrawalState) -> None:
        """End it unpaid, for the reason of ``act``; the money is available, dues first (T9)."""
        await give_back(held.sheet, held.row, act.at)
        reason = sealed_reason(self._ring, held.row, act.reason)
        held.row = await change(
            held.connection, held.row, act, self._audit,
            state=state, reason_sealed=reason, ended_at=act.at,
        )  # fmt: skip
        await self._no_longer_overdue(held, act.at)

    async def _submit(
        self, connection: AsyncConnection, request: WithdrawalRequest, at: datetime
    ) -> WithdrawalRow:
        where = (request.merchant, request.currency)
        sheet = await Sheet.open(connection, merchants=[where])
        account = await self._accounts.read(connection, *where)
        asked = Asked(request.request, request.amount_minor, request.currency)
        payee = bound_payee(self._ring, account, asked)
        version = await policy_in_force(connection, at)
        band = levels_for(version.policy, request.amount_minor, request.currency)
        terms = Terms(
            account=None if account is None else account.id,
            profile=self._profile.name,
            policy=version.name,
            levels=band.levels,
            auto_reason=band.auto_reason or "",
            refused=_with(payee.flaws, await self._refusals(sheet, request, account, at)),
        )
        row = await insert(connection, request, terms, at)
        if row is None:
            return await _known(connection, request)
        held = Held(connection, sheet, row, account, payee)
        if not terms.refused:
            reserve(sheet, row)
            if not band.levels and payee.party is not None:
                reason = terms.auto_reason
                act = Act("approve_withdrawal", SYSTEM, at, self._profile.name, reason)
                await self.approve(held, payee.party, act)
            await sheet.write()
        return held.row

    async def _refusals(
        self,
        sheet: Sheet,
        request: WithdrawalRequest,
        account: PrepaidAccount | None,
        at: datetime,
    ) -> Sequence[Reason]:
        owner = sheet.merchant(request.merchant, request.currency)
        lines = None if owner is None else owner.thresholds
        figures = WithdrawalFigures(
            available=0 if owner is None else sheet.balance(owner.available),
            dues=0 if owner is None else sheet.balance(owner.dues),
            suspend_below=self._profile.suspend_below_minor
            if lines is None
            else lines.suspend_below,
            taken_today=await self._taken_today(sheet.connection, account, at),
            bound=account is not None and is_bound(account.bank),
            can_pay=self._rail(request.currency) is not None,
        )
        state = AccountState.NOT_OPENED if account is None else account.state
        return withdrawal_refusals(request, state, figures, self._profile)

    async def _taken_today(
        self, connection: AsyncConnection, account: PrepaidAccount | None, at: datetime
    ) -> int:
        """What was asked for on this business day and has not failed, in minor units."""
        if account is None or self._profile.withdrawal_daily_max_minor is None:
            return 0
        bounds = local_day(at, self._profile)
        return int((await fetch(connection, _TODAY, (account.id, *bounds)))[0][0])

    async def _remitting(self, held: Held, party: PaymentParty, act: Act) -> dict[str, Any]:
        """Record the next payment; what the row has to remember of it."""
        row, number = held.row, held.row.attempts + 1
        rail = self._rail(row.currency)
        if rail is None:
            detail = f"nothing can pay in {row.currency}"
            raise Rejected(Code.METHOD_NOT_SUPPORTED, detail=detail)
        payment = NewPayment(
            row.attempt(number), payment_terms(party, asked_by(row)), act.actor,
            merchant=row.merchant, rail=rail, attempt=number,
        )  # fmt: skip
        recorded = await record_payment(held.connection, self._ring, payment, act.at)
        return {
            "state": WithdrawalState.REMITTING,
            "payment": recorded.id,
            "attempts": number,
            "remitted_at": act.at,
        }

    async def _told(self, held: Held, event: str, at: datetime, reason: str = "") -> None:
        notice = withdrawal_notice(held.row, event, reason)
        await record_notice(held.connection, self._ring, notice, at)

    async def _no_longer_overdue(self, held: Held, at: datetime) -> None:
        if held.row.escalated_at is not None:
            kind, subjects = ItemKind.WITHDRAWAL_OVERDUE, [held.row.subject]
            await settle_items(held.connection, kind, subjects, outcome=Outcome.RESOLVED, at=at)


def _with(flaws: Sequence[Reason], refused: Sequence[Reason]) -> list[Reason]:
    """The refusals, and what else the payee has against it; each code once."""
    told = {reason.code for reason in refused}
    return [*refused, *(flaw for flaw in flaws if flaw.code not in told)]


def decided(row: WithdrawalRow) -> Rejected:
    """The refusal for whoever comes too late."""
    return Rejected(Code.REQUEST_DECIDED, detail=f"the withdrawal is {row.state.value} already")


async def _known(connection: AsyncConnection, named: Command | WithdrawalRequest) -> WithdrawalRow:
    row = await read(connection, named.merchant, named.request)
    if row is None:
        raise Rejected(Code.REQUEST_UNKNOWN, detail="there is no such withdrawal")
    return row
