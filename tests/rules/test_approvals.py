"""Who may approve what: P-68, C-07, C-08, S4. Four eyes hold in every order of decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tillkeeper.contracts.actor import EVERY_MERCHANT, ActorToken
from tillkeeper.contracts.approval import (
    ApprovalPolicy,
    Band,
    Delegate,
    Level,
    PolicyVersion,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.base import EARLIEST
from tillkeeper.contracts.binding import policy_digest
from tillkeeper.contracts.errors import Code, Rejected
from tillkeeper.rules.approvals import (
    DEFAULT_POLICY,
    POLICY_ADMIN,
    Case,
    Counted,
    Delegated,
    Ruling,
    begins,
    coming,
    in_force,
    judge_approval,
    judge_delegation,
    judge_policy_decision,
    judge_policy_proposal,
    judge_veto,
    level_views,
    levels_for,
    same_people,
)

AT = datetime(2026, 11, 6, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
OPS = Level(name="operations", roles=("operations",))
FIN = Level(name="finance", roles=("finance",))
FIN2 = Level(name="finance", roles=("finance", "treasury"), quorum=2)
CASE = Case("M1", "U1", (OPS, FIN2))


def token(subject: str, *roles: str, merchants: tuple[str, ...] = (EVERY_MERCHANT,)) -> ActorToken:
    return ActorToken(
        subject=subject, roles=roles, merchants=merchants, token_id=f"t-{subject}",
        issued_at=AT, expires_at=AT + timedelta(minutes=5),
    )  # fmt: skip


def yes(actor: str, level: str, on_behalf_of: str | None = None) -> Counted:
    return Counted(actor, on_behalf_of, level, Verdict.APPROVE)


def lent(delegator: str, delegate: str, *roles: str, **changes: Any) -> Delegated:
    made = Delegated(delegator, delegate, roles, (EVERY_MERCHANT,), AT + HOUR)
    return replace(made, **changes)


def why_not(case: Case, actor: ActorToken, at: datetime = AT) -> tuple[Code, ...]:
    with pytest.raises(Rejected) as refused:
        judge_approval(case, actor, at)
    return refused.value.codes


class TestLevelsFor:
    @pytest.mark.parametrize(
        ("amount", "needed"),
        [
            (1, [("operations", 1)]),
            (50_000_00, [("operations", 1)]),
            (50_000_01, [("operations", 1), ("finance", 1)]),
            (500_000_00, [("operations", 1), ("finance", 1)]),
            (500_000_01, [("operations", 1), ("finance", 2)]),
            (10**15, [("operations", 1), ("finance", 2)]),
        ],
    )
    def test_p_68_the_built_in_policy_by_amount(
        self, amount: int, needed: list[tuple[str, int]]
    ) -> None:
        band = levels_for(DEFAULT_POLICY.policy, amount, "CNY")
        assert [(level.name, level.quorum) for level in band.levels] == needed

    def test_a_currency_may_have_bands_of_its_own(self) -> None:
        own = Band(auto_reason="small coins")
        policy = ApprovalPolicy(bands=(Band(levels=(OPS,)),), by_currency={"JPY": (own,)})
        assert levels_for(policy, 5, "JPY") == own
        assert levels_for(policy, 5, "CNY").levels == (OPS,)

    def test_levels_of_one_name_are_refused(self) -> None:
        """One approval would count in both."""
        with pytest.raises(ValidationError, match="different names"):
            Band(levels=(OPS, OPS))


class TestInForce:
    def version(self, name: str, effective_from: datetime) -> PolicyVersion:
        return PolicyVersion(name=name, effective_from=effective_from, policy=DEFAULT_POLICY.policy)

    def test_c_08_the_built_in_one_holds_until_another_begins(self) -> None:
        later = self.version("c1", AT)
        assert in_force((), AT) is DEFAULT_POLICY
        assert in_force((later,), AT - timedelta(microseconds=1)) is DEFAULT_POLICY
        assert in_force((later,), AT) is later
        assert DEFAULT_POLICY.effective_from == EARLIEST

    def test_c_08_the_latest_that_has_begun_holds_whatever_the_order_of_adoption(self) -> None:
        first, second, future = (self.version(f"c{n}", AT + n * HOUR) for n in (-2, -1, 1))
        assert in_force((future, second, first), AT) is second

    def test_of_equal_dates_the_one_adopted_last_holds(self) -> None:
        first, second = self.version("c1", AT), self.version("c2", AT)
        assert in_force((first, second), AT) is second

    def test_c_08_what_comes_is_what_will_be_in_force(self) -> None:
        past, now, last, replaced, first = (
            self.version(f"c{n}", AT + n * HOUR) for n in (-1, 0, 2, 1, 1)
        )
        versions = (past, now, last, replaced, first)
        assert coming(versions, AT) == (first, last)
        assert [in_force(versions, one.effective_from) for one in coming(versions, AT)] == [
            first, last,
        ]  # fmt: skip
        assert coming(versions, last.effective_from) == ()


class TestSamePeople:
    def test_c_08_roles_are_a_set_and_levels_a_sequence(self) -> None:
        swapped = Level(name="other", roles=("treasury", "finance"), quorum=2)
        assert same_people((OPS, FIN2), (OPS, swapped))
        assert not same_people((OPS, FIN2), (FIN2, OPS))
        assert not same_people((OPS, FIN2), (OPS, swapped.model_copy(update={"quorum": 1})))
        assert not same_people((OPS, FIN), (OPS, FIN2))
        assert not same_people((OPS, FIN), (OPS,))


class TestPolicyDigest:
    def test_tells_policies_and_moments_apart_and_zones_not(self) -> None:
        policy = DEFAULT_POLICY.policy
        other = ApprovalPolicy(bands=(Band(levels=(OPS,)),))
        shanghai = AT.astimezone(timezone(timedelta(hours=8)))
        assert policy_digest(policy, AT) == policy_digest(policy, shanghai)
        assert policy_digest(policy, AT) != policy_digest(policy, AT + HOUR)
        assert policy_digest(policy, AT) != policy_digest(other, AT)
        assert len(policy_digest(policy, AT)) == 64


class TestJudgeApproval:
    def test_p_68_one_person_of_the_right_role_completes_a_single_level(self) -> None:
        case = replace(CASE, levels=(OPS,))
        assert judge_approval(case, token("O2", "operations"), AT) == Ruling(
            "operations", None, complete=True
        )

    def test_levels_are_passed_in_sequence_to_the_full_quorum(self) -> None:
        first = judge_approval(CASE, token("O2", "operations"), AT)
        second = judge_approval(
            replace(CASE, counted=(yes("O2", "operations"),)), token("F1", "finance"), AT
        )
        counted = (yes("O2", "operations"), yes("F1", "finance"))
        third = judge_approval(replace(CASE, counted=counted), token("F2", "treasury"), AT)
        assert (first.complete, second.complete, third.complete) == (False, False, True)

    def test_a_later_levels_role_does_not_pass_the_level_that_waits(self) -> None:
        assert why_not(CASE, token("F1", "finance")) == (Code.ROLE_MISSING,)

    @pytest.mark.parametrize("who", ["U1", "u1"])
    def test_c_07_nobody_approves_what_he_asked_for(self, who: str) -> None:
        assert why_not(CASE, token(who, "operations", "finance")) == (Code.OWN_REQUEST,)

    @pytest.mark.parametrize("who", ["O2", "o2"])
    def test_c_07_nobody_approves_at_two_levels(self, who: str) -> None:
        case = replace(CASE, counted=(yes("O2", "operations"),))
        assert why_not(case, token(who, "operations", "finance")) == (Code.ALREADY_DECIDED,)

    @pytest.mark.parametrize("who", ["F1", "f1"])
    def test_c_07_nobody_fills_a_quorum_alone(self, who: str) -> None:
        case = replace(CASE, counted=(yes("O2", "operations"), yes("F1", "finance")))
        assert why_not(case, token(who, "finance")) == (Code.ALREADY_DECIDED,)

    def test_an_admins_role_approves_nothing(self) -> None:
        """S4: no role is above the levels."""
        assert why_not(CASE, token("A1", "admin", POLICY_ADMIN)) == (Code.ROLE_MISSING,)

    def test_a_token_for_other_merchants_is_out_of_scope(self) -> None:
        assert why_not(CASE, token("O2", "operations", merchants=("M2",))) == (Code.OUT_OF_SCOPE,)
        assert why_not(CASE, token("O2", "operations", merchants=())) == (Code.OUT_OF_SCOPE,)

    def test_every_reason_at_once(self) -> None:
        actor = token("u1", "clerk", merchants=("M2",))
        assert why_not(CASE, actor) == (Code.OUT_OF_SCOPE, Code.OWN_REQUEST, Code.ROLE_MISSING)

    def test_nothing_waits_once_every_level_is_full(self) -> None:
        case = Case("M1", "U1", (OPS,), (yes("O2", "operations"),))
        assert why_not(case, token("O3", "operations")) == (Code.REQUEST_DECIDED,)


class TestDelegation:
    def test_a_delegate_decides_for_the_delegator(self) -> None:
        case = replace(CASE, delegations=(lent("O2", "D1", "operations"),))
        ruling = judge_approval(case, token("d1", "clerk"), AT)
        assert ruling == Ruling("operations", "O2", complete=False)

    def test_a_role_of_ones_own_comes_first(self) -> None:
        case = replace(CASE, delegations=(lent("O2", "D1", "operations"),))
        assert judge_approval(case, token("D1", "operations"), AT).on_behalf_of is None

    def test_expiry_itself_is_over(self) -> None:
        case = replace(CASE, delegations=(lent("O2", "D1", "operations", until=AT),))
        assert why_not(case, token("D1")) == (Code.ROLE_MISSING,)
        assert judge_approval(case, token("D1"), AT - timedelta(microseconds=1)).on_behalf_of

    def test_neither_roles_nor_merchants_beyond_what_was_lent(self) -> None:
        for other in (
            lent("O2", "D1", "finance"),
            lent("O2", "D1", "operations", merchants=("M2",)),
            lent("O2", "D9", "operations"),
        ):
            assert why_not(replace(CASE, delegations=(other,)), token("D1")) == (Code.ROLE_MISSING,)

    def test_a_delegation_does_not_widen_the_delegates_own_scope(self) -> None:
        case = replace(CASE, delegations=(lent("O2", "D1", "operations"),))
        assert why_not(case, token("D1", merchants=("M2",))) == (Code.OUT_OF_SCOPE,)

    @pytest.mark.parametrize("requester", ["O2", "o2"])
    def test_s4_the_requesters_delegate_cannot_approve_for_him(self, requester: str) -> None:
        case = Case("M1", requester, (OPS,), (), (lent("O2", "D1", "operations"),))
        assert why_not(case, token("D1")) == (Code.OWN_REQUEST,)

    def test_s4_the_requester_cannot_approve_as_a_delegate(self) -> None:
        case = Case("M1", "D1", (OPS,), (), (lent("O2", "D1", "operations"),))
        assert why_not(case, token("d1")) == (Code.OWN_REQUEST,)

    def test_a_delegation_is_not_passed_on(self) -> None:
        chain = (lent("O2", "D1", "operations"), lent("D1", "D2", "clerk"))
        assert why_not(replace(CASE, delegations=chain), token("D2")) == (Code.ROLE_MISSING,)

    def test_nobody_lends_a_role_to_himself(self) -> None:
        case = replace(CASE, delegations=(lent("O2", "o2", "operations"),))
        assert why_not(case, token("o2", "clerk")) == (Code.ROLE_MISSING,)

    def test_c_07_who_was_acted_for_has_had_his_say(self) -> None:
        case = replace(CASE, counted=(yes("D1", "operations", "O2"),))
        assert why_not(case, token("o2", "finance")) == (Code.ALREADY_DECIDED,)

    def test_c_07_who_acted_for_another_has_had_his_say(self) -> None:
        case = replace(CASE, counted=(yes("D1", "operations", "O2"),))
        assert why_not(case, token("D1", "finance")) == (Code.ALREADY_DECIDED,)

    def test_c_07_a_delegator_is_not_acted_for_twice(self) -> None:
        case = replace(
            CASE,
            counted=(yes("D1", "operations", "O2"),),
            delegations=(lent("o2", "D2", "finance"),),
        )
        assert why_not(case, token("D2")) == (Code.ALREADY_DECIDED,)

    def test_of_two_delegators_the_one_who_has_not_decided_is_acted_for(self) -> None:
        case = replace(
            CASE,
            counted=(yes("O2", "operations"), yes("F1", "finance")),
            delegations=(lent("F1", "D1", "finance"), lent("F2", "D1", "finance")),
        )
        assert judge_approval(case, token("D1"), AT) == Ruling("finance", "F2", complete=True)


class TestJudgeVeto:
    def test_a_role_of_any_level_is_enough(self) -> None:
        assert judge_veto(CASE, token("F1", "treasury"), AT) == Ruling(
            "finance", None, complete=False
        )

    def test_the_level_that_waits_is_named_first(self) -> None:
        case = replace(CASE, counted=(yes("O2", "operations"),))
        assert judge_veto(case, token("X", "operations", "finance"), AT).level == "finance"

    def test_who_approved_may_undo_it_even_after_the_last_level(self) -> None:
        case = Case("M1", "U1", (OPS,), (yes("O2", "operations"),))
        assert judge_veto(case, token("O2", "operations"), AT).level == "operations"

    def test_a_delegate_may_veto(self) -> None:
        case = replace(CASE, delegations=(lent("F1", "D1", "finance"),))
        assert judge_veto(case, token("D1"), AT) == Ruling("finance", "F1", complete=False)

    @pytest.mark.parametrize(
        ("actor", "codes"),
        [
            (token("U1", "operations"), (Code.OWN_REQUEST,)),
            (token("C1", "clerk"), (Code.ROLE_MISSING,)),
            (token("O2", "operations", merchants=("M2",)), (Code.OUT_OF_SCOPE,)),
        ],
    )
    def test_others_are_refused(self, actor: ActorToken, codes: tuple[Code, ...]) -> None:
        with pytest.raises(Rejected) as refused:
            judge_veto(CASE, actor, AT)
        assert refused.value.codes == codes

    def test_what_approved_itself_is_nobodys_to_refuse(self) -> None:
        with pytest.raises(Rejected) as refused:
            judge_veto(Case("M1", "U1", ()), token("O2", "operations"), AT)
        assert refused.value.codes == (Code.ROLE_MISSING,)


class TestLevelViews:
    def shown(self, *counted: Counted) -> list[tuple[str, int, bool]]:
        views = level_views((OPS, FIN2), counted)
        return [(view.name, view.approvals, view.current) for view in views]

    def test_the_level_that_waits_is_current(self) -> None:
        assert self.shown() == [("operations", 0, True), ("finance", 0, False)]
        assert self.shown(yes("O2", "operations"), yes("F1", "finance")) == [
            ("operations", 1, False),
            ("finance", 1, True),
        ]

    def test_none_is_current_at_the_end(self) -> None:
        full = (yes("O2", "operations"), yes("F1", "finance"), yes("F2", "finance"))
        assert self.shown(*full) == [("operations", 1, False), ("finance", 2, False)]
        no = Counted("F1", None, "finance", Verdict.REJECT)
        assert self.shown(no) == [("operations", 0, False), ("finance", 0, False)]


class TestJudgeDelegation:
    def delegate(self, **changes: Any) -> Delegate:
        fields = {"delegation": "d1", "delegate": "O3", "roles": ("operations",),
                  "until": AT + HOUR, "reason": "leave", **changes}  # fmt: skip
        return Delegate(**fields)

    def test_ones_own_roles_may_be_lent(self) -> None:
        judge_delegation(self.delegate(), token("O2", "operations", "clerk"), AT)

    def test_nobody_lends_what_he_has_not(self) -> None:
        """What was delegated to him is no role of his token, so nothing is passed on."""
        with pytest.raises(Rejected) as refused:
            judge_delegation(self.delegate(delegate="o2"), token("O2", "clerk"), AT)
        assert refused.value.codes == (Code.ROLE_MISSING, Code.FIELD_INVALID)

    def test_an_end_needs_no_role_any_more(self) -> None:
        judge_delegation(self.delegate(until=AT), token("O2"), AT)


class TestJudgePolicy:
    def proposal(self, effective_from: datetime = AT) -> ProposePolicy:
        return ProposePolicy(
            change="c1", policy=DEFAULT_POLICY.policy, effective_from=effective_from, reason="x"
        )

    def test_c_08_a_policy_admin_proposes_and_another_decides(self) -> None:
        judge_policy_proposal(self.proposal(), token("A1", POLICY_ADMIN), AT)
        judge_policy_decision("A1", token("A2", POLICY_ADMIN))

    def test_c_08_never_in_the_past(self) -> None:
        past = self.proposal(AT - timedelta(microseconds=1))
        with pytest.raises(Rejected) as refused:
            judge_policy_proposal(past, token("O2", "operations", merchants=("M1",)), AT)
        assert refused.value.codes == (
            Code.OUT_OF_SCOPE, Code.ROLE_MISSING, Code.FIELD_INVALID,
        )  # fmt: skip

    def test_c_07_nobody_decides_his_own_proposal(self) -> None:
        with pytest.raises(Rejected) as refused:
            judge_policy_decision("A1", token("a1", "operations"))
        assert refused.value.codes == (Code.ROLE_MISSING, Code.OWN_REQUEST)

    def test_c_08_an_adoption_changes_no_answer_of_the_past(self) -> None:
        assert begins(AT, AT + HOUR) == AT + HOUR
        assert begins(AT + HOUR, AT) == AT + HOUR


PEOPLE = ("ann", "Ann", "ANN", "bob", "Bob", "cy", "CY", "dee", "eve", "EVE")
ROLES = ("operations", "finance", "treasury")
SCOPES = ((EVERY_MERCHANT,), ("M1",), ("M2",), ())
some_roles = st.lists(st.sampled_from(ROLES), max_size=2, unique=True).map(tuple)
people = st.sampled_from(PEOPLE)
actors = st.builds(
    lambda who, roles, scope: token(who, *roles, merchants=scope),
    people, some_roles, st.sampled_from(SCOPES),
)  # fmt: skip
delegations = st.builds(
    Delegated, people, people, some_roles, st.sampled_from(SCOPES),
    st.sampled_from((AT - HOUR, AT, AT + HOUR)),
)  # fmt: skip
levels = st.lists(
    st.tuples(st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True),
              st.integers(1, 3)),
    min_size=1, max_size=3,
).map(lambda made: tuple(
    Level(name=f"L{n}", roles=tuple(roles), quorum=quorum)
    for n, (roles, quorum) in enumerate(made)
))  # fmt: skip
cases = st.builds(
    Case, st.just("M1"), people, levels, st.just(()), st.lists(delegations, max_size=6).map(tuple)
)


def entitled(case: Case, actor: ActorToken, ruling: Ruling) -> bool:
    """Whether he really has the level's role, himself or lent by whom he acted for."""
    roles = set(next(level for level in case.levels if level.name == ruling.level).roles)
    if ruling.on_behalf_of is None:
        return bool(roles & set(actor.roles))
    return any(
        (one.delegator, one.delegate.lower()) == (ruling.on_behalf_of, actor.subject.lower())
        and roles & set(one.roles)
        and one.until > AT
        and {"M1", EVERY_MERCHANT} & set(one.merchants)
        for one in case.delegations
    )


