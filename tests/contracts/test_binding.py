"""What tokens are bound to, as an issuer without our code computes it (S3, C-07)."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tillkeeper.contracts.actor import Decision, claimed_subject, decision_digest
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    Decide,
    DecidePolicy,
    Delegate,
    Level,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.binding import (
    delegation_decision,
    item_approval,
    item_proposal,
    item_rejection,
    item_release,
    policy_decision,
    policy_proposal,
    withdrawal_decision,
)
from tillkeeper.contracts.workitem import (
    Approve,
    ItemAction,
    ProposalView,
    Propose,
    ReturnTo,
)

AT = datetime(2026, 12, 24, tzinfo=UTC)
DIGEST = "ab" * 32
NOTHING = {"amount_minor": None, "currency": None, "shown": None}


def sha(fields: dict[str, Any]) -> str:
    """As the documents say it."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def same(decision: Decision, subject: str, verdict: str, **more: Any) -> bool:
    fields = {"subject": subject, "verdict": verdict, **NOTHING, **more}
    return decision_digest(decision) == sha(fields)


class TestByHand:
    def test_a_withdrawal(self) -> None:
        body = Decide(
            verdict=Verdict.REJECT, amount_minor=2_000_00, currency="CNY", payee_digest=DIGEST,
            reason="资料不符",
        )  # fmt: skip
        assert same(
            withdrawal_decision("M1", "W1", body), "withdrawal/M1/W1", "REJECT",
            amount_minor=200000, currency="CNY", shown=DIGEST,
        )  # fmt: skip

    def test_a_policy(self) -> None:
        levels = (Level(name="board", roles=("board",)),)
        policy = ApprovalPolicy(bands=(Band(levels=levels),))
        body = ProposePolicy(change="P1", policy=policy, effective_from=AT, reason="季度")
        level = {"name": "board", "roles": ["board"], "quorum": 1}
        bands = [{"upto_minor": None, "levels": [level], "auto_reason": None}]
        shown = sha(
            {
                "policy": {"bands": bands, "by_currency": {}},
                "effective_from": "2026-12-24T00:00:00+00:00",
            }
        )
        assert same(policy_proposal(body), "policy/P1", "PROPOSE", shown=shown)
        yes = DecidePolicy(verdict=Verdict.APPROVE, policy_digest=shown)
        assert same(policy_decision("P1", yes), "policy/P1", "APPROVE", shown=shown)

    def test_a_delegation(self) -> None:
        body = Delegate(
            delegation="D1", delegate="O3", roles=("operations",), until=AT, reason="休假"
        )
        shown = sha(
            {
                "delegation": "D1", "delegate": "O3", "roles": ["operations"], "reason": "休假",
                "until": "2026-12-24T00:00:00+00:00",
            }
        )  # fmt: skip
        assert same(delegation_decision(body), "delegation/D1", "DELEGATE", shown=shown[:32])

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({}, {}),
            ({"target": "M1/T1"}, {"target": "M1/T1"}),
            (
                {"return_to": ReturnTo(name="甲", account="62")},
                {"return_to": {"name": "甲", "account": "62"}},
            ),
        ],
    )
    def test_a_proposal_at_the_desk(self, more: dict[str, Any], said: dict[str, Any]) -> None:
        """Whoever proposes it, and why, is no part of it."""
        body = Propose(action=ItemAction.RETRY, reason="x", actor="O1", **more)
        shown = sha({"action": "RETRY", **said})
        assert same(item_proposal(7, body), "item/7", "PROPOSE", shown=shown)
        other = body.model_copy(update={"reason": "y", "token": "t", "actor": "O2"})
        assert item_proposal(7, other) == item_proposal(7, body)

    @pytest.mark.parametrize(
        ("payee", "target", "shown"),
        [(None, None, "RETRY"), (None, "M1/T1", "RETRY M1/T1"), (DIGEST, None, f"RETRY {DIGEST}")],
    )
    def test_a_decision_at_the_desk(
        self, payee: str | None, target: str | None, shown: str
    ) -> None:
        body = Approve(
            proposal=2, action=ItemAction.RETRY, target=target, amount_minor=100,
            payee_digest=payee, actor="O2",
        )  # fmt: skip
        view = ProposalView(
            number=2, action=ItemAction.RETRY, target=target, amount_minor=100, reason="x",
            payee_digest=payee, proposed_by="O1", proposed_at=AT,
        )  # fmt: skip
        more = {"amount_minor": 100, "shown": shown}
        assert same(item_approval(7, body), "item/7/2", "APPROVE", **more)
        assert same(item_rejection(7, view), "item/7/2", "REJECT", **more)
        assert same(item_release(7), "item/7", "RELEASE")


def test_a_published_digest_never_changes() -> None:
    """C-02: by it decisions are counted and spent tokens known again."""
    decision = Decision(
        subject="withdrawal/M1/W1", verdict="APPROVE", amount_minor=1, currency="CNY", shown="x"
    )
    assert decision_digest(decision) == (
        "d37fde5ced7bf6cf70e6e004062a5e444b517f8b30482b82646f3c2f8b914f1e"
    )


class TestClaimedSubject:
    @pytest.mark.parametrize(
        ("claims", "who"),
        [
            (b'{"sub": "O2"}', "O2"),
            (b'{"sub": 7}', ""),
            (b'{"sub": "\\ud800"}', ""),
            (b"\xff", ""),
            (b"[" * 2900, ""),
            (b'{"a":' * 20_000, ""),
            (b"[]", ""),
            (b'"O2"', ""),
        ],
    )
    def test_nothing_that_a_token_holds_breaks_it(self, claims: bytes, who: str) -> None:
        """S3: it is only for an answer; nonsense is nobody."""
        body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
        assert claimed_subject(f"e30.{body}.AAAA") == who

    @pytest.mark.parametrize("token", ["", ".", "w\udcff", "a.\udcff.b", "a.b", "a.é.b"])
    def test_what_is_no_token_is_nobody(self, token: str) -> None:
        assert claimed_subject(token) == ""
