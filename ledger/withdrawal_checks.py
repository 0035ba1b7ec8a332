"""What must hold of withdrawals: one set-based statement per promise, as in ``ledger.checks``.

Promises that the reserved money is that of the withdrawals which are not over, that none is paid
twice, and that what is on its way was approved by the people its levels ask for. It only reads.
"""

from __future__ import annotations

from typing import Final

from ledger.checks import Check

# Withdrawals that stand for themselves, posted without a row, are known by their subjects.
_OURS: Final = "subject ~ '^withdrawal/[^/]+/[^/]+$'"

_NAMED: Final = """named AS (
    SELECT w.*, 'withdrawal/' || w.merchant || '/' || w.request AS subject, p.state AS paid,
           p.subject AS pays, p.amount AS sum, p.currency AS money, p.merchant AS whose,
           p.retry_at
      FROM withdrawals w LEFT JOIN payments p ON p.id = w.payment)"""
"""Every withdrawal with its name and its last payment."""

_ROWS: Final = f"""
WITH {_NAMED}, moved AS (
    SELECT t.subject, a.id AS account, min(t.id) AS first, min(t.currency) AS currency,
           count(*) FILTER (WHERE t.kind = 'withdrawal') AS taken,
           count(*) FILTER (WHERE t.kind = 'withdrawal_returned') AS given,
           min(t.amount) AS amount, max(t.amount) AS other
      FROM transfers t JOIN prepaid_accounts a
        ON a.withdrawing IN (t.debit_account, t.credit_account)
     WHERE t.kind IN ('withdrawal', 'withdrawal_returned') AND t.{_OURS} GROUP BY 1, 2),
wanted AS (
    SELECT n.*, a.merchant AS owner, CASE n.state WHEN 'REFUSED' THEN 0 ELSE 1 END AS takes,
           CASE WHEN n.state IN ('REJECTED', 'CANCELLED_BY_MERCHANT')
                  OR (n.state = 'RETURNED' AND n.paid IS DISTINCT FROM 'RETURNED')
                THEN 1 ELSE 0 END AS gives
      FROM named n LEFT JOIN prepaid_accounts a
        ON a.id = n.account AND a.merchant = n.merchant AND a.currency = n.currency)
SELECT CASE WHEN w.id IS NULL THEN 'transfers' ELSE 'withdrawals' END, coalesce(w.id, m.first),
       format('%s of %s: %s %s reserved %s times, given back %s times', coalesce(w.state, 'none'),
              w.merchant, w.amount, w.currency, w.takes, w.gives),
       format('of %s: %s to %s %s reserved %s times, given back %s times', w.owner, m.amount,
              m.other, m.currency, coalesce(m.taken, 0), coalesce(m.given, 0)), count(*) OVER ()
  FROM wanted w FULL JOIN moved m ON m.subject = w.subject AND m.account = w.account
 WHERE w.id IS NULL OR coalesce(m.taken, 0) <> w.takes OR coalesce(m.given, 0) <> w.gives
    OR m.amount <> w.amount OR m.other <> w.amount OR m.currency <> w.currency
    OR (w.owner IS NULL AND w.state <> 'REFUSED')
 ORDER BY 1 DESC, 2 LIMIT 1"""

_RESERVED: Final = f"""
WITH wanted AS (
    SELECT account, sum(amount) AS amount FROM withdrawals
     WHERE state IN ('WAITING_APPROVAL', 'APPROVED', 'REMITTING', 'FAILED_MANUAL')
     GROUP BY account),
alone AS (
    SELECT account, sum(amount) AS amount FROM entries
     WHERE kind IN ('withdrawal', 'withdrawal_returned', 'withdrawal_paid', 'withdrawal_settled')
       AND NOT {_OURS} AND subject !~ '^(payment|entry)/' GROUP BY account)
SELECT 'prepaid_accounts', p.id, format('withdrawing %s', coalesce(w.amount, 0)),
       format('%s, of it %s of no withdrawal', a.balance, coalesce(o.amount, 0)), count(*) OVER ()
  FROM prepaid_accounts p JOIN accounts a ON a.id = p.withdrawing
  LEFT JOIN wanted w ON w.account = p.id LEFT JOIN alone o ON o.account = a.id
 WHERE a.balance - coalesce(o.amount, 0) <> coalesce(w.amount, 0)
 ORDER BY p.id LIMIT 1"""

