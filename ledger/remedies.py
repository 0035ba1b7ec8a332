"""What an approved decision of the desk does: match, return, charge, settle (P-29, C-13).

Promises that a receipt leaves ``unmatched_receipts`` once and to one place, and that a request is
paid by one receipt at most. It moves nothing on its own: the desk asks under the item's lock.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.audit import Act
from ledger.bank.lump_remedies import LumpRemedies
from ledger.crediting import Credit, credit_request, will_activate
from ledger.engine import execute, fetch
from ledger.payers import TOLD, Payer, payer_of
from ledger.payment_rows import PaymentRow, read_payment
from ledger.payments import NewPayment, record_payment
from ledger.purposes import PLATFORM, SETTLING
from ledger.receiving import Receiver
from ledger.settling import may_charge, settle, settled_name, share_of
from ledger.sheet import Effect, Sheet
from ledger.topups import TopUpRow, read_topup
from ledger.withdrawal_remedies import WithdrawalRemedies, may_be_noted, may_be_unpaid
from ledger.workitems import Item, NewItem, Proposal
from tillkeeper.contracts.account import AccountState
from tillkeeper.contracts.book import Bucket, TransferKind
from tillkeeper.contracts.errors import Broken, Code, Rejected, rejected_from
from tillkeeper.contracts.fingerprint import canonical
from tillkeeper.contracts.payment import PaymentParty, PaymentState, PaymentTerms, Rail
from tillkeeper.contracts.receipt import ReceiptState
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.contracts.withdrawal import withdrawal_of
from tillkeeper.contracts.workitem import ItemAction, ItemKind, Propose, ReturnTo
from tillkeeper.rules.desk import OF_LUMPS, PAYS, target_of

CanPay = Callable[[str], bool]
"""Whether payments in a currency can leave: an exchange with the bank and an account of ours."""

PAYEE: Final = "item/payee"
"""What the digest of a return's payee is for: it is keyed, for accounts can be guessed."""

RETURNS_MAX: Final = 50
"""How often one receipt may be sent back to its sender and come back refused."""

_PLATFORM: Final = {
    ItemAction.MATCH: (Bucket.UNMATCHED_RECEIPTS,),
    ItemAction.RETURN: (Bucket.UNMATCHED_RECEIPTS, Bucket.RETURNING_RECEIPTS),
    ItemAction.CHARGE: (Bucket.UNMATCHED_PAYMENTS, Bucket.BANK_CHARGES),
    ItemAction.PAYMENT: SETTLING,
    ItemAction.NOT_PAID: PLATFORM,
}

_RECEIPT: Final = f"SELECT {TOLD} WHERE r.digest = $1"

_LOCK_RECEIPT: Final = "SELECT digest FROM receipts WHERE digest = $1 FOR NO KEY UPDATE"

_PAID_BY: Final = "SELECT digest FROM receipts WHERE topup = $1"

_MATCHED: Final = """
UPDATE receipts
   SET state = 'CREDITED', reason = NULL, topup = $2, activated = $3, matched_by = $4
 WHERE digest = $1 AND state = 'UNMATCHED' RETURNING digest"""

_RETURNING: Final = """
UPDATE receipts
   SET state = 'RETURNING', payment = (SELECT id FROM payments WHERE end_to_end_id = $2)
 WHERE digest = $1 AND state = 'UNMATCHED' RETURNING digest"""

