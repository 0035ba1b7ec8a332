"""Whose token is good for which act at the desk: S3, C-07."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tillkeeper.contracts.actor import EVERY_MERCHANT, LIFE_MAX, ActorToken
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.contracts.workitem import ItemAction
from tillkeeper.rules.proving import (
    DESK,
    NEEDS_NO_TOKEN,
    judge_desk,
    judge_person,
    merchant_of,
)

AT = datetime(2026, 11, 5, tzinfo=UTC)


def token(*roles: str, merchants: tuple[str, ...] = (EVERY_MERCHANT,)) -> ActorToken:
    return ActorToken(
        subject="O2", roles=roles, merchants=merchants, token_id="J1",  # noqa: S106 - an id
        issued_at=AT, expires_at=AT + LIFE_MAX,
    )  # fmt: skip


class TestNeed:
    def test_only_taking_note_needs_no_token(self) -> None:
        """C-07: whatever is added later needs one, unless somebody says otherwise."""
        assert {ItemAction.ACKNOWLEDGE} == NEEDS_NO_TOKEN


class TestPerson:
    @pytest.mark.parametrize("actor", ["O2", "o2"])
    def test_a_token_proves_its_own_subject(self, actor: str) -> None:
        """C-07: in any case of letters."""
        judge_person(token(), actor)

    def test_a_token_proves_nobody_else(self) -> None:
        """S3."""
        with pytest.raises(Rejected) as refusal:
            judge_person(token(), "O1")
        assert refusal.value.codes == (Code.TOKEN_INVALID,)


class TestDesk:
    @pytest.mark.parametrize("merchants", [(EVERY_MERCHANT,), ("M1",), ("M2", "M1")])
    def test_role_and_merchant_are_enough(self, merchants: tuple[str, ...]) -> None:
        """S3."""
        judge_desk(token("finance", DESK, merchants=merchants), "M1")

    @pytest.mark.parametrize(
        ("roles", "merchants", "codes"),
        [
            (("finance",), ("M1",), (Code.ROLE_MISSING,)),
            ((DESK,), ("M2",), (Code.OUT_OF_SCOPE,)),
            ((), (), (Code.ROLE_MISSING, Code.OUT_OF_SCOPE)),
        ],
    )
    def test_every_reason_is_told(
        self, roles: tuple[str, ...], merchants: tuple[str, ...], codes: tuple[Code, ...]
    ) -> None:
        """S3, C-07."""
        with pytest.raises(Rejected) as refusal:
            judge_desk(token(*roles, merchants=merchants), "M1")
        assert refusal.value.codes == codes


class TestMerchant:
    @pytest.mark.parametrize(
        ("subject", "action", "target", "merchant"),
        [
            ("receipt/d", ItemAction.MATCH, "M1/T1", "M1"),
            ("receipt/d", ItemAction.RETURN, None, EVERY_MERCHANT),
            ("entry/7", ItemAction.CHARGE, None, EVERY_MERCHANT),
            ("entry/7", ItemAction.PAYMENT, "P1", EVERY_MERCHANT),
            ("withdrawal/M2/W1", ItemAction.RETRY, None, "M2"),
            ("withdrawal/M2/W1", ItemAction.RETURN_TO_AVAILABLE, None, "M2"),
            ("payment/P1", ItemAction.NOT_PAID, None, EVERY_MERCHANT),
        ],
    )
    def test_whose_money_moves(
        self, subject: str, action: ItemAction, target: str | None, merchant: str
    ) -> None:
        """S3: a token for every merchant is needed where it is nobody's yet."""
        assert merchant_of(subject, action, target) == merchant
