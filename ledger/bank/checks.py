"""What must hold between banks' files and the book: one set-based statement per promise.

As in ``ledger.checks``: every statement answers with its first offending row, and only reads.
"""

from __future__ import annotations

from typing import Final

from ledger.checks import Check
from tillkeeper.contracts.book import TransferKind
from tillkeeper.rules.days import BUSINESS_ZONE

_GAINS: Final = [
    TransferKind.RECEIPT.value,
    TransferKind.BANK_DEBIT_REVERSED.value,
    TransferKind.WITHDRAWAL_SENT_BACK.value,
]
_LOSSES: Final = [
    TransferKind.RECEIPT_REVERSED.value,
    TransferKind.RECEIPT_RETURN_PAID.value,
    TransferKind.WITHDRAWAL_PAID.value,
    TransferKind.BANK_DEBIT.value,
]

_ENTRIES: Final = """
WITH moved AS (
    SELECT subject, min(id) AS first, count(*) AS times, min(kind) AS kind, min(amount) AS amount,
           min(currency) AS currency, min(effective_at AT TIME ZONE $3)::date AS day
      FROM transfers WHERE kind = ANY($1::text[] || $2::text[])
       AND subject ~ '^(entry|receipt|payment)/' GROUP BY subject),
told AS (
    SELECT e.id, e.side, e.amount, e.day, e.booked_as, a.currency,
           count(*) OVER (PARTITION BY e.booked_as) AS named
      FROM bank_entries e JOIN bank_accounts a ON a.id = e.account WHERE e.booked_as IS NOT NULL)
SELECT CASE WHEN e.id IS NULL THEN 'transfers' ELSE 'bank_entries' END, coalesce(e.id, m.first),
       CASE WHEN e.id IS NULL THEN 'a booked entry'
            ELSE format('one transfer %s: side %s, %s %s on %s',
                        e.booked_as, e.side, e.amount, e.currency, e.day) END,
       format('%s transfers: %s, %s %s on %s; named by %s entries', coalesce(m.times, 0), m.kind,
              m.amount, m.currency, m.day, coalesce(e.named, 0)), count(*) OVER ()
  FROM told e FULL JOIN moved m ON m.subject = e.booked_as
 WHERE (e.id IS NULL AND m.subject NOT LIKE 'receipt/%')
    OR e.named > 1 OR (e.booked_as LIKE 'entry/%' AND e.booked_as <> 'entry/' || e.id)
    OR (e.id IS NOT NULL AND (
        m.times IS DISTINCT FROM 1 OR m.amount <> e.amount OR m.currency <> e.currency
        OR (m.kind = ANY($1::text[])) <> (e.side = 'C')
        OR (e.booked_as NOT LIKE 'receipt/%' AND m.day <> e.day)))
 ORDER BY 1, 2 LIMIT 1"""

_ENTRY_RECEIPTS: Final = """
WITH told AS (
    SELECT entry, min(digest) AS first, min(currency) AS currency, max(currency) AS other,
           count(*) AS all, count(*) FILTER (WHERE part IS NULL) AS reported,
           min('receipt/' || digest) FILTER (WHERE part IS NULL) AS subject,
           coalesce(sum(amount) FILTER (WHERE state <> 'DETAILED'), 0) AS amount,
           max(amount) FILTER (WHERE state = 'DETAILED') AS lump
      FROM receipts WHERE entry IS NOT NULL GROUP BY entry),
wanted AS (
    SELECT e.id, e.amount, a.currency, e.booked_as,
           coalesce(t.subject IS NOT NULL OR e.booked_as LIKE 'receipt/%', false) AS receives
      FROM bank_entries e JOIN bank_accounts a ON a.id = e.account
      LEFT JOIN transfers t ON t.subject = e.booked_as AND t.kind = 'receipt'
       AND t.subject LIKE 'entry/%')
SELECT CASE WHEN r.entry IS NULL AND e.booked_as NOT LIKE 'receipt/%' THEN 'bank_entries'
            ELSE 'receipts' END, coalesce(r.first, substring(e.booked_as FROM '^receipt/(.*)'),
                                          e.id::text),
       CASE WHEN e.receives THEN format('receipts of entry %s: %s %s', e.id, e.amount, e.currency)
            ELSE format('entry %s makes no receipt', e.id) END,
       format('%s receipts of %s %s, %s of them reported, a lump of %s', coalesce(r.all, 0),
              r.amount, r.currency, r.reported, r.lump), count(*) OVER ()
  FROM wanted e LEFT JOIN told r ON r.entry = e.id
 WHERE (r.entry IS NOT NULL) <> e.receives
    OR (e.receives AND (r.amount <> e.amount OR r.lump <> e.amount OR r.currency <> e.currency
        OR r.other <> e.currency OR (e.booked_as LIKE 'receipt/%') <> (r.reported > 0)
        OR (r.reported > 0 AND (r.all > 1 OR r.subject <> e.booked_as))))
 ORDER BY e.id LIMIT 1"""

