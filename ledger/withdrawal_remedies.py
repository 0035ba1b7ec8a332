"""What people do with a withdrawal that the bank did not pay: again, corrected, or back (P-71).

Promises that its money leaves ``withdrawing`` once, that a new attempt follows a proven no alone,
and that nothing is done while the bank's own book says that it was paid. It moves nothing on its
own: the desk asks, and has locked the merchant before the item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import withdrawal_rows
from ledger.accounts import AccountRows, holdings
from ledger.attempts import pay_by, record_proof
from ledger.audit import Act
from ledger.named import files_to_come, is_contradicted, word_of
from ledger.notices import record_system_notice, withdrawal_notice
from ledger.payment_rows import (
    PaymentRow,
    locked_payment,
    opened_terms,
    payment_by_id,
    valid_terms,
)
from ledger.payments import NewPayment, payment_refused
from ledger.purposes import Ending
from ledger.reserves import blocks_of, give_back
from ledger.sheet import Sheet
from ledger.withdrawal_rows import WithdrawalRow, opened_payee, sealed_payee
from ledger.workitems import Item
from tillkeeper.contracts.errors import Broken, Code, Reason, Rejected
from tillkeeper.contracts.payment import PaymentParty, PaymentState, PaymentTerms, Rail
from tillkeeper.contracts.withdrawal import WithdrawalState, withdrawal_of
from tillkeeper.contracts.workitem import ItemAction, Propose
from tillkeeper.rules.desk import same_person
from tillkeeper.rules.payouts import NOT_PAID
from tillkeeper.rules.withdrawals import approval_blocks
from tillkeeper.sealing import KeyRing


class WithdrawalRemedies:
    """The choices of P-71, and people's proof that a silent bank did not pay (C-12)."""

    def __init__(self, ring: KeyRing, rails: Sequence[Rail]) -> None:
        self._ring = ring
        self._accounts = AccountRows(ring)
        self._audit = self._accounts.audit
        self._rails = rails

    async def check(self, connection: AsyncConnection, item: Item, body: Propose) -> None:
        """Whether the choice can be made now. Raises Rejected."""
        action = body.action
        waiting, payment = await self._failed(connection, item)
        if action is ItemAction.RETRY_CORRECTED:
            _refuse_own(waiting, body.actor)
        await self._refuse_contradicted(connection, payment)
        if action is not ItemAction.RETURN_TO_AVAILABLE and not self._rails:
            raise Rejected(Code.BANK_EXCHANGE_MISSING, detail="nothing can pay it: no way out")
        if waiting.state is not WithdrawalState.FAILED_MANUAL:
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the withdrawal is {waiting.state}")
        if action is not ItemAction.RETURN_TO_AVAILABLE:
            _refuse_blocked(await self._blocks(connection, waiting))

    async def check_payee(
        self, connection: AsyncConnection, item: Item, payee: PaymentParty
    ) -> None:
        """Whether a payment can carry a corrected payee. Raises Rejected with every reason."""
        _, payment = await self._failed(connection, item)
        _corrected(opened_terms(self._ring, payment), payee)

    async def payee(self, connection: AsyncConnection, item: Item) -> PaymentParty:
        """Whom the withdrawal pays until it is corrected; personal data."""
        waiting, _ = await self._failed(connection, item)
        payee = opened_payee(self._ring, waiting)
        if payee is None:
            raise Broken("a withdrawal failed without a payee")
        return payee

    async def again(
        self, sheet: Sheet, item: Item, act: Act, payee: PaymentParty | None = None
    ) -> str:
        """Record the next attempt, to ``payee`` where it is corrected; its end-to-end id."""
        waiting, payment = await self._locked(sheet.connection, item, act.at)
        _refuse_blocked(blocks_of(sheet, waiting))
        terms, changes = opened_terms(self._ring, payment), {}
        if payee is not None:
            _refuse_own(waiting, act.actor)
            terms = _corrected(terms, payee)
            changes["payee_sealed"] = sealed_payee(self._ring, waiting, payee)
        number = payment.attempt + 1
        made = NewPayment(
            waiting.attempt(number), terms, act.actor, merchant=waiting.merchant,
            rail=self._rails[0], attempt=number,
        )  # fmt: skip
        done = replace(act, action="retry_withdrawal")
        return await pay_by(sheet.connection, self._ring, waiting, made, done, **changes)

    async def give_back(self, sheet: Sheet, item: Item, act: Act) -> None:
        """T9: the money is available again, dues first, and its merchant is told (P-46, P-71)."""
        waiting, _ = await self._locked(sheet.connection, item, act.at)
        await give_back(sheet, waiting, act.at)
        done = replace(act, action="return_withdrawal")
        changes: dict[str, Any] = {"state": WithdrawalState.RETURNED, "ended_at": act.at}
        await withdrawal_rows.change(sheet.connection, waiting, done, self._audit, **changes)
        await record_system_notice(sheet.connection, withdrawal_notice(waiting, "returned"), act.at)

    async def not_paid(self, sheet: Sheet, row: PaymentRow, item: Item, act: Act) -> None:
        """People hold the bank's proof that a payment was not paid, as ``may_be_unpaid`` (C-12)."""
        row = await locked_payment(sheet.connection, row.id)
        await _refuse_too_early(sheet.connection, act.at)
        await may_be_unpaid(sheet.connection, row, item.target)
        await record_proof(sheet.connection, row, item.name, act.at)
        if row.state.open:
            ending = Ending(act.at, NOT_PAID, at_desk=True)
            await payment_refused(sheet.connection, sheet, row, ending)

    async def _locked(
        self, connection: AsyncConnection, item: Item, at: datetime
    ) -> tuple[WithdrawalRow, PaymentRow]:
        """The failed withdrawal and its last attempt under their locks. Raises Rejected."""
        await _refuse_too_early(connection, at)
        waiting, payment = await self._failed(connection, item)
        payment = await locked_payment(connection, payment.id)
        merchant, request = waiting.merchant, waiting.request
        waiting = await withdrawal_rows.locked(connection, merchant, request)
        if waiting.state is not WithdrawalState.FAILED_MANUAL or waiting.payment != payment.id:
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the withdrawal is {waiting.state}")
        await self._refuse_contradicted(connection, payment)
        return waiting, payment

    async def _failed(
        self, connection: AsyncConnection, item: Item
    ) -> tuple[WithdrawalRow, PaymentRow]:
        found = withdrawal_of(item.subject)
        waiting = None if found is None else await withdrawal_rows.read(connection, *found)
        if waiting is None or waiting.payment is None:
            raise Broken("an item of a withdrawal that was never to be paid")
        return waiting, await payment_by_id(connection, waiting.payment)

    async def _blocks(
        self, connection: AsyncConnection, waiting: WithdrawalRow
    ) -> tuple[Code, ...]:
        """What forbids to pay it again, as it stands; under the lock it is asked again."""
        account = await self._accounts.read(connection, waiting.merchant, waiting.currency)
        if account is None:
            raise Broken("a withdrawal failed without its account")
        return approval_blocks((await holdings(connection, account)).dues, account.state)

    async def _refuse_contradicted(self, connection: AsyncConnection, row: PaymentRow) -> None:
        if await is_contradicted(connection, row):
            detail = (
                "the bank has taken, booked or named the payment: settle its debit with it first, "
                "or prove at its own item that it was not paid"
            )
            raise Rejected(Code.REQUEST_DECIDED, detail=detail)