class TestEveryOrder:
    @settings(max_examples=300, deadline=None)
    @given(case=cases, arriving=st.lists(actors, max_size=25))
    def test_c_07_complete_only_by_the_quorum_of_different_people_in_sequence(
        self, case: Case, arriving: list[ActorToken]
    ) -> None:
        complete = False
        for actor in arriving:
            try:
                ruling = judge_approval(case, actor, AT)
            except Rejected:
                continue
            assert not complete
            assert entitled(case, actor, ruling)
            assert actor.acts_for("M1")
            made = yes(actor.subject, ruling.level, ruling.on_behalf_of)
            case = replace(case, counted=(*case.counted, made))
            complete = ruling.complete
        names = [n for one in case.counted for n in (one.actor, one.on_behalf_of) if n]
        folded = [name.lower() for name in names]
        assert len(set(folded)) == len(folded)
        assert case.requested_by.lower() not in folded
        wanted = [level.name for level in case.levels for _ in range(level.quorum)]
        passed = [one.level for one in case.counted]
        assert passed == wanted[: len(passed)]
        assert complete == (passed == wanted)

    @settings(max_examples=100, deadline=None)
    @given(case=cases, arriving=st.permutations([f"p{n}" for n in range(9)]))
    def test_enough_different_people_of_every_role_complete_it_in_any_order(
        self, case: Case, arriving: list[str]
    ) -> None:
        case = replace(case, requested_by="U1", delegations=())
        needed = sum(level.quorum for level in case.levels)
        for number, who in enumerate(arriving[:needed], start=1):
            ruling = judge_approval(case, token(who, *ROLES), AT)
            assert ruling.complete == (number == needed)
            case = replace(case, counted=(*case.counted, yes(who, ruling.level)))

    @settings(max_examples=100, deadline=None)
    @given(case=cases, actor=actors)
    def test_a_veto_needs_an_entitled_person_who_did_not_ask(
        self, case: Case, actor: ActorToken
    ) -> None:
        try:
            ruling = judge_veto(case, actor, AT)
        except Rejected:
            return
        assert entitled(case, actor, ruling)
        assert actor.acts_for("M1")
        assert not ruling.complete
        assert case.requested_by.lower() not in {
            actor.subject.lower(), (ruling.on_behalf_of or "").lower(),
        }  # fmt: skip