_RECEIPT_STATES: Final = """
WITH sent AS (
    SELECT split_part(subject, '/', 2) AS digest, min(id) AS first, count(*) AS times,
           min(amount) AS amount, max(amount) AS other, min(currency) AS currency,
           count(*) FILTER (WHERE state IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED'))
           AS open,
           count(*) FILTER (WHERE state = 'PAID') AS paid
      FROM payments WHERE subject LIKE 'receipt/%' GROUP BY 1),
taken AS (
    SELECT subject, count(*) AS times, min(amount) AS amount, max(amount) AS other
      FROM transfers WHERE kind = 'receipt_return' AND subject LIKE 'receipt/%' GROUP BY subject)
SELECT CASE WHEN r.digest IS NULL THEN 'payments' ELSE 'receipts' END,
       coalesce(r.digest, s.first::text),
       format('%s: its payments of %s %s each, one for each time its money was taken',
              r.state, r.amount, r.currency),
       format('%s payments of %s to %s %s: %s on their way, %s paid; money taken %s times',
              coalesce(s.times, 0), s.amount, s.other, s.currency, coalesce(s.open, 0),
              coalesce(s.paid, 0), coalesce(t.times, 0)), count(*) OVER ()
  FROM receipts r FULL JOIN sent s USING (digest)
  LEFT JOIN taken t ON t.subject = 'receipt/' || digest
 WHERE r.digest IS NULL OR coalesce(s.times, 0) <> coalesce(t.times, 0)
    OR coalesce(s.open, 0) <> CASE r.state WHEN 'RETURNING' THEN 1 ELSE 0 END
    OR coalesce(s.paid, 0) <> CASE r.state WHEN 'RETURNED' THEN 1 ELSE 0 END
    OR s.amount <> r.amount OR s.other <> r.amount OR s.currency <> r.currency
    OR t.amount <> r.amount OR t.other <> r.amount
 ORDER BY 2 LIMIT 1"""

_REVERSALS: Final = """
WITH taken AS (
    SELECT x.reverses AS entry, sum(x.amount) AS amount
      FROM bank_entries x JOIN transfers t ON t.subject = x.booked_as
     WHERE t.kind IN ('receipt_reversed', 'receipt_return') AND x.reverses IS NOT NULL
     GROUP BY x.reverses),
gone AS (
    SELECT entry, min(digest) AS first, coalesce(sum(amount) FILTER (WHERE state = 'REVERSED'), 0)
           AS amount FROM receipts WHERE part IS NOT NULL GROUP BY entry)
SELECT 'receipts', g.first, format('%s of entry %s reversed, as the bank did', t.amount, g.entry),
       format('%s reversed', g.amount), count(*) OVER ()
  FROM gone g LEFT JOIN taken t USING (entry)
 WHERE g.amount <> coalesce(t.amount, 0) ORDER BY g.entry LIMIT 1"""

_EXPLAINED: Final = """
    SELECT subject, min(id) AS first,
           sum(CASE kind WHEN 'payment_shortfall' THEN -amount ELSE amount END) AS amount,
           count(*) FILTER (WHERE kind = 'bank_charge') AS charged,
           count(*) FILTER (WHERE kind IN ('return_settled', 'withdrawal_settled')) AS settled
      FROM transfers
     WHERE kind IN ('bank_charge', 'return_settled', 'withdrawal_settled', 'payment_shortfall')
       AND subject LIKE 'entry/%' GROUP BY subject"""
