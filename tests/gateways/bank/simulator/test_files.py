"""The file door: pain.001 in, pain.002 and camt out, as our own readers see them."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, date, datetime

import pytest

from gateways.bank.iso20022.pain001 import write_payments
from tests.gateways.bank.simulator.support import (
    NAME,
    OTHER,
    OURS,
    OWNER,
    SCHEMAS,
    Simulator,
    listed,
    payment_file,
    told,
    valid,
    wire,
)
from tillkeeper.contracts.bank import BankFile, FileKind
from tillkeeper.contracts.payment import (
    PaymentFile,
    PaymentFormat,
    PaymentInstruction,
    PaymentParty,
)
from tillkeeper.contracts.receipt import PayerKind

PAYMENTS = [("E1", "10.00"), ("E2", "20.00"), ("E3", "30.01")]


def statuses(file: BankFile) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What a pain.002 says of each payment."""
    named = [one for one in file.statuses if one.end_to_end_id]
    return {one.end_to_end_id or "": (one.status, one.reasons) for one in named}


class TestPaymentFile:
    def test_file_is_paid_answered_and_told(self, bank: Simulator) -> None:
        """C-12: one pain.002 for the file, one camt.054 with the bank's references."""
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        [status] = bank.wait_for("pain.002", 1)
        assert statuses(status) == {name: ("ACSC", ()) for name, _ in PAYMENTS}
        answer = status.status_of(end_to_end_id="E2", payment_id="M1-1", message_id="M1")
        assert answer is not None
        assert answer.instruction_id == "I-E2"
        [notice] = bank.wait_for("camt.054", 1)
        assert [told(one) for one in notice.transactions] == [listed(m) for m in bank.movements()]
        assert bank.balance() == 10_000_00 - 60_01
        assert not list(bank.inbox.iterdir())

    def test_same_file_twice_pays_once_and_is_answered_twice(self, bank: Simulator) -> None:
        """C-02: whatever its name is; the statuses are those of the payments."""
        for count, name in enumerate(("P1.xml", "P2.xml"), start=1):
            bank.send(name, payment_file("M1", PAYMENTS))
            files = bank.wait_for("pain.002", count)
        assert statuses(files[0]) == statuses(files[1])
        assert len(bank.movements()) == 3

    @pytest.mark.parametrize("version", list(PaymentFormat))
    def test_files_that_we_write_are_understood(
        self, bank: Simulator, version: PaymentFormat
    ) -> None:
        """C-12: pain.001 of both versions, as the payout door sends it: everything arrives."""
        us = PaymentParty(name=OWNER, account=OURS, bank_name="招商银行", bic="CMBCCNBS")
        them = PaymentParty(name=NAME, account=OTHER, clearing_code="102100099996")
        payments = tuple(
            PaymentInstruction(
                end_to_end_id=f"TK{n}", debtor=us, creditor=them, amount_minor=1_000 + n,
                currency="CNY", remittance=f"退回 & <{n}>", requested_on=date(2026, 3, 2),
            )
            for n in range(3)
        )  # fmt: skip
        made_at = datetime(2026, 3, 2, 2, tzinfo=UTC)
        file = PaymentFile(message_id="M1", created_at=made_at, payments=payments)
        bank.send("P1.xml", write_payments(file, version))
        [status] = bank.wait_for("pain.002", 1)
        assert statuses(status) == {f"TK{n}": ("ACSC", ()) for n in range(3)}
        found = [
            (m["end_to_end_id"], m["amount_minor"], m["counterparty_name"],
             m["counterparty_account"], m["remittance"])
            for m in bank.movements()
        ]  # fmt: skip
        assert found == [(f"TK{n}", 1_000 + n, NAME, OTHER, f"退回 & <{n}>") for n in range(3)]

    def test_known_id_with_another_amount_is_rejected(self, bank: Simulator) -> None:
        """C-02: DU04, and nothing moves."""
        bank.send("P1.xml", payment_file("M1", PAYMENTS[:1]))
        bank.wait_for("pain.002", 1)
        bank.send("P2.xml", payment_file("M2", [("E1", "10.01"), ("E4", "1.00")]))
        said = statuses(bank.wait_for("pain.002", 2)[1])
        assert said == {"E1": ("RJCT", ("DU04",)), "E4": ("ACSC", ())}
        assert [m["amount_minor"] for m in bank.movements()] == [1000, 100]

    def test_wrong_sum_rejects_the_whole_file(self, bank: Simulator) -> None:
        """C-12: AM10, each payment a proven negative."""
        bank.send("P1.xml", payment_file("M1", PAYMENTS, control="60.02"))
        [status] = bank.wait_for("pain.002", 1)
        assert set(statuses(status).values()) == {("RJCT", ("AM10",))}
        assert bank.movements() == []

    def test_no_payment_file_is_put_aside(self, bank: Simulator) -> None:
        """C-12: nothing is paid for it; what is still growing is left for a while."""
        bodies = [b"", b"<x/>", b"<!DOCTYPE x><x/>", b"<Document>"]
        for number, body in enumerate(bodies):
            bank.send(f"P{number}.xml", body)
        deadline = time.monotonic() + 20
        while list(bank.inbox.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused = sorted((bank.folder / "book" / "refused").iterdir(), key=lambda p: p.name[-5])
        assert [path.read_bytes() for path in refused] == bodies

    def test_partial_batch(self, bank: Simulator) -> None:
        """E-09: some of a file are paid, the others rejected by code; the group says PART."""
        bank.plan({"fault": "partial", "code": "AC01"})
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        [status] = bank.wait_for("pain.002", 1)
        assert statuses(status) == {
            "E1": ("ACSC", ()), "E2": ("RJCT", ("AC01",)), "E3": ("ACSC", ()),
        }  # fmt: skip
        assert status.statuses[0].status == "PART"
        assert [m["end_to_end_id"] for m in bank.movements()] == ["E1", "E3"]

    def test_duplicate_status(self, bank: Simulator) -> None:
        """C-02: the same news twice, in two files."""
        bank.plan({"fault": "duplicate-status"})
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        first, second = bank.wait_for("pain.002", 2)
        assert first.digest != second.digest
        assert statuses(first) == statuses(second)

    def test_early_status_is_no_payment(self, bank: Simulator) -> None:
        """C-12: ACSC on day 1; on day 2 one is debited and one, without money now, rejected."""
        bank.plan({"fault": "early-status"})
        bank.send("P1.xml", payment_file("M1", [("E1", "9000.00"), ("E2", "9000.00")]))
        [early] = bank.wait_for("pain.002", 1)
        assert set(statuses(early).values()) == {("ACSC", ())}
        assert bank.movements() == []
        bank.post("/days/close")
        later = bank.wait_for("pain.002", 3)[1:]
        assert [statuses(one) for one in later] == [
            {"E1": ("ACSC", ())}, {"E2": ("RJCT", ("AM04",))},
        ]  # fmt: skip
        [movement] = bank.movements()
        assert (movement["end_to_end_id"], movement["day"]) == ("E1", "2026-03-03")

    def test_mute_bank_pays_and_says_nothing(self, bank: Simulator) -> None:
        """C-12: only the account's own movements tell."""
        bank.plan({"fault": "cut"})
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        [notice] = bank.wait_for("camt.054", 1)
        assert len(notice.transactions) == 3
        assert bank.files("pain.002") == []

    def test_mute_bank_tells_of_what_it_rejects(self, bank: Simulator) -> None:
        """C-12: without a word about a no, its money would wait for the third day."""
        bank.plan({"fault": "cut"}, {"fault": "reject", "end_to_end_id": "E2"})
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        [status] = bank.wait_for("pain.002", 1)
        assert statuses(status) == {"E2": ("RJCT", ("AC04",))}
        assert len(bank.movements()) == 2

    def test_file_is_left_while_the_bank_is_unavailable(self, bank: Simulator) -> None:
        """C-12: taken when it works again, once."""
        bank.plan({"fault": "unavailable", "end_to_end_id": "E3"})
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        time.sleep(1)
        assert (len(list(bank.inbox.iterdir())), bank.movements()) == (1, [])
        bank.plan()
        bank.wait_for("pain.002", 1)
        assert len(bank.movements()) == 3


class TestDeposits:
    def test_batch_is_one_file_and_a_key_is_one_wire(self, bank: Simulator) -> None:
        """P-26: 300 wires in one camt.054; sent again they are known; another amount is refused."""
        wires = [wire(f"D{n}") for n in range(300)]
        first = bank.post("/deposits", deposits=wires)
        assert (len(set(first["references"])), first["new"]) == (300, 300)
        again = bank.post("/deposits", deposits=wires)
        assert again == {"references": first["references"], "new": 0}
        [notice] = bank.wait_for("camt.054", 1)
        assert [one.bank_reference for one in notice.transactions] == first["references"]
        mixed = {"deposits": [wire("D300"), wire("D1", 1)]}
        assert bank.http.post("/deposits", json=mixed).status_code == 409
        assert len(bank.movements()) == 300

    def test_payer_is_a_company_or_a_person_and_so_say_the_files(self, bank: Simulator) -> None:
        """P-21, P-22: name, account and kind arrive as the wire had them."""
        people = wire("D2", payer_kind="personal", payer_name="王一", remittance="")
        bank.post("/deposits", deposits=[wire("D1"), people])
        [notice] = bank.wait_for("camt.054", 1)
        company, person = notice.transactions
        assert (company.debtor_name, company.debtor_account) == (NAME, OTHER)
        assert (company.remittance, person.remittance) == ("TK-1", "")
        kinds = (company.payer_kind, person.payer_kind)
        assert kinds == (PayerKind.CORPORATE, PayerKind.PERSONAL)

    def test_currencies_have_their_own_accounts_and_decimals(self, bank: Simulator) -> None:
        """C-01: no decimals for yen, three for dinars."""
        wires = [wire(cur, 12_345, currency=cur) for cur in ("JPY", "KWD", "EUR")]
        bank.post("/deposits", deposits=wires)
        [notice] = bank.wait_for("camt.054", 1)
        found = {one.currency: one.amount_minor for one in notice.transactions}
        assert found == {"JPY": 12_345, "KWD": 12_345, "EUR": 12_345}
        assert len(notice.statements) == 3


class TestStatements:
    def test_each_day_closes_where_the_next_one_opens(self, bank: Simulator) -> None:
        """C-14: five days; opening + entries = closing; what is listed is what the files say."""
        for n in range(5):
            bank.post("/deposits", deposits=[wire(f"D{n}", 1_000 + n)])
            bank.pay(f"E{n}", 500 * n + 1, fault={"fault": "return", "days": 1, "code": "AC06"})
            bank.post("/charges", key=f"C{n}", account="110060149012", currency="CNY",
                      amount_minor=7)  # fmt: skip
            if n == 2:
                reference = bank.movements()[0]["bank_reference"]
                bank.post("/reversals", reference=reference)
                assert bank.post("/reversals", reference=reference)
            bank.post("/days/close")
        files = [f for f in bank.wait_for("camt.053", 5) if f.kind is FileKind.CAMT_053]
        last = 10_000_00
        for file in files:
            assert (file.problems, file.warnings) == ((), ())
            [statement] = file.statements
            assert statement.opening is not None
            assert statement.closing is not None
            moved = sum(
                (one.amount_minor or 0) * (1 if one.side == "credit" else -1)
                for one in file.transactions
            )
            assert statement.opening.signed_minor == last
            last = statement.closing.signed_minor
            assert statement.opening.signed_minor + moved == last
        stated = [told(one) for file in files for one in file.transactions]
        closed = [m for m in bank.movements() if m["day"] < "2026-03-07"]
        assert stated == [listed(movement) for movement in closed]
        notices = bank.wait_for("camt.054", 5)
        notified = Counter(told(one) for file in notices for one in file.transactions)
        assert notified == Counter(listed(movement) for movement in bank.movements())

    def test_statement_of_a_day_by_request(self, bank: Simulator) -> None:
        """C-14: as it was written; of an open day there is none."""
        bank.post("/deposits", deposits=[wire("D1")])
        asked = {"account": "110060149012", "day": "2026-03-02"}
        assert bank.http.get("/statement", params=asked).status_code == 409
        assert bank.http.get("/statement", params=asked | {"kind": "camt.054"}).status_code == 200
        bank.post("/days/close")
        [written] = bank.files("camt.053")
        assert bank.http.get("/statement", params=asked).content == written.read_bytes()

    def test_clock_closes_the_days_that_it_passes(self, bank: Simulator) -> None:
        """C-06: three midnights, three statements, and never back."""
        bank.post("/clock", to="2026-03-05T01:00:00+08:00")
        assert len(bank.wait_for("camt.053", 3)) == 3
        bank.post("/clock", to="2026-03-02T01:00:00+08:00")
        assert bank.http.get("/health").json()["day"] == "2026-03-05"

    @pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas are not beside this checkout")
    def test_every_file_is_valid_by_its_schema(self, bank: Simulator) -> None:
        """C-14: credits, debits, returns, reversals, charges, statuses of all kinds."""
        long = "长" * 200 + "\n&<>"
        wires = [wire("D1", remittance=long), wire("D2", payer_kind="personal", currency="EUR",
                 payer_account="DE89370400440532013000")]  # fmt: skip
        references = bank.post("/deposits", deposits=wires)["references"]
        bank.post("/reversals", reference=references[0])
        bank.post("/charges", key="C1", account="110060149012", currency="CNY", amount_minor=7)
        bank.plan({"fault": "partial"}, {"fault": "return", "days": 1})
        bank.send("P1.xml", payment_file("M1", PAYMENTS))
        bank.wait_for("pain.002", 1)
        bank.send("P2.xml", payment_file("M2", PAYMENTS, control="1.00"))
        bank.wait_for("pain.002", 2)
        bank.post("/days/close")
        bank.post("/days/close")
        found = bank.wait_for("", 8)
        assert {file.kind for file in found} == {
            FileKind.CAMT_053, FileKind.CAMT_054, FileKind.PAIN_002,
        }  # fmt: skip
        assert [path.name for path in bank.files() if not valid(path)] == []
        assert [
            file.problems + file.warnings for file in found if file.problems or file.warnings
        ] == []
