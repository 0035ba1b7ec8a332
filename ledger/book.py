"""The double-entry book: post transfers in batches, once each, and read balances now or back then.

A key names one effect for ever: the same request is answered with its first outcome, another body
under the same key with KEY_REUSED. Refusals are remembered too. Nothing here ever edits a transfer.
Transfers about orders have a door of their own, ``ledger.orders``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.engine import execute, fetch, in_transaction
from ledger.keys import effect_key, fingerprint
from ledger.sheet import Effect, Sheet
from tillkeeper.contracts.book import (
    Balances,
    Bucket,
    TransferKind,
    TransferOutcome,
    TransferRequest,
    TransferResult,
)
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.postings import CHART, TEMPLATES

BATCH_MAX: Final = 500

KINDS: Final = frozenset(
    {
        TransferKind.RECEIPT,
        TransferKind.TOPUP,
        TransferKind.WITHDRAWAL,
        TransferKind.WITHDRAWAL_PAID,
        TransferKind.WITHDRAWAL_RETURNED,
    }
)
"""What may be posted here; the other kinds change an order's row in the same transaction."""

_FIND_KEYS: Final = """
SELECT key, fingerprint, NULL AS code FROM transfers WHERE key = ANY($1::uuid[])
UNION ALL
SELECT key, fingerprint, code FROM refusals WHERE key = ANY($1::uuid[])"""

_REFUSE: Final = """
INSERT INTO refusals (key, fingerprint, code)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])"""

_BALANCES: Final = "SELECT bucket, balance FROM accounts WHERE holder = $1 AND currency = $2"

_BALANCES_AT: Final = """
SELECT bucket, balance_at(id, $3::timestamptz) FROM accounts WHERE holder = $1 AND currency = $2"""

_Known = dict[UUID, tuple[UUID, Code | None]]


class Book:
    """The door for transfers and balances. Safe to call twice with the same requests."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def post(self, requests: Sequence[TransferRequest]) -> list[TransferOutcome]:
        """Post up to 500 requests in one transaction, in their order; one outcome each.

        Neighbours with the same ``link`` succeed or fail together.
        Raises Rejected(TOO_MANY | FIELD_INVALID), Unavailable, BookBroken.
        """
        if len(requests) > BATCH_MAX:
            raise Rejected(Code.TOO_MANY, detail=f"at most {BATCH_MAX} requests at once")
        if any(request.kind not in KINDS for request in requests):
            raise Rejected(Code.FIELD_INVALID, detail="orders have a door of their own")

        async def work(connection: AsyncConnection) -> list[TransferOutcome]:
            return await _post(connection, requests)

        return await in_transaction(self._engine, work)

    async def balances(self, merchant: str, currency: str) -> Balances:
        """The merchant's buckets now, in minor units. Raises Rejected(ACCOUNT_NOT_OPENED)."""
        return await self._read(merchant, currency, datetime.now(UTC), _BALANCES)

    async def balances_at(self, merchant: str, currency: str, moment: datetime) -> Balances:
        """The merchant's buckets as they were recorded at ``moment`` (aware), in minor units."""
        return await self._read(merchant, currency, moment, _BALANCES_AT, moment)

    async def _read(
        self, merchant: str, currency: str, at: datetime, statement: str, *more: datetime
    ) -> Balances:
        async def work(connection: AsyncConnection) -> dict[Bucket, int]:
            rows = await fetch(connection, statement, (f"merchant/{merchant}", currency, *more))
            return {Bucket(row[0]): row[1] for row in rows}

        found = await in_transaction(self._engine, work)
        if not found:
            raise Rejected(Code.ACCOUNT_NOT_OPENED, detail="no account of this merchant")
        return Balances(
            merchant=merchant,
            currency=currency,
            available=found[Bucket.AVAILABLE],
            frozen=found[Bucket.FROZEN],
            withdrawing=found[Bucket.WITHDRAWING],
            dues=found[Bucket.DUES],
            at=at,
        )


