"""Who may do what with a work item: P-29, C-05, C-07."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tillkeeper.contracts.base import Model
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.fingerprint import fingerprint
from tillkeeper.contracts.workitem import (
    Approve,
    ClaimItem,
    ItemAction,
    ItemKind,
    ItemState,
    ItemView,
    Outcome,
    ProposalView,
    Propose,
    RejectProposal,
    ReleaseItem,
    ReturnTo,
)
from tillkeeper.rules import desk
from tillkeeper.rules.desk import FOUR_EYES, allowed_actions, same_person, target_of

AT = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
BODY = Propose(action=ItemAction.MATCH, target="M1/T1", reason="证明", actor="O1")
YES = Approve(
    proposal=1, action=ItemAction.MATCH, target="M1/T1", amount_minor=5_000_00, actor="O2"
)
NO = RejectProposal(proposal=1, reason="证明不足", actor="O2")
CLAIM = ClaimItem(actor="O1")
RELEASE = ReleaseItem(reason="x", actor="O1")


def item(**changes: Any) -> ItemView:
    kind = changes.get("kind", ItemKind.UNMATCHED_RECEIPT)
    fields = {
        "item": 1, "kind": kind, "subject": "receipt/d", "state": ItemState.OPEN,
        "amount_minor": 5_000_00, "currency": "CNY", "opened_at": AT,
        "actions": allowed_actions(kind),
    }  # fmt: skip
    return ItemView(**{**fields, **changes})


def proposed(body: Propose = BODY, **changes: Any) -> ItemView:
    proposal = ProposalView(
        number=1, action=body.action, target=body.target, amount_minor=5_000_00,
        reason=body.reason, proposed_by=body.actor, proposed_at=AT, fingerprint=fingerprint(body),
    )  # fmt: skip
    fields = {
        "state": ItemState.PROPOSED, "owner": body.actor, "proposals": 1, "proposal": proposal,
    }  # fmt: skip
    return item(**{**fields, **changes})


CLAIMED = item(state=ItemState.CLAIMED, owner="O1")
REJECTED = item(state=ItemState.CLAIMED, owner="O1", proposals=1)
MATCHED = proposed(
    state=ItemState.CLOSED, outcome=Outcome.MATCHED, decided_by="O2", closed_at=AT, actions=()
)
RESOLVED = proposed(state=ItemState.CLOSED, outcome=Outcome.RESOLVED, closed_at=AT, actions=())


def codes(judge: Any, view: ItemView, body: Model) -> tuple[Code, ...] | bool:
    try:
        done: bool = judge(view, body)
    except Rejected as refusal:
        return refusal.codes
    return done


class TestActions:
    def test_every_kind_allows_something_and_money_needs_two(self) -> None:
        """C-05, C-07."""
        assert allowed_actions(ItemKind.UNMATCHED_RECEIPT) == (ItemAction.MATCH, ItemAction.RETURN)
        known = (ItemAction.CHARGE, ItemAction.PAYMENT)
        assert allowed_actions(ItemKind.UNKNOWN_DEBIT) == known
        assert allowed_actions(ItemKind.CREDIT_REVERSED) == (ItemAction.CHARGE,)
        choices = (ItemAction.RETRY, ItemAction.RETRY_CORRECTED, ItemAction.RETURN_TO_AVAILABLE)
        assert allowed_actions(ItemKind.WITHDRAWAL_FAILED) == choices
        proof = (ItemAction.NOT_PAID, ItemAction.ACKNOWLEDGE)
        assert allowed_actions(ItemKind.PAYMENT_OVERDUE) == proof
        moving = {
            *(ItemKind.UNMATCHED_RECEIPT, ItemKind.UNKNOWN_DEBIT, ItemKind.CREDIT_REVERSED),
            *(ItemKind.WITHDRAWAL_FAILED, ItemKind.PAYMENT_OVERDUE),
        }
        noted = set(ItemKind) - moving
        assert {allowed_actions(kind) for kind in noted} == {(ItemAction.ACKNOWLEDGE,)}
        alone = {ItemAction.ACKNOWLEDGE, ItemAction.RETRY, ItemAction.RETURN_TO_AVAILABLE}
        assert set(ItemAction) - FOUR_EYES == alone
        assert set(desk.OUTCOMES) == set(ItemAction)

    def test_nobody_acts_in_the_name_of_the_system(self) -> None:
        """C-07: the audit's name for what no person did; in no spelling."""
        for name in ("tillkeeper", "TillKeeper"):
            with pytest.raises(ValidationError):
                ClaimItem(actor=name)
            with pytest.raises(ValidationError):
                Approve(**{**YES.model_dump(), "actor": name})

    def test_letters_case_makes_no_second_person(self) -> None:
        """C-07."""
        assert same_person("O1", "o1")
        assert not same_person(None, "O1")
        assert not same_person("O1", "O2")

    @pytest.mark.parametrize("text", [None, "", "M1", "/T1", "M1/", "a/b/c"])
    def test_a_target_is_merchant_and_request(self, text: str | None) -> None:
        """P-29."""
        with pytest.raises(Rejected) as caught:
            target_of(text)
        assert caught.value.codes == (Code.TARGET_MISSING,)
        assert target_of("M1/T1") == ("M1", "T1")


