"""What must hold in the book, one set-based statement per promise.

Every statement answers with its first offending row: table, id, expected, found, and how many rows
offend in all; an empty answer means that the promise holds. Statements only read. What is wrong
in a row itself is looked for before what does not fit around it, hence the order of ``CHECKS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tillkeeper.contracts.book import TransferKind
from tillkeeper.rules.postings import CHART, TEMPLATES


@dataclass(frozen=True, slots=True)
class Check:
    """A promise by name, the statement that finds what breaks it, and its parameters."""

    name: str
    sql: str
    parameters: tuple[Any, ...] = ()


_CHART: Final = (
    [bucket.value for bucket in CHART],
    [rule.side.value for rule in CHART.values()],
    [rule.floored for rule in CHART.values()],
    [rule.platform for rule in CHART.values()],
    [rule.shards for rule in CHART.values()],
)
_TEMPLATES: Final = (
    [kind.value for kind in TEMPLATES],
    [template.debit.value for template in TEMPLATES.values()],
    [template.credit.value for template in TEMPLATES.values()],
)

_BUCKET_ROWS: Final = """
SELECT 'accounts', a.id, format('%s: side %s, floored %s', r.bucket, r.side, r.floored),
       format('%s of %s, shard %s: side %s, floored %s, lock rank %s',
              a.bucket, a.holder, a.shard, a.side, a.floored, a.lock_rank), count(*) OVER ()
  FROM accounts a LEFT JOIN unnest($1::text[], $2::text[], $3::boolean[], $4::boolean[], $5::int[])
       AS r (bucket, side, floored, platform, shards) USING (bucket)
 WHERE r.bucket IS NULL OR a.side <> r.side OR a.floored <> r.floored
    OR (a.holder = 'platform') <> r.platform OR a.holder !~ '^(platform$|merchant/)'
    OR a.shard < 0 OR a.shard >= r.shards
    OR a.lock_rank <> CASE WHEN NOT r.platform THEN 0 WHEN r.shards = 1 THEN 1 ELSE 2 END
 ORDER BY a.id LIMIT 1"""

_ACCOUNT_BUCKETS: Final = """
SELECT 'prepaid_accounts', p.id, format('%s of %s in %s', b.bucket, b.holder, p.currency),
       format('account %s: %s of %s in %s', b.account, a.bucket, a.holder, a.currency),
       count(*) OVER ()
  FROM prepaid_accounts p CROSS JOIN LATERAL (VALUES
       ('available', 'merchant/' || p.merchant, p.available),
       ('frozen', 'merchant/' || p.merchant, p.frozen),
       ('withdrawing', 'merchant/' || p.merchant, p.withdrawing),
       ('dues', 'merchant/' || p.merchant, p.dues),
       ('fee_income', 'platform', p.fee_income),
       ('dues_unearned', 'platform', p.dues_unearned)) AS b (bucket, holder, account)
  LEFT JOIN accounts a ON a.id = b.account
 WHERE a.id IS NULL OR a.bucket <> b.bucket OR a.holder <> b.holder OR a.currency <> p.currency
 ORDER BY p.id LIMIT 1"""

OWNERS: Final = """owners AS (
    SELECT b.account, p.id, p.merchant, p.fee_income, p.dues_unearned
      FROM prepaid_accounts p CROSS JOIN LATERAL
           (VALUES (p.available), (p.frozen), (p.withdrawing), (p.dues)) AS b (account))"""
"""Whose a bucket is: one row per merchant's bucket."""