async def _post(
    connection: AsyncConnection, requests: Sequence[TransferRequest]
) -> list[TransferOutcome]:
    sheet = await Sheet.open(
        connection,
        merchants={(r.merchant, r.currency) for r in requests if r.merchant is not None},
        platform=sorted(
            (bucket, request.currency)
            for request in requests
            for bucket in (TEMPLATES[request.kind].debit, TEMPLATES[request.kind].credit)
            if CHART[bucket].platform and CHART[bucket].shards == 1
        ),
    )
    keys = [effect_key(request.name, request.effective_at) for request in requests]
    # A statement of its own, after the locks: what the wait let in must be seen.
    rows = await fetch(connection, _FIND_KEYS, (keys,))
    known: _Known = {row[0]: (row[1], Code(row[2]) if row[2] else None) for row in rows}
    outcomes: list[TransferOutcome] = []
    refused: dict[UUID, tuple[UUID, Code]] = {}
    numbered = list(zip(keys, requests, strict=True))
    for link, group in groupby(enumerate(numbered), key=lambda n: n[1][1].link or n[0]):
        members = [pair for _, pair in group]
        outcomes += await _decide(sheet, members, known, refused, linked=isinstance(link, str))
    await sheet.write()
    if refused:
        prints = [print_ for print_, _ in refused.values()]
        codes = [code.value for _, code in refused.values()]
        await execute(connection, _REFUSE, (list(refused), prints, codes))
    return outcomes


async def _decide(
    sheet: Sheet,
    group: Sequence[tuple[UUID, TransferRequest]],
    known: _Known,
    refused: dict[UUID, tuple[UUID, Code]],
    *,
    linked: bool,
) -> list[TransferOutcome]:
    """Decide one request, or a linked group as a whole: at its first no, all is taken back."""
    mark = sheet.mark
    outcomes: list[TransferOutcome] = []
    for key, request in group:
        outcomes.append(await _decide_one(sheet, key, request, known))
        if outcomes[-1].code is not None and linked:
            sheet.undo(mark)
            outcomes = _linked_refusals(group, outcomes, known)
            break
    for (key, request), outcome in zip(group, outcomes, strict=True):
        anew = not outcome.replayed and outcome.code not in (None, Code.KEY_REUSED)
        if anew and outcome.code is not None and key not in refused:
            known[key] = (_fingerprint(request), outcome.code)
            refused[key] = (_fingerprint(request), outcome.code)
    return outcomes


def _linked_refusals(
    group: Sequence[tuple[UUID, TransferRequest]], outcomes: list[TransferOutcome], known: _Known
) -> list[TransferOutcome]:
    """Outcomes of a group whose last outcome is a refusal; what stood before keeps its answer."""
    undone = {
        key
        for (key, _), outcome in zip(group, outcomes, strict=False)
        if outcome == TransferOutcome(TransferResult.POSTED)
    }
    for key in undone:
        del known[key]
    answers: list[TransferOutcome] = []
    for position, (key, request) in enumerate(group):
        culprit = position == len(outcomes) - 1
        if culprit or (key not in undone and position < len(outcomes)):
            answers.append(outcomes[position])
        elif key in known:
            answers.append(_known_answer(known[key], request))
        else:
            answers.append(TransferOutcome(TransferResult.REFUSED, code=Code.LINKED_REFUSED))
    return answers


def _known_answer(first: tuple[UUID, Code | None], request: TransferRequest) -> TransferOutcome:
    """What a key answers that was used before: the first outcome, or a conflict (C-02)."""
    print_, code = first
    if print_ != _fingerprint(request):
        return TransferOutcome(TransferResult.REFUSED, code=Code.KEY_REUSED)
    result = TransferResult.POSTED if code is None else TransferResult.REFUSED
    return TransferOutcome(result, replayed=True, code=code)


async def _decide_one(
    sheet: Sheet, key: UUID, request: TransferRequest, known: _Known
) -> TransferOutcome:
    if key in known:
        return _known_answer(known[key], request)
    template = TEMPLATES[request.kind]
    own = not (CHART[template.debit].platform and CHART[template.credit].platform)
    owner = sheet.merchant(request.merchant or "", request.currency)
    if own is (request.merchant is None):
        return TransferOutcome(TransferResult.REFUSED, code=Code.FIELD_INVALID)
    if own and owner is None:
        return TransferOutcome(TransferResult.REFUSED, code=Code.ACCOUNT_NOT_OPENED)
    amount, effect = request.amount_minor, _effect(request)
    try:
        if owner is not None and template.credit is Bucket.AVAILABLE:
            await sheet.credit(request.kind, owner, amount=amount, effect=effect)
        else:
            sheet.post(request.kind, owner, currency=request.currency, amount=amount, effect=effect)
    except Rejected as refusal:
        return TransferOutcome(TransferResult.REFUSED, code=refusal.codes[0])
    known[key] = (_fingerprint(request), None)
    return TransferOutcome(TransferResult.POSTED)


def _effect(request: TransferRequest) -> Effect:
    return Effect(request.name, request.subject, request.effective_at)


def _fingerprint(request: TransferRequest) -> UUID:
    body = (
        f"{request.kind}|{request.amount_minor}|{request.currency}"
        f"|{request.merchant or ''}|{request.subject}"
    )
    return fingerprint(body)