def _corrected(terms: PaymentTerms, payee: PaymentParty) -> PaymentTerms:
    """The same payment to another payee, checked anew. Raises Rejected with every reason."""
    return valid_terms({**dict(terms), "creditor": payee})


def _refuse_blocked(blocks: Sequence[Code]) -> None:
    """Who owes money is not paid again, however often the bank refused (P-45, 1.9)."""
    if blocks:
        detail = "the account forbids it now: give the money back, or pay again later"
        raise Rejected(*(Reason(code=code, detail=detail) for code in blocks))


def _refuse_own(waiting: WithdrawalRow, actor: str) -> None:
    """Another payee is another approval, which nobody gives who asked for the money (C-07)."""
    if same_person(waiting.requested_by, actor):
        raise Rejected(Code.OWN_REQUEST, detail="nobody redirects what he asked for")


async def may_be_unpaid(connection: AsyncConnection, row: PaymentRow, said: str | None) -> None:
    """Whether people may prove that it was not paid. Raises Rejected.

    A file that was never marked may be leaving right now; the door's mark is looked at first. Where
    the bank's words say that it has the payment, they say that they know: ``said`` is its
    end-to-end id. That is also how it ends for one that is refused already.
    """
    word = await word_of(connection, row)
    leaving = row.state is PaymentState.RECORDED and row.rail is Rail.FILE
    doubted = row.state is PaymentState.REJECTED and word.doubts
    if leaving or not (row.state.open or doubted):
        raise Rejected(Code.REQUEST_DECIDED, detail=f"the payment is {row.state}")
    if word.booked:
        detail = "the bank has booked the payment: settle its debit with it first"
        raise Rejected(Code.REQUEST_DECIDED, detail=detail)
    if said != (row.end_to_end_id if word.doubts else None):
        detail = "the target is the payment's id where the bank says that it has it, else nothing"
        raise Rejected(Code.PAYMENT_NAMED, detail=detail)


async def may_be_noted(connection: AsyncConnection, row: PaymentRow) -> None:
    """Whether a note may end the work: not where only this work can end it. Raises Rejected."""
    if row.state is PaymentState.REJECTED and (await word_of(connection, row)).doubts:
        detail = "the bank says that it has it: two people prove it unpaid, or its debit is settled"
        raise Rejected(Code.PAYMENT_NAMED, detail=detail)


async def _refuse_too_early(connection: AsyncConnection, at: datetime) -> None:
    """A file that has come may tell a debit: what it says is known in a moment."""
    if await files_to_come(connection, at=at):
        detail = "a file of the bank's has come and is not read yet: try again in a moment"
        raise Rejected(Code.FILES_UNREAD, detail=detail)
