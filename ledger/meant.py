"""Which requests money may be meant for: looked for set by set, decided receipt after receipt.

Promises that what is looked at is enough for the rules to decide, in few statements however many
receipts there are, and that one request is never the answer for two of them (P-26). It changes
nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.engine import fetch
from tillkeeper.contracts.errors import Code
from tillkeeper.contracts.receipt import PayerKind
from tillkeeper.contracts.topup import TopUpState
from tillkeeper.rules.matching import Arrived, Candidate, Match, match

LIKELY_MAX: Final = 100
"""Requests looked at for one payer and for one amount: the newest."""

_SECOND: Final = 2
_OTHERS_COUNT: Final = (Code.NO_OPEN_REQUEST, Code.PAYER_UNKNOWN)
"""Reasons that what other companies asked for may change."""

# What is waiting and exact comes first, so that the limit never hides it.
_FIND: Final = """
WITH told AS (
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[]) AS n (payer, currency, amount))
SELECT t.id, t.merchant, t.currency, t.exact FROM (
    SELECT DISTINCT payer, currency, amount FROM told WHERE payer IS NOT NULL) n
 CROSS JOIN LATERAL (
    SELECT id, merchant, currency, state = 'WAITING_REMITTANCE' AS exact FROM topup_requests
     WHERE payer_digest = n.payer AND currency = n.currency AND amount = n.amount
       AND state IN ('WAITING_REMITTANCE', 'EXPIRED', 'CANCELLED')
     ORDER BY state = 'WAITING_REMITTANCE' DESC, id DESC LIMIT $5) t
UNION ALL
SELECT t.* FROM (SELECT DISTINCT payer, currency FROM told WHERE payer IS NOT NULL) n
 CROSS JOIN LATERAL (
    SELECT id, merchant, currency, false FROM topup_requests
     WHERE payer_digest = n.payer AND currency = n.currency AND state = 'WAITING_REMITTANCE'
     ORDER BY id DESC LIMIT $5) t
UNION ALL
SELECT t.* FROM (SELECT DISTINCT currency, amount FROM told) n
 CROSS JOIN LATERAL (
    SELECT id, merchant, currency, false FROM topup_requests
     WHERE currency = n.currency AND amount = n.amount AND state = 'WAITING_REMITTANCE'
     ORDER BY id DESC LIMIT $5) t
UNION ALL
SELECT id, merchant, currency, false FROM topup_requests
 WHERE code = ANY($4::text[]) AND state = 'WAITING_REMITTANCE'