# The key begins with the effect's stated time in milliseconds (ledger.keys).
_LEGS: Final = f"""
WITH templates AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS k (kind, debit, credit)),
     {OWNERS}
SELECT 'transfers', t.id,
       format('%s: %s to %s, all %s and one merchant''s, key of %s',
              t.kind, k.debit, k.credit, t.currency, t.effective_at),
       format('%s of %s in %s to %s of %s in %s, key %s',
              d.bucket, d.holder, d.currency, c.bucket, c.holder, c.currency, t.key),
       count(*) OVER ()
  FROM transfers t LEFT JOIN templates k USING (kind)
  LEFT JOIN accounts d ON d.id = t.debit_account LEFT JOIN accounts c ON c.id = t.credit_account
  LEFT JOIN owners o ON o.account = t.debit_account
  LEFT JOIN owners i ON i.account = t.credit_account
 WHERE k.kind IS NULL OR d.bucket IS DISTINCT FROM k.debit OR c.bucket IS DISTINCT FROM k.credit
    OR d.currency <> t.currency OR c.currency <> t.currency
    OR (d.holder <> 'platform' AND o.id IS NULL) OR (c.holder <> 'platform' AND i.id IS NULL)
    OR o.id <> i.id
    OR (d.bucket = 'fee_income' AND t.debit_account <> i.fee_income)
    OR (c.bucket = 'fee_income' AND t.credit_account <> o.fee_income)
    OR (d.bucket = 'dues_unearned' AND t.debit_account <> i.dues_unearned)
    OR (c.bucket = 'dues_unearned' AND t.credit_account <> o.dues_unearned)
    OR substring(uuid_send(t.key) FROM 1 FOR 6) <> substring(
         int8send(floor(extract(epoch FROM t.effective_at) * 1000)::bigint) FROM 3)
 ORDER BY t.id LIMIT 1"""

# Ids are given out under the account's lock, so they rise along a chain; two equal amounts that
# changed places show in nothing else.
_CHAIN: Final = """
WITH chain AS (
    SELECT account, seq, transfer, amount, after, lead(transfer) OVER w AS next,
           lag(seq, 1, 0::bigint) OVER w AS last_seq, lag(after, 1, 0::bigint) OVER w AS last_after
      FROM entries WINDOW w AS (PARTITION BY account ORDER BY seq, transfer))
SELECT 'transfers', transfer,
       format('account %s: seq %s, balance %s after it, younger transfers to follow',
              account, last_seq + 1, last_after + amount),
       format('seq %s, balance %s after it, transfer %s follows', seq, after, next),
       count(*) OVER (), account, seq, last_seq + 1
  FROM chain WHERE seq <> last_seq + 1 OR after <> last_after + amount OR next < transfer
 ORDER BY account, seq, transfer LIMIT 1"""

MOVED: Final = """
SELECT min(transfer) FROM entries WHERE account = $1 AND seq > $2 AND transfer < $3"""
"""After a gap: the older transfer that stands too far up the chain, if there is one."""

_HEADS: Final = """
SELECT CASE WHEN beyond THEN 'transfers' ELSE 'accounts' END,
       CASE WHEN beyond THEN transfer ELSE id END,
       CASE WHEN beyond THEN format('account %s ends at seq %s with %s', id, seq, balance)
            ELSE format('seq %s, balance %s as its last transfer says', last_seq, last_after) END,
       CASE WHEN beyond THEN format('seq %s, balance %s after it', last_seq, last_after)
            ELSE format('seq %s, balance %s', seq, balance) END, count(*) OVER ()
  FROM (SELECT a.id, a.seq, a.balance, l.transfer, coalesce(l.seq, 0) AS last_seq,
               coalesce(l.after, 0) AS last_after, l.seq > a.seq AND l.after <> a.balance AS beyond
          FROM accounts a LEFT JOIN LATERAL (
               (SELECT id AS transfer, debit_seq AS seq, debit_after AS after FROM transfers
                 WHERE debit_account = a.id ORDER BY debit_seq DESC LIMIT 1)
               UNION ALL
               (SELECT id, credit_seq, credit_after FROM transfers
                 WHERE credit_account = a.id ORDER BY credit_seq DESC LIMIT 1)
               ORDER BY seq DESC LIMIT 1) l ON true) h
 WHERE seq <> last_seq OR balance <> last_after
 ORDER BY h.id LIMIT 1"""

_FLOORS: Final = """
SELECT 'transfers', t.id, 'no floored account below zero',
       format('account %s: %s, account %s: %s',
              t.debit_account, t.debit_after, t.credit_account, t.credit_after), count(*) OVER ()
  FROM transfers t
  JOIN accounts d ON d.id = t.debit_account JOIN accounts c ON c.id = t.credit_account
 WHERE (d.floored AND t.debit_after < 0) OR (c.floored AND t.credit_after < 0)
 ORDER BY t.id LIMIT 1"""

