"""A withdrawal that is paid to a corrected account: only to a payee that a payment can carry."""

from __future__ import annotations

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.payment_rows import opened_terms, payment_view, sealed_terms
from tests.ledger.payout_support import Cashier
from tests.ledger.withdrawal_support import ACCOUNT, AT, OTHER_ACCOUNT, bank
from tests.workflows.support import refused
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.payment import PaymentTerms, Rail
from tillkeeper.contracts.workitem import ItemAction, ReturnTo
from tillkeeper.sealing import KeyRing

FAILED = "WITHDRAWAL_FAILED"
IBAN = "DE89370400440532013000"
LONG = "A" * 71
"""One letter more than SEPA carries."""


@pytest_asyncio.fixture(loop_scope="session")
async def euros(engine: AsyncEngine, ring: KeyRing) -> Cashier:
    """A merchant whose 2,000.00 euros the bank refused to pay: the account is closed."""
    made = Cashier(engine, ring)
    counter = made.counter
    counter.by_rail(Rail.HTTP)
    details = bank(IBAN, company_name="Acme GmbH", bank="Commerzbank", branch="Köln")
    await counter.account(bound=details, currency="EUR")
    view = await counter.approve(await counter.submit(currency="EUR"))
    assert view.payment is not None
    await made.sending(view.payment.end_to_end_id)
    await made.says(view.payment.end_to_end_id, "RJCT", "AC04")
    return made


async def second(cashier: Cashier) -> PaymentTerms:
    """What the second attempt pays."""
    [made] = await cashier.counter.rows("SELECT end_to_end_id FROM payments WHERE attempt = 2")
    return opened_terms(cashier.ring, await cashier.payment(made.end_to_end_id))


class TestCarried:
    async def test_a_name_that_no_payment_carries_is_refused_and_changes_nothing(
        self, euros: Cashier
    ) -> None:
        """P-71: once stored, every read of it would fail, of all lists and of its run."""
        item = await euros.item(FAILED)
        with refused(Code.FIELD_INVALID):
            await euros.choose(
                item, ItemAction.RETRY_CORRECTED, return_to=ReturnTo(name=LONG, account=IBAN)
            )
        assert await euros.stands() == ("FAILED_MANUAL", "AC04", 1)
        assert await euros.items() == [(FAILED, "OPEN")]
        assert await euros.counter.count("payments") == 1

    async def test_seventy_letters_are_carried(self, euros: Cashier) -> None:
        """The edge itself is paid, and can be read by everybody."""
        shown = await euros.choose(
            await euros.item(FAILED), ItemAction.RETRY_CORRECTED,
            return_to=ReturnTo(name=LONG[1:], account=IBAN),
        )  # fmt: skip
        await euros.confirm(shown)
        assert (await second(euros)).creditor.name == LONG[1:]
        assert (await euros.counter.read()).state == "REMITTING"
        await euros.verified()

    async def test_what_was_proposed_by_other_rules_is_checked_again(
        self, euros: Cashier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The approval checks too: the rules, or the code, may be others by then."""
        with monkeypatch.context() as lenient:
            lenient.setattr("ledger.withdrawal_remedies.valid_terms", lambda _: None)
            shown = await euros.choose(
                await euros.item(FAILED), ItemAction.RETRY_CORRECTED,
                return_to=ReturnTo(name=LONG, account=IBAN),
            )  # fmt: skip
        with refused(Code.FIELD_INVALID):
            await euros.confirm(shown)
        assert await euros.stands() == ("FAILED_MANUAL", "AC04", 1)


class TestStored:
    async def test_nothing_is_stored_that_cannot_be_read_again(self, euros: Cashier) -> None:
        """A copy is not checked by itself; what is sealed is."""
        row = await euros.counter.rows("SELECT end_to_end_id FROM payments")
        payment = await euros.payment(row[0].end_to_end_id)
        assert payment_view(euros.ring, payment, AT, euros.counter.profile).payee
        terms = opened_terms(euros.ring, payment)
        bad = terms.creditor.model_copy(update={"name": LONG})
        with refused(Code.FIELD_INVALID):
            sealed_terms(euros.ring, "P1", terms.model_copy(update={"creditor": bad}))


@pytest_asyncio.fixture(loop_scope="session")
async def yuan(engine: AsyncEngine, ring: KeyRing) -> Cashier:
    """A merchant whose 2,000.00 yuan the bank refused to pay: the account is closed."""
    made = Cashier(engine, ring)
    await made.counter.account()
    name = await made.remitting()
    await made.sending(name)
    await made.says(name, "RJCT", "AC04")
    return made


class TestBank:
    async def test_another_account_has_its_bank_from_the_proposal_alone(
        self, euros: Cashier
    ) -> None:
        """P-71: the old bank's name would send the money to the wrong bank."""
        iban = "DE02120300000000202051"
        shown = await euros.choose(
            await euros.item(FAILED), ItemAction.RETRY_CORRECTED,
            return_to=ReturnTo(account=iban, bic="BYLADEM1001"),
        )  # fmt: skip
        assert shown.proposal is not None
        assert shown.proposal.payee_differs == ("account", "bank_name", "bic")
        await euros.confirm(shown)
        payee = (await second(euros)).creditor
        assert (payee.account, payee.bic) == (iban, "BYLADEM1001")
        assert (payee.name, payee.bank_name, payee.clearing_code) == ("Acme GmbH", None, None)

    async def test_another_account_of_no_known_bank_is_refused(self, yuan: Cashier) -> None:
        """An account that is no IBAN says nothing of its bank."""
        with refused(Code.PAYMENT_DATA_MISSING):
            await yuan.choose(
                await yuan.item(FAILED), ItemAction.RETRY_CORRECTED,
                return_to=ReturnTo(account=OTHER_ACCOUNT),
            )  # fmt: skip
        assert await yuan.items() == [(FAILED, "OPEN")]

    @pytest.mark.parametrize("account", [None, ACCOUNT, f"{ACCOUNT[:4]} {ACCOUNT[4:]}"])
    async def test_the_same_account_keeps_its_bank(
        self, yuan: Cashier, account: str | None
    ) -> None:
        """The name alone is corrected; spaces make no other account."""
        shown = await yuan.choose(
            await yuan.item(FAILED), ItemAction.RETRY_CORRECTED,
            return_to=ReturnTo(name="甲乙商贸有限公司", account=account),
        )  # fmt: skip
        assert shown.proposal is not None
        assert shown.proposal.payee_differs == ("name",)
        await yuan.confirm(shown)
        payee = (await second(yuan)).creditor
        assert (payee.account, payee.bank_name) == (ACCOUNT, "中国工商银行 北京分行")