"""What moved out of suspense again, by the debit that it was in: in minor units, and how often."""

_SUSPENSE: Final = f"""
WITH debits AS (
    SELECT e.id, e.amount FROM bank_entries e JOIN transfers t ON t.subject = e.booked_as
     WHERE t.kind = 'bank_debit'),
charges AS ({_EXPLAINED}),
rest AS (
    SELECT subject, amount FROM work_items WHERE kind = 'UNKNOWN_DEBIT' AND state <> 'CLOSED'),
backs AS (
    SELECT x.reverses AS id, min(x.id) AS first, count(*) AS times, sum(x.amount) AS amount
      FROM bank_entries x JOIN transfers t ON t.subject = x.booked_as
     WHERE t.kind = 'bank_debit_reversed' GROUP BY x.reverses)
SELECT CASE WHEN d.id IS NOT NULL OR b.first IS NOT NULL THEN 'bank_entries' ELSE 'transfers' END,
       coalesce(d.id, b.first, c.first),
       'a debit in suspense, explained at most once and whole, but for what is still work',
       format('debit of %s; charged %s times, settled %s times, %s, still %s; reversed %s times,'
              ' %s',
              d.amount, coalesce(c.charged, 0), coalesce(c.settled, 0), c.amount, r.amount,
              coalesce(b.times, 0), b.amount), count(*) OVER ()
  FROM debits d FULL JOIN charges c ON c.subject = 'entry/' || d.id
  FULL JOIN backs b ON b.id = d.id LEFT JOIN rest r ON r.subject = 'entry/' || d.id
 WHERE d.id IS NULL OR b.times > 1 OR (c.subject IS NOT NULL AND b.id IS NOT NULL)
    OR c.amount <> d.amount - coalesce(r.amount, 0) OR b.amount <> d.amount
 ORDER BY 1, 2 LIMIT 1"""

# What the bank took back before it told it is settled with no payment.
_PAYMENTS: Final = """
WITH moved AS (
    SELECT subject, CASE kind WHEN 'receipt_sent_back' THEN 'withdrawal_sent_back' ELSE kind END
           AS kind, min(id) AS first, count(*) AS times, sum(amount) AS amount,
           min(currency) AS currency, split_part(subject, '/', 2) AS name
      FROM (SELECT * FROM transfers t WHERE t.kind <> 'return_settled' OR NOT EXISTS (
                   SELECT FROM transfers b
                    WHERE b.subject = t.subject AND b.kind = 'receipt_return')) s
     WHERE kind IN ('receipt_return_paid', 'receipt_return_failed', 'return_settled',
                    'withdrawal_paid', 'withdrawal_settled', 'withdrawal_sent_back',
                    'receipt_sent_back')
        OR (kind = 'receipt' AND subject LIKE 'payment/%') GROUP BY 1, 2),
named AS (
    SELECT p.id, p.state, p.amount, p.currency,
           CASE WHEN e.subject IS NULL THEN w.kind ELSE w.by_people END AS kind,
           coalesce(e.subject, 'payment/' || p.end_to_end_id || w.suffix) AS subject
      FROM payments p JOIN (VALUES
           ('receipt', 'PAID', 'receipt_return_paid', 'return_settled', ''),
           ('receipt', 'REJECTED', 'receipt_return_failed', NULL, ''),
           ('receipt', 'RETURNED', 'receipt_return_paid', 'return_settled', ''),
           ('receipt', 'RETURNED', 'receipt', NULL, '/returned'),
           ('withdrawal', 'PAID', 'withdrawal_paid', 'withdrawal_settled', ''),
           ('withdrawal', 'RETURNED', 'withdrawal_paid', 'withdrawal_settled', ''),
           ('withdrawal', 'RETURNED', 'withdrawal_sent_back', NULL, '/returned'))
           AS w (purpose, state, kind, by_people, suffix)
        ON w.state = p.state AND w.purpose = split_part(p.subject, '/', 1)
      CROSS JOIN LATERAL (SELECT CASE WHEN w.by_people IS NOT NULL
                                      THEN 'entry/' || p.settled_by END AS subject) e),
wanted AS (
    SELECT n.*, count(*) OVER same AS times, sum(n.amount) OVER same AS total
      FROM named n WINDOW same AS (PARTITION BY n.kind, n.subject))
SELECT CASE WHEN coalesce(w.id, p.id) IS NULL THEN 'transfers' ELSE 'payments' END,
       coalesce(w.id, p.id, m.first),
       format('%s: one %s of %s %s', coalesce(w.state, p.state, 'no payment'),
              coalesce(w.kind, 'transfer that it ends by'), w.amount, w.currency),
       format('%s times %s of %s %s', coalesce(m.times, 0), m.kind, m.amount, m.currency),
       count(*) OVER ()
  FROM wanted w FULL JOIN moved m ON m.subject = w.subject AND m.kind = w.kind
  LEFT JOIN payments p ON p.end_to_end_id = m.name
 WHERE w.id IS NULL OR m.times IS DISTINCT FROM w.times OR m.amount <> w.total
    OR m.currency <> w.currency
 ORDER BY 1, 2 LIMIT 1"""

