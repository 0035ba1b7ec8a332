"""What must hold of who may decide: delegations and policies as in ``ledger.checks`` (C-07, C-08).

Promises that every delegation and every word about a policy is in the audit as it stands, and the
reverse. Whether those audit rows are ours say their stamps (``ledger.audit_proof``). It only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from ledger.checks import Check
from tillkeeper.contracts.approval import ApprovalPolicy
from tillkeeper.contracts.binding import policy_digest

_DELEGATIONS: Final = """
WITH told AS (
    SELECT id, subject, actor, at, after, after->>'until' AS until FROM audit
     WHERE action = 'delegate'),
pairs AS (
    SELECT d.id, d.delegation, t.id AS audit, t.subject, t.actor, t.after,
           d.id IS NOT NULL AND t.id IS NOT NULL AND t.actor = d.delegator AND t.at = d.since
           AND t.after->>'delegate' = d.delegate AND t.after->'roles' = to_jsonb(d.roles)
           AND t.after->'merchants' = to_jsonb(d.merchants)
           AND CASE WHEN pg_input_is_valid(t.until, 'timestamptz')
                    THEN t.until::timestamptz = d.until ELSE false END AS same,
           format('%s to %s: %s for %s, %s to %s', d.delegator, d.delegate, d.roles, d.merchants,
                  d.since, d.until) AS said
      FROM delegations d FULL JOIN told t ON t.subject = 'delegation/' || d.delegation)
SELECT CASE WHEN id IS NULL THEN 'audit' ELSE 'delegations' END, coalesce(id, audit),
       CASE WHEN audit IS NULL THEN 'an audit row of it' ELSE format('%s: %s', actor, after) END,
       CASE WHEN id IS NULL THEN 'no such delegation' ELSE said END, count(*) OVER ()
  FROM pairs WHERE same IS NOT TRUE ORDER BY id NULLS LAST, audit LIMIT 1"""

_POLICIES: Final = """
WITH words AS (
    SELECT id, change, digest, 'propose_policy' AS action, 'PROPOSED' AS state,
           proposed_by AS who, proposed_at AS at FROM approval_policies
    UNION ALL
    SELECT id, change, digest,
           CASE state WHEN 'ADOPTED' THEN 'adopt_policy' ELSE 'reject_policy' END,
           state, decided_by, decided_at FROM approval_policies WHERE state <> 'PROPOSED'),
told AS (
    SELECT id, subject, action, actor, at, after->>'state' AS state, after->>'digest' AS digest
      FROM audit WHERE action IN ('propose_policy', 'adopt_policy', 'reject_policy')),
pairs AS (
    SELECT w.id, t.id AS audit, w.id IS NOT NULL AND t.id IS NOT NULL AND t.actor = w.who
           AND t.at = w.at AND t.state = w.state AND t.digest = w.digest AS same,
           format('%s by %s at %s: %s', w.state, w.who, w.at, w.digest) AS said,
           format('%s by %s at %s: %s', t.state, t.actor, t.at, t.digest) AS audited
      FROM words w FULL JOIN told t
        ON t.subject = 'policy/' || w.change AND t.action = w.action)
SELECT CASE WHEN id IS NULL THEN 'audit' ELSE 'approval_policies' END, coalesce(id, audit),
       CASE WHEN audit IS NULL THEN 'an audit row of it' ELSE audited END,
       CASE WHEN id IS NULL THEN 'no such change of the policy' ELSE said END, count(*) OVER ()
  FROM pairs WHERE same IS NOT TRUE ORDER BY id NULLS LAST, audit LIMIT 1"""

APPROVAL_CHECKS: Final = (
    Check("delegations", _DELEGATIONS),
    Check("policies", _POLICIES),
)

DIGESTED: Final = """
SELECT id, digest, policy::text AS policy, effective_from FROM approval_policies ORDER BY id"""


def misdigested(rows: Sequence[Any]) -> Iterator[tuple[int, str, str]]:
    """Of ``DIGESTED``, what is not as its digest says: id, the digest it should have, its own."""
    for row in rows:
        try:
            policy = ApprovalPolicy.model_validate_json(row.policy)
            wanted = policy_digest(policy, row.effective_from)
        except (ValidationError, ValueError, OverflowError):
            wanted = "that of a policy"
        if wanted != row.digest:
            yield row.id, wanted, row.digest