_RETURNED_BEFORE: Final = "SELECT count(*) FROM payments WHERE subject = ANY($1::text[])"


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approves which item's proposal, when, and what for.

    ``follow`` is the work that is left by it, to be opened once the item has ended.
    """

    item: Item
    act: Act
    follow: list[NewItem] = field(default_factory=list)

    @property
    def told(self) -> dict[str, str]:
        """Both people and the item, for the audit of what is done (C-07)."""
        return {"proposed_by": self.item.proposed_by or "", "item": self.item.name}


class Remedies:
    """Checks what is proposed, and does what is approved."""

    def __init__(
        self, receiver: Receiver, can_pay: CanPay, rails: Sequence[Rail] = (Rail.FILE,)
    ) -> None:
        self._receiver = receiver
        self._rails = rails
        self._withdrawals = WithdrawalRemedies(receiver.ring, rails)
        self._lumps = LumpRemedies(receiver)
        self._ring = receiver.ring
        self._accounts = receiver.accounts
        self._can_pay = can_pay

    async def check(self, connection: AsyncConnection, item: Item, body: Propose) -> Proposal:
        """The proposal, with whom a return pays. Raises Rejected where it could not be approved."""
        if body.action is ItemAction.MATCH:
            receipt = await self._receipt(connection, item)
            await self._request(connection, receipt, body.target)
        if body.action is ItemAction.PAYMENT:
            await share_of(connection, replace(item, target=body.target))
        if body.action is ItemAction.CHARGE:
            await may_charge(connection, item)
        if body.action is ItemAction.NOT_PAID:
            row = await self._payment(connection, item)
            await may_be_unpaid(connection, row, body.target)
        if body.action in OF_LUMPS:
            await self._lumps.check(connection, item, body.action)
        if body.action is ItemAction.ACKNOWLEDGE and item.kind is ItemKind.PAYMENT_OVERDUE:
            await may_be_noted(connection, await self._payment(connection, item))
        if item.kind is ItemKind.WITHDRAWAL_FAILED:
            await self._withdrawals.check(connection, item, body)
        if body.action not in PAYS:
            return Proposal(body=body)
        if body.action is ItemAction.RETURN:
            receipt = await self._receipt(connection, item)
            told = payer_of(self._ring, receipt)
            payee = _payee(told, body.return_to or ReturnTo())
            self._terms(receipt, payee)
        else:
            told = _as_payer(await self._withdrawals.payee(connection, item))
            payee = _payee(told, body.return_to or ReturnTo())
            await self._withdrawals.check_payee(connection, item, payee)
        return Proposal(
            body=body,
            payee=payee,
            payee_digest=self._ring.digest(canonical(payee), purpose=PAYEE).hex(),
            payee_differs=_differs(told, payee),
        )

    async def open_sheet(
        self, connection: AsyncConnection, item: Item, action: ItemAction, target: str | None
    ) -> Sheet:
        """The locks that an action's effect needs, before the item's own."""
        currency = item.currency or ""
        owner = await self._owner(connection, item, action, target)
        if action in OF_LUMPS:
            await self._lumps.lock(connection, item)
        return await Sheet.open(
            connection,
            merchants=[(owner, currency)] if owner is not None else [],
            platform=[(bucket, currency) for bucket in _PLATFORM.get(action, ())],
        )

    async def _owner(
        self, connection: AsyncConnection, item: Item, action: ItemAction, target: str | None
    ) -> str | None:
        """The merchant whose money an action moves."""
        if action is ItemAction.MATCH:
            return target_of(target)[0]
        if action is ItemAction.PAYMENT:
            return (await read_payment(connection, settled_name(target))).merchant
        if action is ItemAction.NOT_PAID:
            return (await self._payment(connection, item)).merchant
        found = withdrawal_of(item.subject)
        return None if found is None else found[0]

    async def _payment(self, connection: AsyncConnection, item: Item) -> PaymentRow:
        """The payment that an item is about."""
        return await read_payment(connection, item.subject.removeprefix("payment/"))

    async def apply(self, sheet: Sheet, approval: Approval) -> str | None:
        """Do what was proposed; answers the target: the request, or the payment that was made."""
        match _action(approval.item):
            case ItemAction.MATCH:
                return await self._match(sheet, approval)
            case ItemAction.RETURN:
                return await self._return(sheet, approval)
            case ItemAction.CHARGE:
                await may_charge(sheet.connection, approval.item)
                self._charge(sheet, approval)
            case ItemAction.PAYMENT:
                return await self._settle(sheet, approval)
            case ItemAction.RETRY | ItemAction.RETRY_CORRECTED:
                made = approval.item.proposal
                payee = None if made is None else made.payee
                return await self._withdrawals.again(sheet, approval.item, approval.act, payee)
            case ItemAction.RETURN_TO_AVAILABLE:
                await self._withdrawals.give_back(sheet, approval.item, approval.act)
            case ItemAction.NOT_PAID:
                row = await self._payment(sheet.connection, approval.item)
                await self._withdrawals.not_paid(sheet, row, approval.item, approval.act)
                return row.end_to_end_id
            case ItemAction.THESE_PIECES | ItemAction.OTHER_MONEY:
                await self._lumps.apply(sheet.connection, approval.item, approval.act)
            case ItemAction.ACKNOWLEDGE:
                pass
        return None

    async def _match(self, sheet: Sheet, approval: Approval) -> str | None:
        item, act, connection = approval.item, approval.act, sheet.connection
        receipt = await self._receipt(connection, item, lock=True)
        request = await self._request(connection, receipt, item.target)
        activated = will_activate(sheet, request)
        row = (receipt.digest, request.id, activated, item.name)
        await _one(connection, _MATCHED, row)
        name = f"{item.subject}/match"
        credit = Credit(request, receipt.digest, receipt.amount, name, approval.told)
        await credit_request(sheet, credit, act, self._receiver)
        await self._record(connection, approval, receipt, ReceiptState.CREDITED)
        return item.target

    async def _return(self, sheet: Sheet, approval: Approval) -> str:
        item, at, connection = approval.item, approval.act.at, sheet.connection
        receipt = await self._receipt(connection, item, lock=True)
        proposal = item.proposal
        if proposal is None or proposal.payee is None:
            raise Rejected(Code.PAYER_UNKNOWN, detail="nobody is named to pay it back to")
        terms = self._terms(receipt, proposal.payee)
        subject = await _next_return(connection, item.subject)
        sheet.post(
            TransferKind.RECEIPT_RETURN, None, currency=receipt.currency, amount=receipt.amount,
            effect=Effect(subject, item.subject, at),
        )  # fmt: skip
        rail = Rail.FILE if Rail.FILE in self._rails else self._rails[0]
        made = NewPayment(subject, terms, approval.act.actor, rail=rail)
        payment = await record_payment(connection, self._ring, made, at)
        await _one(connection, _RETURNING, (receipt.digest, payment.end_to_end_id))
        await self._record(connection, approval, receipt, ReceiptState.RETURNING)
        return payment.end_to_end_id

    async def _settle(self, sheet: Sheet, approval: Approval) -> str:
        """The debit, or a part, is a payment of ours; what the bank took beyond it is a charge.

        What names other payments is work again.
        """
        item, connection = approval.item, sheet.connection
        share = await settle(sheet, item, approval.act.at)
        name, before = share.row.end_to_end_id, share.row.state.value
        if share.charge:
            self._charge(sheet, approval, share.charge, f"/{name}")
        if share.rest:
            approval.follow.append(
                NewItem(item.kind, item.subject, "", share.rest, item.currency, item.context)
            )
        after: dict[str, Any] = {"state": PaymentState.PAID.value, "entry": share.entry}
        after |= {"less": share.less} if share.less else {}
        await self._accounts.audit.record(
            connection, approval.act, f"payment/{name}",
            before={"state": before}, after=after | approval.told,
        )  # fmt: skip
        return name

    def _charge(
        self, sheet: Sheet, approval: Approval, amount: int | None = None, beyond: str = ""
    ) -> None:
        """Book a charge: all of the debit, or ``beyond`` the payment that is named so."""
        item = approval.item
        if item.amount is None or item.currency is None:
            raise Broken("an unknown debit without its amount")
        effect = Effect(f"{item.subject}/charge{beyond}", item.subject, approval.act.at)
        sheet.post(
            TransferKind.BANK_CHARGE, None, currency=item.currency, amount=amount or item.amount,
            effect=effect,
        )  # fmt: skip

    async def _record(
        self, connection: AsyncConnection, approval: Approval, receipt: Any, state: ReceiptState
    ) -> None:
        before, after = {"state": receipt.state}, {"state": state.value, **approval.told}
        await self._accounts.audit.record(
            connection, approval.act, approval.item.subject, before=before, after=after
        )

    async def _receipt(self, connection: AsyncConnection, item: Item, *, lock: bool = False) -> Any:
        """The receipt that the item is about, while it is unmatched. Raises Rejected."""
        digest = item.subject.removeprefix("receipt/")
        if lock:
            await execute(connection, _LOCK_RECEIPT, (digest,))
        rows = await fetch(connection, _RECEIPT, (digest,))
        if not rows:
            raise Rejected(Code.RECEIPT_UNKNOWN, detail="there is no such receipt")
        if rows[0].state != ReceiptState.UNMATCHED:
            raise Rejected(Code.RECEIPT_DECIDED, detail=f"the receipt is {rows[0].state} already")
        return rows[0]

    async def _request(
        self, connection: AsyncConnection, receipt: Any, target: str | None
    ) -> TopUpRow:
        """The request that a receipt may be credited to: one that no receipt has paid (P-23)."""
        request = await read_topup(connection, *target_of(target))
        if request is None or request.currency != receipt.currency:
            detail = f"there is no such request in {receipt.currency}"
            raise Rejected(Code.REQUEST_UNKNOWN, detail=detail)
        paid = await fetch(connection, _PAID_BY, (request.id,))
        if paid or request.state in (TopUpState.REFUSED, TopUpState.CREDITED):
            state = TopUpState.CREDITED if paid else request.state
            raise Rejected(Code.REQUEST_DECIDED, detail=f"the request is {state} already")
        account = await self._accounts.read(connection, request.merchant, request.currency)
        if account is None or account.state is AccountState.CLOSED:
            raise Rejected(Code.ACCOUNT_CLOSED, detail="the account is closed")
        return request

    def _terms(self, receipt: Any, payee: PaymentParty) -> PaymentTerms:
        """What the payment says. Raises Rejected(BANK_EXCHANGE_MISSING | PAYMENT_DATA_MISSING)."""
        if not self._can_pay(receipt.currency):
            detail = f"no exchange with a bank for payments in {receipt.currency}"
            raise Rejected(Code.BANK_EXCHANGE_MISSING, detail=detail)
        try:
            return PaymentTerms(
                creditor=payee,
                amount_minor=receipt.amount,
                currency=receipt.currency,
                remittance=f"RETURN OF RECEIPT {receipt.digest[:16].upper()}",
            )
        except ValidationError as error:
            raise rejected_from(error) from None


def _payee(told: Payer, given: ReturnTo) -> PaymentParty:
    """Whom a return pays: the payer as the bank told, unless the proposal knows better.

    Of another account nothing is known: its bank is the proposal's alone.
    """
    name, account = given.name or told.name, given.account or told.account
    if not name or not account:
        detail = "the bank names no payer or no account: say whom and where to pay"
        raise Rejected(Code.PAYER_UNKNOWN, detail=detail)
    known = told if _compact(account) == _compact(told.account) else Payer(name, account)
    fields = {
        "name": name,
        "account": account,
        "bank_name": given.bank_name or known.bank_name,
        "bic": given.bic or known.bic,
        "clearing_code": given.clearing_code or known.clearing_code,
    }
    try:
        return PaymentParty.model_validate(fields)
    except ValidationError as error:
        raise rejected_from(error) from None


def _as_payer(payee: PaymentParty) -> Payer:
    """Whom a withdrawal pays, as what a correction starts from."""
    return Payer(
        payee.name, payee.account, bank_name=payee.bank_name, bic=payee.bic,
        clearing_code=payee.clearing_code,
    )  # fmt: skip


def _differs(told: Payer, payee: PaymentParty) -> tuple[str, ...]:
    """The fields in which a payee is not the payer as the bank told."""
    paid = payee.model_dump()
    same = {name: _compact(getattr(told, name)) == _compact(value) for name, value in paid.items()}
    return tuple(name for name, equal in same.items() if not equal)


def _compact(value: str | None) -> str:
    return "".join(unicodedata.normalize("NFKC", value or "").split())


def _action(item: Item) -> ItemAction:
    if item.action is None:
        raise Broken("a proposal without an action")
    return item.action


async def _one(connection: AsyncConnection, statement: str, row: tuple[Any, ...]) -> None:
    if not await fetch(connection, statement, row):
        raise Broken("a receipt was decided while it was locked")


async def _next_return(connection: AsyncConnection, receipt: str) -> str:
    """What the next return of a receipt is called: the bank may refuse one, and it goes again."""
    names = [f"{receipt}/return/{number}" for number in range(1, RETURNS_MAX + 1)]
    done: int = (await fetch(connection, _RETURNED_BEFORE, (names,)))[0][0]
    if done == RETURNS_MAX:
        raise Rejected(Code.TOO_MANY, detail="it came back too often: match it instead")
    return names[done]
