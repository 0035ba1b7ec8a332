"""What crediting a request by hand is, when two people have decided it (P-09, P-29, P-46).

Promises that the money, the request's decision, the account's first activation and the audit stand
or fall together. The caller holds the merchant's lock by its sheet, and writes the sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.audit import Act
from ledger.receiving import Receiver, activate
from ledger.sheet import Effect, Sheet
from ledger.topups import TopUpRow, decide_topup
from tillkeeper.contracts.book import TransferKind
from tillkeeper.contracts.errors import Broken
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.rules.opening import activates


@dataclass(frozen=True, slots=True)
class Credit:
    """Which request a receipt pays, by how many minor units; ``name`` names the effect for ever.

    ``told`` is what the audit tells besides, such as who proposed it.
    """

    request: TopUpRow
    digest: str
    amount: int
    name: str
    told: Mapping[str, str] = field(default_factory=dict)


def will_activate(sheet: Sheet, request: TopUpRow) -> bool:
    """Whether this credit makes the account active (P-09)."""
    account = sheet.merchant(request.merchant, request.currency)
    return account is not None and activates(account.state)


async def credit_request(sheet: Sheet, credit: Credit, act: Act, receiver: Receiver) -> None:
    """Credit the money, which pays dues first; decide the request if it waits; activate once.

    A request that was expired or cancelled stays decided as it is.
    """
    request = credit.request
    account = sheet.merchant(request.merchant, request.currency)
    if account is None:
        raise Broken("a request to credit belongs to no account")
    effect = Effect(credit.name, f"topup/{request.request}", act.at)
    await sheet.credit(TransferKind.TOPUP, account, amount=credit.amount, effect=effect)
    decided = await decide_topup(
        sheet.connection, request, TopUpState.CREDITED, at=act.at, receipt=credit.digest
    )
    if request.waits and not decided:
        raise Broken("a request was decided while its merchant was locked")
    before = {"state": request.state.value}
    state = TopUpState.CREDITED if decided else request.state
    after = {"state": state.value, "receipt": credit.digest, **credit.told}
    subject = f"topup/{request.merchant}/{request.request}"
    await receiver.accounts.audit.record(sheet.connection, act, subject, before=before, after=after)
    await activate(sheet.connection, receiver, request.merchant, request.currency, at=act.at)