# A refused attempt is followed by another one; all others are the one that may have paid.
_PAID: Final = f"""
WITH {_NAMED}, attempts AS (
    SELECT regexp_replace(subject, '/pay/[0-9]+$', '') AS subject, min(id) AS first,
           count(*) AS times, count(*) FILTER (WHERE state <> 'REJECTED') AS live
      FROM payments WHERE subject LIKE 'withdrawal/%' GROUP BY 1)
SELECT CASE WHEN n.id IS NULL THEN 'payments' ELSE 'withdrawals' END, coalesce(n.id, t.first),
       format('%s: %s attempts, the last of %s %s for %s', coalesce(n.state, 'no withdrawal'),
              n.attempts, n.amount, n.currency, n.merchant),
       format('%s attempts, %s of them not refused; the last one %s: %s %s for %s, %s',
              coalesce(t.times, 0), coalesce(t.live, 0), n.pays, n.sum, n.money, n.whose, n.paid),
       count(*) OVER ()
  FROM named n FULL JOIN attempts t ON t.subject = n.subject
 WHERE n.id IS NULL OR coalesce(t.times, 0) <> n.attempts OR t.live > 1
    OR (n.attempts > 0) <> (n.payment IS NOT NULL)
    OR (n.payment IS NOT NULL AND (
        NOT CASE WHEN n.paid IN ('PAID', 'RETURNED') THEN starts_with(n.pays, n.subject || '/pay/')
                 ELSE n.pays = n.subject || '/pay/' || n.attempts END
        OR n.sum <> n.amount
        OR n.money <> n.currency OR n.whose IS DISTINCT FROM n.merchant
        OR NOT CASE n.state
               WHEN 'REMITTING' THEN n.paid IN ('RECORDED', 'SENT', 'UNCLEAR', 'ACCEPTED')
                                     OR (n.paid = 'REJECTED' AND n.retry_at IS NOT NULL)
               WHEN 'PAID' THEN n.paid = 'PAID'
               WHEN 'FAILED_MANUAL' THEN n.paid = 'REJECTED'
               WHEN 'RETURNED' THEN n.paid IN ('REJECTED', 'RETURNED')
               ELSE false END))
 ORDER BY 1 DESC, 2 LIMIT 1"""

# Only who approved one and the same thing counts: the levels of the last approval's decision.
_APPROVED: Final = f"""
WITH {_NAMED}, last AS (
    SELECT DISTINCT ON (subject) subject, decision, at FROM decisions
     WHERE verdict = 'APPROVE' ORDER BY subject, id DESC),
yes AS (
    SELECT d.subject, d.level, count(*) AS votes FROM decisions d
      JOIN last l USING (subject, decision) WHERE d.verdict = 'APPROVE' GROUP BY 1, 2),
people AS (
    SELECT d.subject, lower(who) AS person, count(*) AS times FROM decisions d
      JOIN last l USING (subject, decision) CROSS JOIN LATERAL
           (VALUES (d.actor), (d.on_behalf_of)) AS v (who)
     WHERE d.verdict = 'APPROVE' AND who IS NOT NULL GROUP BY 1, 2),
doubts AS (
    SELECT n.id, n.subject, 'approved by itself, or by levels of people' AS fault FROM named n
     WHERE n.approved_at IS NOT NULL AND (n.levels = '[]') = (n.auto_reason = '')
    UNION ALL
    SELECT n.id, n.subject, format('%s of %s in level %s', coalesce(y.votes, 0), quorum, level)
      FROM named n CROSS JOIN LATERAL (
           SELECT l->>'name' AS level, (l->>'quorum')::int AS quorum
             FROM jsonb_array_elements(n.levels) l) q
      LEFT JOIN yes y USING (subject, level)
     WHERE n.approved_at IS NOT NULL AND coalesce(y.votes, 0) < quorum
    UNION ALL
    SELECT n.id, n.subject, format('approved at %s, the last of them at %s', n.approved_at, l.at)
      FROM named n JOIN last l USING (subject)
     WHERE n.approved_at IS NOT NULL AND n.approved_at <> l.at
    UNION ALL
    SELECT n.id, n.subject, format('%s counts %s times', p.person, p.times)
      FROM named n JOIN people p USING (subject)
     WHERE p.times > 1 OR p.person = lower(n.requested_by)
    UNION ALL
    SELECT n.id, n.subject, 'rejected with a veto, and with a veto only' FROM named n
     WHERE (n.state = 'REJECTED') <> EXISTS (SELECT FROM decisions d
            WHERE d.subject = n.subject AND d.verdict = 'REJECT'))
SELECT 'withdrawals', id, 'decided by the people whom its levels ask for, each once, none of them'
       ' who asked for it', fault, count(*) OVER ()
  FROM doubts ORDER BY id, fault LIMIT 1"""

_TOKENS: Final = """
SELECT 'decisions', d.id, format('%s by %s with a token of his own, spent on it', d.subject,
                                 d.actor),
       format('token spent on %s by %s', t.subject, t.actor), count(*) OVER ()
  FROM decisions d LEFT JOIN spent_tokens t USING (token)
 WHERE t.token IS NULL OR t.subject <> d.subject OR t.decision <> d.decision
    OR t.actor <> d.actor OR t.refused IS NOT NULL
 ORDER BY d.id LIMIT 1"""

_AUDITED: Final = f"""
WITH {_NAMED}, told AS (
    SELECT DISTINCT ON (subject) subject, after->>'state' AS state FROM audit
     WHERE {_OURS} AND after ? 'state' ORDER BY subject, id DESC),
asked AS (
    SELECT subject, min(actor) AS actor FROM audit
     WHERE {_OURS} AND action = 'request_withdrawal' GROUP BY subject)
SELECT 'withdrawals', n.id, format('%s, asked for by %s', t.state, a.actor),
       format('%s, asked for by %s', n.state, n.requested_by), count(*) OVER ()
  FROM named n LEFT JOIN told t USING (subject) LEFT JOIN asked a USING (subject)
 WHERE t.state IS DISTINCT FROM n.state OR a.actor IS DISTINCT FROM n.requested_by
 ORDER BY n.id LIMIT 1"""

WITHDRAWAL_CHECKS: Final = (
    Check("withdrawals", _ROWS),
    Check("withdrawal_audit", _AUDITED),
    Check("withdrawal_payments", _PAID),
    Check("approvals", _APPROVED),
    Check("tokens", _TOKENS),
    Check("reserved", _RESERVED),
)
"""In this order: what is wrong in a row itself comes before what does not fit around it."""
