"""Recomputes the book from its transfers and names the first row that does not fit.

One read-only transaction on one unchanging view, while posting goes on. It never repairs anything.
What it cannot see, for nothing else in the book repeats it: the later half of a key, a transfer's
id and ``recorded_at``, and the business times of orders that no transfer tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.approval_checks import APPROVAL_CHECKS, DIGESTED, misdigested
from ledger.audit_proof import prove_on
from ledger.bank.checks import BANK_CHECKS
from ledger.checks import CHECKS, MOVED, NOTES, PRINTS, SIZES, Check
from ledger.engine import driver, execute, fetch
from ledger.snapshot import snapshot
from ledger.withdrawal_checks import WITHDRAWAL_CHECKS

_PRINTS_AT_ONCE: Final = 20_000
_AFTER: Final = "legs"
_SORT_MEMORY: Final = "256MB"


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that breaks a promise: where it is, what was expected there, and what stands there."""

    check: str
    table: str
    id: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's count of offending rows, its seconds, and the first of the rows."""

    name: str
    offending: int
    seconds: float
    first: Finding | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows were verified."""

    accounts: int = 0
    transfers: int = 0
    orders: int = 0
    topup_requests: int = 0
    receipts: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Notes:
    """Counts of what is not broken and yet worth a look.

    Releases and refunds that wait for their order; orders known only by such messages; receipts
    without a request; merchants with buckets but no prepaid account; top-ups and receipts posted
    without a request or receipt row; requests an hour past their expiry, whose run was stopped;
    transfers recorded before the one that they follow (the clock
    went back).
    """

    parked_messages: int = 0
    parked_orders: int = 0
    unmatched_receipts: int = 0
    orphan_holders: int = 0
    orphan_transfers: int = 0
    overdue_requests: int = 0
    recorded_backwards: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked. ``broken`` is the first offending row by the order of the checks."""

    checks: tuple[CheckResult, ...]
    sizes: Sizes
    notes: Notes
    seconds: float
    broken: Finding | None = field(init=False)

    def __post_init__(self) -> None:
        first = next((c.first for c in self.checks if c.first is not None), None)
        object.__setattr__(self, "broken", first)

    @property
    def ok(self) -> bool:
        """Whether every promise holds."""
        return self.broken is None

    @property
    def offending(self) -> dict[str, int]:
        """Offending rows of the checks that failed; one bad row may offend against several."""
        return {check.name: check.offending for check in self.checks if check.offending}


async def verify(engine: AsyncEngine) -> Verification:
    """Verify the whole book as it stands now (C-03, C-04). Raises Unavailable.

    It needs the reading role only.
    """
    async with snapshot(engine) as connection:
        return await verify_on(connection)


async def verify_on(connection: AsyncConnection) -> Verification:
    """Verify what the open transaction of ``connection`` sees."""
    started = perf_counter()
    await execute(connection, f"SET LOCAL work_mem = '{_SORT_MEMORY}'", ())
    results: list[CheckResult] = []
    for check in (*CHECKS, *BANK_CHECKS, *WITHDRAWAL_CHECKS, *APPROVAL_CHECKS):
        results.append(await _run(connection, check))
        if check.name == _AFTER:
            results.append(await _run_prints(connection))
    results.append(await _run_digests(connection))
    results.append(await _run_audit(connection))
    sizes = (await fetch(connection, SIZES, ()))[0]
    notes = (await fetch(connection, NOTES, ()))[0]
    return Verification(
        checks=tuple(results),
        sizes=Sizes(*sizes),
        notes=Notes(*notes),
        seconds=perf_counter() - started,
    )


async def _run(connection: AsyncConnection, check: Check) -> CheckResult:
    started = perf_counter()
    rows = await fetch(connection, check.sql, check.parameters)
    if not rows:
        return CheckResult(check.name, 0, perf_counter() - started)
    table, row_id, expected, found, offending = rows[0][:5]
    if check.name == "chain":
        row_id = await _culprit(connection, row_id, rows[0][5:])
    first = Finding(check.name, table, str(row_id), expected, found)
    return CheckResult(check.name, offending, perf_counter() - started, first)


async def _culprit(connection: AsyncConnection, transfer: int, place: Sequence[Any]) -> int:
    """The transfer to blame for a broken link: for a gap, the one that left it, if it is there."""
    account, seq, expected_seq = place
    if seq > expected_seq:
        moved: int | None = (await fetch(connection, MOVED, (account, seq, transfer)))[0][0]
        return transfer if moved is None else moved
    return transfer


async def _run_prints(connection: AsyncConnection) -> CheckResult:
    """Hash every transfer's body again: PostgreSQL has no BLAKE2, hence here."""
    started = perf_counter()
    raw = driver(connection)
    cursor = await raw.cursor(PRINTS)
    bad = 0
    first: tuple[int, str, str] | None = None
    while rows := await cursor.fetch(_PRINTS_AT_ONCE):
        for transfer, stored, body in rows:
            if stored.bytes != blake2b(body.encode(), digest_size=16).digest():
                bad += 1
                if first is None or transfer < first[0]:
                    first = (transfer, body, str(stored))
    found = None
    if first is not None:
        expected = f"the digest of {first[1]}"
        found = Finding("fingerprints", "transfers", str(first[0]), expected, first[2])
    return CheckResult("fingerprints", bad, perf_counter() - started, found)


async def _run_digests(connection: AsyncConnection) -> CheckResult:
    """Digest every policy again, as it was shown to whoever decided on it."""
    started = perf_counter()
    bad = list(misdigested(await fetch(connection, DIGESTED, ())))
    first = None
    if bad:
        row_id, wanted, own = bad[0]
        found = f"digest {own}"
        first = Finding(
            "policy_digests", "approval_policies", str(row_id), f"digest {wanted}", found
        )
    return CheckResult("policy_digests", len(bad), perf_counter() - started, first)


async def _run_audit(connection: AsyncConnection) -> CheckResult:
    """Go up the audit's chain: the first place that does not fit."""
    started = perf_counter()
    broken = (await prove_on(connection)).broken
    if broken is None:
        return CheckResult("audit", 0, perf_counter() - started)
    table, row = ("audit_chain", broken.place) if broken.audit is None else ("audit", broken.audit)
    found = Finding("audit", table, str(row), broken.expected, broken.found)
    return CheckResult("audit", 1, perf_counter() - started, found)
