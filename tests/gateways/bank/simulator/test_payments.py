"""Payments at the HTTP door: one per end-to-end id, whatever happens to the answers."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest

from tests.gateways.bank.simulator.support import NAME, OTHER, Simulator, order

NONSENSE: Final[list[dict[str, Any]]] = [
    {"amount_minor": 1.5}, {"amount_minor": 0}, {"amount_minor": "100"}, {"more": 1},
    {"currency": "XXX"}, {"end_to_end_id": "x" * 36}, {"creditor_name": "\n"},
]  # fmt: skip


class TestSubmit:
    def test_payment_is_booked_and_answered_again_alike(self, bank: Simulator) -> None:
        """C-02: same key, same body, same answer; one movement."""
        first = bank.pay("E1", key="K1")
        again = bank.pay("E1", key="K1")
        without = bank.pay("E1")
        assert [a.status_code for a in (first, again, without)] == [201, 200, 200]
        assert again.json() == first.json() | {"replayed": True} == without.json()
        assert first.json()["state"] == "SETTLED"
        [movement] = bank.movements()
        assert (movement["amount_minor"], movement["side"]) == (100, "debit")
        assert bank.balance() == 10_000_00 - 100

    def test_same_id_or_key_for_another_payment_is_refused(self, bank: Simulator) -> None:
        """C-02: same key, other body, conflict."""
        assert bank.pay("E1", key="K1").status_code == 201
        others = [
            bank.pay("E1", 101),
            bank.pay("E1", creditor_account="6225"),
            bank.pay("E2", key="K1"),
        ]
        assert [(a.status_code, a.json()["code"]) for a in others] == [(409, "KEY_REUSED")] * 3
        assert len(bank.movements()) == 1

    def test_rejected_stays_rejected_and_moves_nothing(self, bank: Simulator) -> None:
        """C-12: a proven negative, for ever; AM04 even when there is money later."""
        answer = bank.pay("E1", 10_000_01)
        assert (answer.status_code, answer.json()["reason"]) == (422, "AM04")
        bank.post("/deposits", deposits=[wire_of(5_000_00)])
        assert bank.pay("E1", 10_000_01).json()["state"] == "REJECTED"
        assert bank.http.get("/payments/E1").json()["reason"] == "AM04"
        assert bank.pay("E2", 10_000_01).json()["state"] == "SETTLED"

    @pytest.mark.parametrize(
        ("known", "code"),
        [
            ({"account": OTHER, "name": NAME, "closed": True}, "AC04"),
            ({"account": OTHER, "name": "丙丁商贸有限公司"}, "BE01"),
        ],
    )
    def test_counterparty_decides(self, bank: Simulator, known: dict[str, str], code: str) -> None:
        """E-09: closed account and name mismatch are rejections, by their codes."""
        bank.post("/counterparties", **known)
        assert bank.pay("E1").json()["reason"] == code
        assert bank.movements() == []

    def test_account_of_nobody_is_rejected(self, bank: Simulator) -> None:
        """C-12: AC02 for an account that this bank does not keep."""
        assert bank.pay("E1", account="999").json()["reason"] == "AC02"

    def test_nonsense_is_refused_by_code(self, bank: Simulator) -> None:
        """C-01: no float, no text for an amount, no unknown field."""
        for change in NONSENSE:
            answer = bank.http.post("/payments", json=order("E1") | change)
            assert answer.status_code == 400, change
            assert answer.json()["code"].isupper()
        assert bank.http.get("/payments/E1").status_code == 404

    def test_pages_of_a_browser_give_no_orders(self, bank: Simulator) -> None:
        """P-26: a page anywhere could otherwise let money arrive."""
        page = {"Origin": "https://example.com", "Content-Type": "text/plain"}
        for path, body in (("/payments", order("E1")), ("/days/close", {})):
            assert bank.http.post(path, json=body, headers=page).status_code == 403
        named = bank.http.get("/movements", headers={"Host": "example.com"})
        assert named.status_code == 400
        assert bank.movements() == []


class TestFaults:
    def test_accept_then_cut(self, bank: Simulator) -> None:
        """C-12: nothing was answered, the query proves that it was paid; sent again, once."""
        with pytest.raises(httpx.RemoteProtocolError):
            bank.pay("E1", key="K1", fault={"fault": "cut"})
        assert bank.http.get("/payments/E1").json()["state"] == "SETTLED"
        assert bank.pay("E1", key="K1").status_code == 200
        assert len(bank.movements()) == 1

    def test_error_after_accept(self, bank: Simulator) -> None:
        """C-12: a 500 is no answer."""
        assert bank.pay("E1", fault={"fault": "error"}).status_code == 500
        assert bank.http.get("/payments/E1").json()["state"] == "SETTLED"

    def test_unavailable_accepts_nothing(self, bank: Simulator) -> None:
        """C-12: not found, and sent again it is paid once."""
        bank.plan({"fault": "unavailable", "times": 1})
        assert bank.pay("E1").status_code == 503
        assert bank.http.get("/payments/E1").status_code == 404
        assert bank.pay("E1").status_code == 201

    def test_silence(self, bank: Simulator) -> None:
        """C-12: accepted, and nothing is said until the caller gives up; others are served."""
        body = order("E1") | {"fault": {"fault": "silence", "seconds": 2}}
        with pytest.raises(httpx.ReadTimeout):
            bank.http.post("/payments", json=body, timeout=0.5)
        assert bank.http.get("/payments/E1").json()["state"] == "SETTLED"
        with pytest.raises(httpx.RemoteProtocolError):
            bank.http.post("/payments", json=body)

    def test_rejection_by_code_and_by_creditor(self, bank: Simulator) -> None:
        """E-09: any code; only for the account named, and as often as asked."""
        bank.plan({"fault": "reject", "code": "AC01", "creditor_account": "1", "times": 1})
        assert bank.pay("E1").json()["state"] == "SETTLED"
        assert bank.pay("E2", creditor_account="1").json()["reason"] == "AC01"
        assert bank.pay("E3", creditor_account="1").json()["state"] == "SETTLED"

    def test_returned_days_later(self, bank: Simulator) -> None:
        """C-13: success first, the money back with a reason two days later."""
        bank.pay("E1", 700, fault={"fault": "return", "days": 2, "code": "AC04"})
        states = []
        for _ in range(3):
            states.append(bank.http.get("/payments/E1").json()["state"])
            bank.post("/days/close")
        assert states == ["SETTLED", "SETTLED", "RETURNED"]
        paid, back = bank.movements()
        assert (back["side"], back["reason"], back["day"]) == ("credit", "AC04", "2026-03-04")
        assert (paid["amount_minor"], back["amount_minor"]) == (700, 700)
        assert back["end_to_end_id"] == paid["end_to_end_id"] == "E1"
        assert bank.balance() == 10_000_00

    def test_keys_are_forgotten_after_a_day_but_not_the_payment(self, bank: Simulator) -> None:
        """C-12: at 24 h to the second the key is known, then only the end-to-end id protects."""
        bank.pay("E1", key="K1")
        bank.post("/clock", seconds=24 * 3600 - 60)
        assert bank.pay("E2", key="K1").status_code == 409
        bank.post("/clock", seconds=120)
        assert bank.pay("E2", key="K1").status_code == 201
        assert bank.pay("E1", key="K1").status_code == 409
        assert bank.pay("E1").status_code == 200

    def test_bank_that_forgets_ids_pays_twice(self, bank: Simulator) -> None:
        """C-12: why nothing is ever sent again blindly."""
        bank.plan({"fault": "forget"})
        bank.pay("E1", key="K1")
        assert bank.pay("E1", key="K1").status_code == 200
        bank.post("/clock", seconds=24 * 3600 + 60)
        assert bank.pay("E1", key="K1").status_code == 201
        assert len(bank.movements()) == 2
        assert len(bank.http.get("/payments/E1").json()["payments"]) == 2

    def test_seed_gives_the_same_payments_the_same_faults(self, bank: Simulator) -> None:
        """E-09: 30 % errors and 20 % rejections by chance, repeatable after a restart."""
        chances = {"error": 300, "reject": 200}
        bank.plan(chances=chances, seed=7)
        first = [bank.pay(f"A{n}").status_code for n in range(60)]
        assert len(set(first)) == 3
        bank.kill()
        (bank.folder / "book").rename(bank.folder / "old")
        bank.start("--seed", "7")
        bank.plan(chances=chances)
        again = {n: bank.pay(f"A{n}").status_code for n in reversed(range(60))}
        assert [again[n] for n in range(60)] == first


def wire_of(minor: int) -> dict[str, object]:
    """A wire that funds our account."""
    return {
        "key": "D1", "account": order("E")["account"], "currency": "CNY", "amount_minor": minor,
        "payer_name": NAME, "payer_account": OTHER,
    }  # fmt: skip