class TestJudges:
    @pytest.mark.parametrize(
        ("judge", "view", "body", "answer"),
        [
            (desk.judge_claim, item(), CLAIM, True),
            (desk.judge_claim, CLAIMED, CLAIM, False),
            (desk.judge_claim, proposed(), CLAIM, False),
            (desk.judge_claim, CLAIMED, ClaimItem(actor="O2"), (Code.ITEM_OWNED,)),
            (desk.judge_claim, proposed(), ClaimItem(actor="O2"), (Code.ITEM_PROPOSED,)),
            (desk.judge_claim, MATCHED, CLAIM, (Code.ITEM_CLOSED,)),
            (desk.judge_release, item(), RELEASE, False),
            (desk.judge_release, CLAIMED, RELEASE, True),
            (desk.judge_release, CLAIMED, ReleaseItem(reason="x", actor="O2"), True),
            (desk.judge_release, proposed(), RELEASE, True),
            (desk.judge_release, proposed(), ReleaseItem(reason="x", actor="O2"),
             (Code.ITEM_PROPOSED,)),
            (desk.judge_release, RESOLVED, RELEASE, (Code.ITEM_CLOSED,)),
            (desk.judge_proposal, item(), BODY, True),
            (desk.judge_proposal, CLAIMED, BODY, True),
            (desk.judge_proposal, CLAIMED, BODY.model_copy(update={"actor": "O2"}),
             (Code.ITEM_OWNED,)),
            (desk.judge_proposal, proposed(), BODY, False),
            (desk.judge_proposal, proposed(), BODY.model_copy(update={"reason": "y"}),
             (Code.ITEM_PROPOSED,)),
            (desk.judge_proposal, MATCHED, BODY, False),
            (desk.judge_proposal, MATCHED, BODY.model_copy(update={"actor": "O3"}),
             (Code.ITEM_CLOSED,)),
            (desk.judge_approval, proposed(), YES, True),
            (desk.judge_approval, item(), YES, (Code.ITEM_NOT_PROPOSED,)),
            (desk.judge_approval, REJECTED, YES, (Code.PROPOSAL_STALE,)),
            (desk.judge_approval, MATCHED, YES, False),
            (desk.judge_approval, MATCHED, YES.model_copy(update={"actor": "O3"}), False),
            (desk.judge_approval, MATCHED, YES.model_copy(update={"actor": "O1"}),
             (Code.ITEM_CLOSED,)),
            (desk.judge_approval, RESOLVED, YES, (Code.ITEM_CLOSED,)),
            (desk.judge_rejection, proposed(), NO, True),
            (desk.judge_rejection, REJECTED, NO, False),
            (desk.judge_rejection, item(), NO, (Code.ITEM_NOT_PROPOSED,)),
            (desk.judge_rejection, MATCHED, NO, (Code.ITEM_CLOSED,)),
        ],
    )  # fmt: skip
    def test_each_act_in_each_state(
        self, judge: Any, view: ItemView, body: Model, answer: tuple[Code, ...] | bool
    ) -> None:
        """C-05, C-07: True is done, False was done already, a code changes nothing."""
        assert codes(judge, view, body) == answer

    @pytest.mark.parametrize(
        "changes",
        [
            {"proposal": 2}, {"proposal": 0}, {"action": ItemAction.RETURN}, {"target": "M1/T2"},
            {"target": None}, {"amount_minor": 5_000_01}, {"amount_minor": None},
        ],
    )  # fmt: skip
    def test_a_yes_to_anything_else_is_stale(self, changes: dict[str, Any]) -> None:
        """Design §5: number, action, target and amount were shown."""
        other = YES.model_copy(update=changes)
        assert codes(desk.judge_approval, proposed(), other) == (Code.PROPOSAL_STALE,)

    def test_nobody_decides_his_own_proposal(self) -> None:
        """P-29, C-07: every reason at once."""
        own = YES.model_copy(update={"actor": "o1"})
        assert codes(desk.judge_approval, proposed(), own) == (Code.OWN_PROPOSAL,)
        both = own.model_copy(update={"proposal": 7})
        expected = (Code.PROPOSAL_STALE, Code.OWN_PROPOSAL)
        assert codes(desk.judge_approval, proposed(), both) == expected
        mine = NO.model_copy(update={"actor": "O1"})
        assert codes(desk.judge_rejection, proposed(), mine) == (Code.OWN_PROPOSAL,)

    def test_what_a_proposal_lacks_is_told_at_once(self) -> None:
        """C-05: the wrong action, a target too many, a payee without a return."""
        body = Propose(
            action=ItemAction.CHARGE, target="M1/T1", reason="x", actor="O1",
            return_to=ReturnTo(name="甲"),
        )  # fmt: skip
        expected = (Code.ACTION_NOT_ALLOWED, Code.FIELD_INVALID, Code.FIELD_INVALID)
        assert codes(desk.judge_proposal, item(), body) == expected
        bare = BODY.model_copy(update={"target": None})
        assert codes(desk.judge_proposal, item(), bare) == (Code.TARGET_MISSING,)
        back = Propose(action=ItemAction.RETURN, reason="x", actor="O1", return_to=ReturnTo())
        assert codes(desk.judge_proposal, item(), back) is True

    def test_age_stops_when_the_item_is_closed(self) -> None:
        """C-05: age is shown."""
        later = AT.replace(day=9)
        assert item().age(later).days == 3
        assert item(closed_at=AT.replace(day=7)).age(later).days == 1
        assert item().age(AT.replace(day=1)).total_seconds() == 0