# Transfers that stand for themselves, of no receipt, entry, payment or top-up, are notes.
_WAITING: Final = f"""
WITH waits AS (
    SELECT CASE state WHEN 'UNMATCHED' THEN 'unmatched_receipts' ELSE 'returning_receipts' END
           AS bucket, currency, amount FROM receipts WHERE state IN ('UNMATCHED', 'RETURNING')
    UNION ALL
    SELECT 'unmatched_payments', a.currency, e.amount - coalesce(c.amount, 0)
      FROM bank_entries e JOIN bank_accounts a ON a.id = e.account
      JOIN transfers t ON t.subject = e.booked_as AND t.kind = 'bank_debit'
      LEFT JOIN ({_EXPLAINED}) c ON c.subject = e.booked_as
     WHERE NOT EXISTS (SELECT FROM bank_entries x WHERE x.reverses = e.id AND x.side = 'C'
                          AND x.booked_as IS NOT NULL)),
wanted AS (SELECT bucket, currency, sum(amount) AS amount FROM waits GROUP BY bucket, currency),
alone AS (
    SELECT debit_account, credit_account, amount FROM transfers
     WHERE subject !~ '^(receipt|entry|payment|topup)/'
       AND kind IN ('receipt', 'receipt_reversed', 'receipt_return', 'receipt_return_paid',
                    'receipt_return_failed', 'return_settled', 'withdrawal_settled', 'bank_debit',
                    'bank_debit_reversed', 'bank_charge', 'payment_shortfall', 'topup')),
others AS (
    SELECT account, sum(amount) AS amount FROM (
        SELECT a.id AS account, CASE a.side WHEN 'D' THEN l.amount ELSE -l.amount END AS amount
          FROM alone l JOIN accounts a ON a.id = l.debit_account
        UNION ALL
        SELECT a.id, CASE a.side WHEN 'C' THEN l.amount ELSE -l.amount END
          FROM alone l JOIN accounts a ON a.id = l.credit_account) m GROUP BY account)
SELECT 'accounts', a.id, format('%s in %s: %s waits there', a.bucket, a.currency,
                                coalesce(w.amount, 0)),
       format('%s, of it %s of no receipt or entry', a.balance, coalesce(o.amount, 0)),
       count(*) OVER ()
  FROM accounts a LEFT JOIN wanted w ON w.bucket = a.bucket AND w.currency = a.currency
  LEFT JOIN others o ON o.account = a.id
 WHERE a.holder = 'platform'
   AND a.bucket IN ('unmatched_receipts', 'returning_receipts', 'unmatched_payments')
   AND a.balance - coalesce(o.amount, 0) <> coalesce(w.amount, 0)
 ORDER BY a.id LIMIT 1"""

BANK_CHECKS: Final = (
    Check("entries", _ENTRIES, (_GAINS, _LOSSES, BUSINESS_ZONE)),
    Check("entry_receipts", _ENTRY_RECEIPTS),
    Check("receipt_states", _RECEIPT_STATES),
    Check("reversals", _REVERSALS),
    Check("suspense", _SUSPENSE),
    Check("payments", _PAYMENTS),
    Check("waiting", _WAITING),
)
"""In this order: what is wrong in a row itself comes before what does not fit around it."""