_SUMS: Final = """
SELECT 'accounts', currency, 'credit side = debit side',
       format('credit side %s, debit side %s', sum(balance) FILTER (WHERE side = 'C'),
              sum(balance) FILTER (WHERE side = 'D')), count(*) OVER ()
  FROM accounts GROUP BY currency
HAVING sum(CASE side WHEN 'C' THEN balance ELSE -balance END) <> 0
 ORDER BY currency LIMIT 1"""

# Each kind that moves an order's fee touches exactly one of the buckets named here.
_BY_ORDER: Final = f"""
WITH {OWNERS}, moves AS (
    SELECT o.id AS account, t.* FROM transfers t JOIN owners o ON o.account = t.debit_account
     WHERE t.kind IN ('hold', 'settlement', 'dues_raised', 'dues_held', 'dues_settled')
    UNION ALL
    SELECT o.id, t.* FROM transfers t JOIN owners o ON o.account = t.credit_account
     WHERE t.kind IN ('release', 'settled_refund', 'dues_cleared', 'dues_cancelled')),
booked AS (
    SELECT account, subject, min(id) AS first, count(*) FILTER (WHERE opens) AS placed,
           coalesce(sum(amount) FILTER (WHERE opens), 0) AS fee,
           sum(CASE WHEN kind IN ('hold', 'dues_held') THEN amount
                    WHEN kind IN ('release', 'settlement') THEN -amount ELSE 0 END) AS held,
           sum(CASE WHEN kind = 'dues_raised' THEN amount
                    WHEN kind IN ('dues_cleared', 'dues_cancelled') THEN -amount
                    ELSE 0 END) AS dues,
           coalesce(sum(amount) FILTER (WHERE kind = 'release'), 0) AS released,
           coalesce(sum(amount) FILTER (WHERE kind = 'dues_cancelled'), 0) AS cancelled,
           coalesce(sum(amount) FILTER (WHERE kind IN ('settlement', 'dues_settled')), 0)
               AS settled,
           coalesce(sum(amount) FILTER (WHERE kind = 'settled_refund'), 0) AS refunded,
           sum(CASE WHEN kind IN ('dues_held', 'dues_settled') THEN amount
                    WHEN kind = 'dues_cleared' THEN -amount ELSE 0 END) AS unpaired,
           min(debit_seq) FILTER (WHERE kind = 'dues_raised') AS due_seq,
           min(effective_at) FILTER (WHERE opens) AS placed_at,
           min(effective_at) FILTER (WHERE kind = 'settlement') AS settled_at,
           count(*) FILTER (WHERE kind = 'settlement') AS settlements,
           bool_or(kind IN ('settlement', 'dues_settled', 'settled_refund')) AS completed
      FROM (SELECT *, kind IN ('hold', 'dues_raised') AS opens FROM moves) m
     GROUP BY account, subject)"""

_ORDERS: Final = f"""
{_BY_ORDER}
SELECT CASE WHEN h.id IS NULL THEN 'transfers' ELSE 'holds' END, coalesce(h.id, b.first),
       format('fee %s, held %s, dues %s, released %s, cancelled %s, settled %s, refunded %s,'
              ' due seq %s, placed %s, settled %s', b.fee, b.held, b.dues, b.released,
              b.cancelled, b.settled, b.refunded, b.due_seq, b.placed_at, b.settled_at),
       CASE WHEN h.id IS NULL THEN 'no row of this order'
            ELSE format('fee %s, held %s, dues %s, released %s, cancelled %s, settled %s,'
                        ' refunded %s, due seq %s, placed %s, completed %s, refused %s',
                        h.fee, h.held, h.dues, h.released, h.cancelled, h.settled, h.refunded,
                        h.due_seq, h.placed_at, h.completed_at, h.refused) END, count(*) OVER ()
  FROM booked b FULL JOIN holds h ON h.account = b.account AND 'order/' || h.order_id = b.subject
 WHERE h.id IS NULL OR h.fee IS DISTINCT FROM b.fee OR h.held <> coalesce(b.held, 0)
    OR h.dues <> coalesce(b.dues, 0) OR h.released <> coalesce(b.released, 0)
    OR h.cancelled <> coalesce(b.cancelled, 0) OR h.settled <> coalesce(b.settled, 0)
    OR h.refunded <> coalesce(b.refunded, 0) OR h.due_seq IS DISTINCT FROM b.due_seq
    OR b.placed <> 1 OR b.unpaired <> 0 OR b.settlements > 1
    OR (b.subject IS NOT NULL
        AND (h.refused IS NOT NULL OR h.placed_at IS DISTINCT FROM b.placed_at))
    OR (h.refused IS NULL AND b.subject IS NULL AND h.placed_at IS NOT NULL)
    OR (b.completed AND h.completed_at IS NULL) OR h.completed_at <> b.settled_at
 ORDER BY coalesce(h.id, b.first) LIMIT 1"""