UNION ALL
SELECT t.id, t.merchant, t.currency, false
  FROM (SELECT DISTINCT payer, currency FROM told WHERE payer IS NOT NULL) n
  JOIN topup_requests t ON t.payer_digest = n.payer AND t.currency = n.currency
 WHERE cardinality($4::text[]) > 0 AND t.code = ANY($4) AND t.state <> 'WAITING_REMITTANCE'"""

_READ: Final = """
SELECT id, merchant, request, currency, amount, state, requested_at, expires_at, code, payer_digest
  FROM topup_requests WHERE id = ANY($1::bigint[]) ORDER BY id"""


@dataclass(frozen=True, slots=True)
class Incoming:
    """Money of which a receipt is made; the amount in minor units.

    ``received_at`` is when we heard of it (P-31). Only requests submitted by ``asked_until`` may be
    meant. ``entry`` and ``part`` say where a bank's file tells it, ``part_reference`` is the part's
    own. What is not ``for_topup``, such as a payment of ours that came back, is nobody's top-up.
    """

    digest: str
    fingerprint: str
    amount: int
    currency: str
    payer_sealed: bytes
    payer_digest: bytes | None
    payer_kind: PayerKind
    booked_at: datetime
    received_at: datetime
    codes: tuple[str, ...] = ()
    asked_until: datetime | None = None
    entry: int | None = None
    part: int | None = None
    reference_digest: str | None = None
    for_topup: bool = True
    part_reference: str | None = None


class Asked(NamedTuple):
    """Requests that may be meant: their row ids, and the accounts that may be credited."""

    ids: list[int]
    merchants: set[tuple[str, str]]


class Request(NamedTuple):
    """A request as it stands under the locks; the amount in minor units."""

    id: int
    merchant: str
    request: str
    currency: str
    amount: int
    state: TopUpState
    requested_at: datetime
    expires_at: datetime
    code: str | None
    payer_digest: bytes | None


async def find_requests(connection: AsyncConnection, incoming: Sequence[Incoming]) -> Asked:
    """Requests that may be meant, before any lock is taken: later ones came after the money."""
    told = [i for i in incoming if i.for_topup]
    if not told:
        return Asked([], set())
    columns = ([i.payer_digest for i in told], [i.currency for i in told], [i.amount for i in told])
    codes = sorted({code for i in told for code in i.codes})
    rows = await fetch(connection, _FIND, (*columns, codes, LIKELY_MAX))
    return Asked(sorted({row[0] for row in rows}), {(row[1], row[2]) for row in rows if row[3]})


class Requests:
    """The requests that may be meant, read under the locks; decides receipt after receipt."""

    def __init__(self, rows: Iterable[Request]) -> None:
        self._by_id: dict[int, Request] = {}
        self._paid: set[int] = set()
        self._by_payer: dict[tuple[bytes | None, str], list[int]] = defaultdict(list)
        self._by_amount: dict[tuple[int, str], list[int]] = defaultdict(list)
        self._by_code: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            self._by_id[row.id] = row
            self._by_payer[row.payer_digest, row.currency].append(row.id)
            self._by_amount[row.amount, row.currency].append(row.id)
            if row.code is not None:
                self._by_code[row.code].append(row.id)

    @classmethod
    async def read(cls, connection: AsyncConnection, ids: Sequence[int]) -> Requests:
        """Read them as they stand; the caller holds the locks of those that may be credited."""
        rows = await fetch(connection, _READ, (list(ids),)) if ids else []
        return cls(Request(*row)._replace(state=TopUpState(row.state)) for row in rows)

    def __getitem__(self, request: int) -> Request:
        return self._by_id[request]

    def decide(self, incoming: Incoming) -> Match:
        """Which request the money pays; one that is paid is not there for the next (P-26)."""
        if not incoming.for_topup:
            return Match(reason=Code.NO_OPEN_REQUEST)
        named = incoming.payer_digest is not None
        arrived = Arrived(
            incoming.amount, incoming.payer_kind, incoming.received_at, incoming.codes, named
        )
        likely = self._likely(incoming)
        found = match(arrived, likely)
        if found.reason in _OTHERS_COUNT:
            found = match(arrived, [*likely, *self._others(incoming, likely)])
        if found.credits is not None:
            self._paid.add(found.credits.id)
        return found

    def _likely(self, incoming: Incoming) -> list[Candidate]:
        """What the payer's company asked for, and what the codes name."""
        ids = {
            *self._by_payer[incoming.payer_digest, incoming.currency],
            *(i for code in incoming.codes for i in self._by_code[code]),
        }
        rows = (self._by_id[i] for i in sorted(ids))
        return [self._candidate(row, incoming) for row in rows if _may_mean(incoming, row)]

    def _others(self, incoming: Incoming, likely: Sequence[Candidate]) -> list[Candidate]:
        """Open requests of others for the same amount: a second one tells no more than many."""
        known = {candidate.id for candidate in likely}
        found: list[Candidate] = []
        for number in self._by_amount[incoming.amount, incoming.currency]:
            candidate = self._candidate(self._by_id[number], incoming)
            if number in known or not _may_mean(incoming, self._by_id[number]):
                continue
            if candidate.open_at(incoming.received_at):
                found.append(candidate)
                if len(found) == _SECOND:
                    break
        return found

    def _candidate(self, row: Request, incoming: Incoming) -> Candidate:
        state = TopUpState.CREDITED if row.id in self._paid else row.state
        same = row.payer_digest is not None and row.payer_digest == incoming.payer_digest
        return Candidate(row.id, row.amount, state, row.expires_at, same, row.code)


def _may_mean(incoming: Incoming, row: Request) -> bool:
    """Request first, then transfer (P-25)."""
    until = incoming.asked_until
    return row.currency == incoming.currency and (until is None or row.requested_at <= until)
