"""``tillkeeper account``: opening, bank details, alerts, contacts, standing, closing (P-01 … P-11).

Every command goes through the workflows; names, numbers and contacts are shown masked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Final, TypeVar

import typer

from console.asking import (
    ACTOR,
    Actor,
    CurrencyOption,
    FromFile,
    Merchant,
    ReasonOption,
    fields_from,
    read_amount,
    read_model,
    with_house,
)
from console.connection import House
from console.output import AsJson, answer, presentable, show
from ledger.book import Book
from ledger.reads import Reads
from tillkeeper.client import Tillkeeper
from tillkeeper.contracts.account import (
    AccountView,
    AddContact,
    CloseAccount,
    ConfigureAlerts,
    MerchantFacts,
    MerchantType,
    OpenAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
)
from tillkeeper.contracts.base import Model
from tillkeeper.contracts.money import format_amount

Body = TypeVar("Body", bound=Model)
Decision = Callable[[Tillkeeper, str, str, Body], Awaitable[AccountView]]

app = typer.Typer(help="Prepaid accounts.", no_args_is_help=True)
contact = typer.Typer(help="Contacts of an account, three at most.", no_args_is_help=True)
app.add_typer(contact, name="contact")

EXAMPLE: Final = {
    "merchant": "M2",
    "currency": "CNY",
    "merchant_type": MerchantType.SELF_OPERATED_SUPPLIER.value,
    "prepaid_eligible": True,
    "legal_name": "甲乙贸易有限公司",
    "opening_user": "user-1",
    "bank_details": {
        "method": "wire",
        "bank": "招商银行",
        "branch": "上海分行",
        "account_number": "6225000000001234",
        "company_name": "甲乙贸易有限公司",
        "source": "SELF_SERVICE",
        "state": "EFFECTIVE",
    },
}


@app.command("example")
def example(as_json: AsJson = False) -> None:
    """Print a JSON file for `account open --from`."""
    answer(EXAMPLE)


@app.command("open")
def open_(source: FromFile, as_json: AsJson = False) -> None:
    """Open an account from a JSON file; `account example` prints one."""
    request = read_model(OpenAccount, fields_from(source))

    async def work(house: House) -> AccountView:
        return await (await house.tillkeeper()).open_account(request)

    _show(with_house(work))


@app.command("show")
def show_(merchant: Merchant, currency: CurrencyOption = "CNY", as_json: AsJson = False) -> None:
    """Show an account, what to do next, and its balances."""

    async def work(house: House) -> tuple[AccountView, dict[str, str]]:
        view = await (await house.tillkeeper()).account(merchant, currency)
        return view, await _balances(house, merchant, currency)

    view, balances = with_house(work)
    _show(view, balances=balances)


@app.command("home")
def home(
    merchant: Merchant,
    currency: CurrencyOption = "CNY",
    merchant_type: Annotated[
        MerchantType, typer.Option("--type")
    ] = MerchantType.SELF_OPERATED_SUPPLIER,
    eligible: Annotated[bool, typer.Option("--eligible/--not-eligible")] = True,
    as_json: AsJson = False,
) -> None:
    """Show the home page: whether to prompt for opening, the account, and its figures."""
    facts = read_model(
        MerchantFacts,
        {
            "merchant": merchant,
            "currency": currency,
            "merchant_type": merchant_type.value,
            "prepaid_eligible": eligible,
        },
    )

    async def work(house: House) -> dict[str, Any]:
        page = await (await house.tillkeeper()).home(facts)
        fields = presentable(page, currency)
        if page.account is not None:
            figures = await Reads(house.engine).home(merchant, currency)
            fields["summary"] = presentable(asdict(figures), currency)
        return fields

    show(with_house(work), f"Home of {merchant}")


@app.command("bank")
def bank(
    merchant: Merchant,
    source: FromFile,
    currency: CurrencyOption = "CNY",
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Provide the bank details as they are now (JSON: bank_details of `account example`)."""
    body = read_model(ProvideBankDetails, {"details": fields_from(source), "actor": actor})

    _decide(Tillkeeper.provide_bank_details, merchant, currency, body)


@app.command("configure")
def configure(
    merchant: Merchant,
    source: FromFile,
    currency: CurrencyOption = "CNY",
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Set the warning amount and all contacts.

    JSON: {"warning": "1000.00", "contacts": [{"name": …, "email": …, "mobile": …}]}
    """
    fields = read_amount(fields_from(source), "warning", currency) | {"actor": actor}
    if fields.get("suspend_below") is not None:
        fields = read_amount(fields, "suspend_below", currency)
    body = read_model(ConfigureAlerts, fields)

    _decide(Tillkeeper.configure_alerts, merchant, currency, body)


@contact.command("add")
def add(
    merchant: Merchant,
    source: FromFile,
    currency: CurrencyOption = "CNY",
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Add a contact (JSON: {"name": …, "email": …, "mobile": …})."""
    body = read_model(AddContact, {"contact": fields_from(source), "actor": actor})

    _decide(Tillkeeper.add_contact, merchant, currency, body)


@contact.command("replace")
def replace(
    merchant: Merchant,
    position: Annotated[int, typer.Argument(help="Which one, counted from 1.")],
    source: FromFile,
    currency: CurrencyOption = "CNY",
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Replace a contact (JSON: {"name": …, "email": …, "mobile": …})."""
    fields = {"position": position - 1, "contact": fields_from(source), "actor": actor}
    body = read_model(ReplaceContact, fields)

    _decide(Tillkeeper.replace_contact, merchant, currency, body)


@app.command("standing")
def standing(
    merchant: Merchant,
    abnormal: Annotated[bool, typer.Option("--abnormal/--normal")],
    reason: ReasonOption,
    currency: CurrencyOption = "CNY",
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Mark an account abnormal, or normal again."""
    fields = {"abnormal": abnormal, "reason": reason, "actor": actor}
    body = read_model(SetStanding, fields)

    _decide(Tillkeeper.set_standing, merchant, currency, body)


@app.command("close")
def close(
    merchant: Merchant,
    reason: ReasonOption,
    currency: CurrencyOption = "CNY",
    actor: Actor = ACTOR,
    as_json: AsJson = False,
) -> None:
    """Close an account that holds nothing and owes nothing."""
    body = read_model(CloseAccount, {"reason": reason, "actor": actor})

    _decide(Tillkeeper.close_account, merchant, currency, body)


def _decide(decision: Decision[Body], merchant: str, currency: str, body: Body) -> None:
    """Send one command about an account, and show the account as it stands after it."""

    async def work(house: House) -> AccountView:
        return await decision(await house.tillkeeper(), merchant, currency, body)

    _show(with_house(work))


def _show(view: AccountView, **more: Any) -> None:
    show(presentable(view, view.currency) | more, f"Account {view.merchant} {view.currency}")


async def _balances(house: House, merchant: str, currency: str) -> dict[str, str]:
    found = await Book(house.engine).balances(merchant, currency)
    buckets = {
        "available": found.available,
        "frozen": found.frozen,
        "withdrawing": found.withdrawing,
        "dues": found.dues,
    }
    return {name: format_amount(amount, currency) for name, amount in buckets.items()}