_RETURNS: Final = """
SELECT 'hold_returns', r.first, format('%s given back, as the order says', r.given),
       format('%s in messages that were applied', r.applied), count(*) OVER ()
  FROM (SELECT min(m.id) AS first, coalesce(sum(m.amount) FILTER (WHERE m.result = 'applied'), 0)
               AS applied, coalesce(min(h.released + h.cancelled + h.refunded), 0) AS given
          FROM hold_returns m LEFT JOIN holds h USING (account, order_id)
         GROUP BY m.account, m.order_id
        UNION ALL
        SELECT h.id, 0, h.released + h.cancelled + h.refunded FROM holds h
         WHERE h.released + h.cancelled + h.refunded > 0 AND NOT EXISTS (SELECT FROM hold_returns m
               WHERE m.account = h.account AND m.order_id = h.order_id)) r
 WHERE r.applied <> r.given
 ORDER BY r.first LIMIT 1"""

_PARKED: Final = """
SELECT 'hold_returns', r.id, 'applied or refused together with its order',
       format('%s is still parked', r.event), count(*) OVER ()
  FROM hold_returns r LEFT JOIN holds h ON h.account = r.account AND h.order_id = r.order_id
 WHERE r.result = 'parked'
   AND (h.id IS NULL OR h.refused IS NOT NULL
        OR h.fee IS NOT NULL AND (r.event = 'release' OR h.completed_at IS NOT NULL))
 ORDER BY r.id LIMIT 1"""

_TOTALS: Final = """
SELECT 'prepaid_accounts', p.id, format('frozen %s, dues %s', f.balance, d.balance),
       format('orders hold %s and owe %s', coalesce(h.held, 0), coalesce(h.dues, 0)),
       count(*) OVER ()
  FROM prepaid_accounts p
  FULL JOIN (SELECT account, sum(held) AS held, sum(dues) AS dues FROM holds GROUP BY account) h
    ON h.account = p.id
  LEFT JOIN accounts f ON f.id = p.frozen LEFT JOIN accounts d ON d.id = p.dues
 WHERE p.id IS NULL OR f.balance <> coalesce(h.held, 0) OR d.balance <> coalesce(h.dues, 0)
 ORDER BY p.id LIMIT 1"""

# What two people matched by hand is credited as it came, and its request stays decided as it was.
_TOPUPS: Final = f"""
WITH {OWNERS}, credited AS (
    SELECT o.id AS account, t.subject, min(t.id) AS first, count(*) AS times,
           sum(t.amount) AS amount
      FROM transfers t JOIN owners o ON o.account = t.credit_account
     WHERE t.kind = '{TransferKind.TOPUP}' AND t.subject LIKE 'topup/%' GROUP BY o.id, t.subject),
asked AS (
    SELECT q.id, q.account, q.receipt, q.amount, q.state = 'CREDITED' AS credited, r.digest,
           'topup/' || q.request AS subject, r.amount AS paid, r.matched_by IS NOT NULL AS by_hand,
           CASE WHEN r.matched_by IS NOT NULL THEN r.amount
                WHEN q.state = 'CREDITED' THEN q.amount END AS wanted
      FROM topup_requests q LEFT JOIN receipts r ON r.topup = q.id)
SELECT CASE WHEN q.id IS NULL THEN 'transfers' ELSE 'topup_requests' END, coalesce(q.id, c.first),
       CASE WHEN q.wanted IS NULL THEN 'no credit'
            ELSE format('one credit of %s for receipt %s', q.wanted, q.receipt) END,
       format('%s credits, %s in all; receipt %s of %s, by hand: %s', coalesce(c.times, 0),
              coalesce(c.amount, 0), q.digest, q.paid, q.by_hand), count(*) OVER ()
  FROM asked q FULL JOIN credited c ON c.account = q.account AND c.subject = q.subject
 WHERE q.id IS NULL OR c.amount IS DISTINCT FROM q.wanted OR c.times > 1
    OR (q.credited AND q.receipt IS DISTINCT FROM q.digest)
    OR (q.digest IS NOT NULL AND NOT q.by_hand AND (NOT q.credited OR q.paid <> q.amount))
 ORDER BY coalesce(q.id, c.first) LIMIT 1"""

# A receipt that was reported has a transfer of its own; one of a file's part has its entry's.
_RECEIPTS: Final = f"""
WITH booked AS (
    SELECT t.subject, min(t.id) AS first, count(*) AS times, sum(t.amount) AS amount,
           min(t.currency) AS currency
      FROM transfers t WHERE t.kind = '{TransferKind.RECEIPT}' AND t.subject LIKE 'receipt/%'
     GROUP BY t.subject)
SELECT CASE WHEN r.digest IS NULL THEN 'transfers' ELSE 'receipts' END,
       coalesce(r.digest, b.first::text),
       CASE WHEN r.digest IS NULL THEN 'a receipt of that name'
            WHEN r.part IS NOT NULL THEN format('part %s of an entry, %s', r.part, r.state)
            ELSE format('booked once: %s %s, %s', r.amount, r.currency, r.state) END,
       format('booked %s times: %s %s; entry %s; request %s in %s', coalesce(b.times, 0),
              b.amount, b.currency, r.entry, r.topup, q.currency), count(*) OVER ()
  FROM receipts r FULL JOIN booked b ON b.subject = 'receipt/' || r.digest
  LEFT JOIN topup_requests q ON q.id = r.topup
 WHERE r.digest IS NULL
    OR (r.part IS NULL AND (b.times IS DISTINCT FROM 1 OR b.amount <> r.amount
                            OR b.currency <> r.currency))
    OR (r.part IS NOT NULL AND (b.times > 0 OR r.entry IS NULL))
    OR (r.state = 'CREDITED') <> (r.topup IS NOT NULL) OR q.currency <> r.currency
 ORDER BY 2 LIMIT 1"""

_REFUSALS: Final = """
SELECT 'refusals', r.key, 'a key is refused or posted', format('posted as transfer %s', t.id),
       count(*) OVER ()
  FROM refusals r JOIN transfers t USING (key) ORDER BY t.id LIMIT 1"""

# Superusers are above every wall; whoever else may change a transfer is named.
_WALLS: Final = """
WITH watched AS (
    SELECT c.oid, c.relname::text AS name, c.relowner, c.relacl FROM pg_class c
     WHERE c.relname IN ('transfers', 'refusals', 'audit', 'audit_chain', 'decisions',
                         'spent_tokens', 'delegations', 'notices')
       AND c.relnamespace = 'public'::regnamespace),
wanted AS (
    SELECT w.oid, w.name, w.name || s.suffix AS wall, s.type
      FROM watched w
      CROSS JOIN (VALUES ('_immutable', 27), ('_no_truncate', 34)) AS s (suffix, type)),
faults AS (
    SELECT n.wall AS id, 'an enabled trigger that refuses every change' AS expected,
           coalesce('enabled: ' || t.tgenabled::text || ', calls ' || t.tgfoid::regproc, 'none')
               AS found
      FROM wanted n LEFT JOIN pg_trigger t ON t.tgrelid = n.oid AND t.tgname = n.wall
      LEFT JOIN pg_proc f ON f.oid = t.tgfoid
     WHERE t.oid IS NULL OR t.tgenabled NOT IN ('O', 'A') OR t.tgtype <> n.type
        OR t.tgqual IS NOT NULL OR f.proname <> 'refuse_change'
        OR f.prosrc !~ '^\\s*BEGIN\\s+RAISE EXCEPTION '
    UNION ALL
    SELECT w.name, 'changed by nobody', format('%s may %s', g.grantee::regrole, g.privilege_type)
      FROM watched w CROSS JOIN LATERAL aclexplode(w.relacl) g
     WHERE g.grantee <> w.relowner
       AND g.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
    UNION ALL
    SELECT w.name, 'changed by nobody', format('%s may UPDATE (%s)', g.grantee::regrole, a.attname)
      FROM watched w JOIN pg_attribute a ON a.attrelid = w.oid
      CROSS JOIN LATERAL aclexplode(a.attacl) g
     WHERE g.grantee <> w.relowner AND g.privilege_type = 'UPDATE'
    UNION ALL
    SELECT w.name, 'changed by nobody', format('%s may act as its owner', m.rolname)
      FROM watched w JOIN pg_roles m ON pg_has_role(m.oid, 'tillkeeper_writer', 'MEMBER')
     WHERE NOT m.rolsuper AND pg_has_role(m.oid, w.relowner, 'MEMBER')
    UNION ALL
    SELECT k.name, 'a constraint in force', 'none'
      FROM unnest($1::text[]) AS k (name) LEFT JOIN pg_constraint c ON c.conname = k.name
       AND c.convalidated AND c.conenforced WHERE c.oid IS NULL)
SELECT 'catalog', id, expected, found, count(*) OVER () FROM faults ORDER BY id, found LIMIT 1"""

_CONSTRAINTS: Final = [
    "accounts_floor", "transfers_amount_check", "transfers_two_accounts", "transfers_key",
    "transfers_debit_chain", "transfers_credit_chain", "refusals_pkey", "holds_order",
    "holds_parts", "hold_returns_message",
]  # fmt: skip

CHECKS: Final = (
    Check("buckets", _BUCKET_ROWS, _CHART),
    Check("account_buckets", _ACCOUNT_BUCKETS),
    Check("legs", _LEGS, _TEMPLATES),
    Check("chain", _CHAIN),
    Check("heads", _HEADS),
    Check("floors", _FLOORS),
    Check("sums", _SUMS),
    Check("orders", _ORDERS),
    Check("totals", _TOTALS),
    Check("returns", _RETURNS),
    Check("parked", _PARKED),
    Check("receipts", _RECEIPTS),
    Check("topups", _TOPUPS),
    Check("refusals", _REFUSALS),
    Check("walls", _WALLS, (_CONSTRAINTS,)),
)

PRINTS: Final = f"""
WITH {OWNERS}
SELECT t.id, t.fingerprint, t.kind || '|' || t.amount || '|' || t.currency || '|'
       || coalesce(o.merchant, i.merchant, '') || '|' || t.subject
  FROM transfers t LEFT JOIN owners o ON o.account = t.debit_account
  LEFT JOIN owners i ON i.account = t.credit_account"""
"""Every transfer's fingerprint and the body that it was made of (ledger.sheet)."""

SIZES: Final = """
SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM transfers),
       (SELECT count(*) FROM holds), (SELECT count(*) FROM topup_requests),
       (SELECT count(*) FROM receipts), (SELECT count(*) FROM refusals)"""

NOTES: Final = """
SELECT (SELECT count(*) FROM hold_returns WHERE result = 'parked'),
       (SELECT count(*) FROM holds WHERE state = 'parked'),
       (SELECT count(*) FROM receipts WHERE state = 'UNMATCHED'),
       (SELECT count(DISTINCT (holder, currency)) FROM accounts a WHERE holder <> 'platform'
           AND NOT EXISTS (SELECT FROM prepaid_accounts p WHERE a.currency = p.currency
                           AND a.holder = 'merchant/' || p.merchant)),
       (SELECT count(*) FROM transfers WHERE (kind = 'topup' AND subject NOT LIKE 'topup/%')
            OR (kind = 'receipt' AND subject !~ '^(receipt|entry|payment)/')),
       (SELECT count(*) FROM topup_requests
         WHERE state = 'WAITING_REMITTANCE' AND expires_at < now() - interval '1 hour'),
       (SELECT count(*) FROM (
           SELECT recorded_at < lag(recorded_at) OVER (PARTITION BY account ORDER BY seq) AS back
             FROM entries) e WHERE back)"""
"""Nothing of this is broken; a person may want to know it (``ledger.verify.Notes``)."""
