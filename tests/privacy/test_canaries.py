"""C-11, S9, S10: personal data through every lifecycle, then looked for wherever others can look.

Twenty-four canary strings go in through the client on the real stack: raw histories with every
payload and failure, search attributes, memos, ids, logs, metrics and tables must not hold one of
them, while the codec endpoint shows them. Expiry is not here: fifteen days do not pass on a real
stack, and it carries no text.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest_asyncio
from google.protobuf.json_format import MessageToDict
from sqlalchemy import text
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client

from gateways.identity.issuer import ISSUER_FILE, DevelopmentIssuer
from tests.home import Home
from tests.stack import engine_on
from tests.tokens import (
    for_delegation,
    for_policy,
    for_proposal,
    for_withdrawal,
    signed,
    token_for,
)
from tillkeeper.client import Tillkeeper
from tillkeeper.codec import data_converter
from tillkeeper.contracts.account import (
    AccountState,
    AddContact,
    BankDetails,
    BankDetailsSource,
    BankDetailsState,
    CloseAccount,
    ConfigureAlerts,
    Contact,
    MerchantType,
    OpenAccount,
    ProvideBankDetails,
    ReplaceContact,
    SetStanding,
)
from tillkeeper.contracts.approval import (
    Decide,
    DecidePolicy,
    Delegate,
    ProposePolicy,
    Verdict,
)
from tillkeeper.contracts.errors import Rejected
from tillkeeper.contracts.order import OrderEvent, OrderMessage
from tillkeeper.contracts.receipt import PayerKind, ReceiptReport
from tillkeeper.contracts.topup import CancelTopUp, TopUpRequest, TopUpState
from tillkeeper.contracts.withdrawal import (
    CancelWithdrawal,
    WithdrawalRequest,
    WithdrawalState,
)
from tillkeeper.contracts.workitem import (
    Approve,
    ItemAction,
    Outcome,
    Propose,
    RejectProposal,
    ReturnTo,
)
from tillkeeper.rules.approvals import DEFAULT_POLICY, POLICY_ADMIN
from tillkeeper.sealing import KeyRing
from worker.embedded.discovery import StackAddresses

OPERATING: Final = Path(__file__).parents[2] / "docs" / "operating.md"
COMPANY: Final = "金丝雀贸易有限公司"
CANARIES: Final = (
    COMPANY,
    "6225000011112222333",
    "金丝雀支行营业部",
    "黄鹂一",
    "canary.one@example.com",
    "13900010001",
    "黄鹂二",
    "canary.two@example.com",
    "13900020002",
    "黄鹂商贸有限公司",
    "6225999988887777666",
    "因金丝雀先生来电而取消",
    "疑似冒用黄鹂女士证件",
    "黄鹂女士已核实 13900030003",
    "应金丝雀先生要求销户",
    "黄鹂女士来电要求退款",
    "黄鹂退款收款人",
    "6222333344445555666",
    "与金丝雀先生核对不符",
    "金丝雀先生账户存疑",
    "金丝雀先生撤回提现",
    "黄鹂女士休假代批",
    "应黄鹂女士要求放宽",
    "金丝雀先生不同意放宽",
)
LIFECYCLES: Final = {
    *("Account", "TopUp", "Receipt", "OrderMessage", "WorkItem", "Payout"),
    *("Withdrawal", "PolicyChange", "Delegation"),
}
REASONS: Final = CANARIES[11:15]
DESK: Final = CANARIES[15:19]
APPROVING: Final = CANARIES[19:]
DETAILS: Final = BankDetails(
    bank="工商银行", branch=CANARIES[2], account_number=CANARIES[1], company_name=COMPANY,
    source=BankDetailsSource.SELF_SERVICE, state=BankDetailsState.PENDING,
)  # fmt: skip
ONE: Final = Contact(name=CANARIES[3], email=CANARIES[4], mobile=CANARIES[5])
TWO: Final = Contact(name=CANARIES[6], email=CANARIES[7], mobile=CANARIES[8])
BOOKED: Final = datetime(2024, 5, 6, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def stack(tmp_path: Path) -> AsyncIterator[tuple[Home, StackAddresses]]:
    home = Home(tmp_path / "home")
    process = home.start()
    try:
        yield home, await asyncio.to_thread(home.healthy, process)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate)
        home.clear()


def _hits(where: str) -> list[str]:
    """Canaries in clear, as JSON escapes, or in base64 text at any alignment."""
    found = []
    for canary in CANARIES:
        raw = canary.encode()
        shapes = [canary, json.dumps(canary)[1:-1], raw.hex()]
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw).decode()
            shapes.append(encoded[4 if shift else 0 : -4])
        if any(shape in where for shape in shapes):
            found.append(canary)
    return found


async def _live(till: Tillkeeper, number: str) -> None:
    """Every lifecycle once, with its refusals."""
    opening = OpenAccount(
        merchant="M1", merchant_type=MerchantType.SELF_OPERATED_SUPPLIER, prepaid_eligible=True,
        legal_name=COMPANY, opening_user="user1", bank_details=DETAILS,
    )  # fmt: skip
    await till.open_account(opening)
    wrong = DETAILS.model_copy(update={"company_name": CANARIES[9]})
    with suppress(Rejected):
        await till.provide_bank_details(
            "M1", "CNY", ProvideBankDetails(details=wrong, actor="buyer1")
        )
    effective = DETAILS.model_copy(update={"state": BankDetailsState.EFFECTIVE})
    await till.provide_bank_details(
        "M1", "CNY", ProvideBankDetails(details=effective, actor="buyer1")
    )
    alerts = ConfigureAlerts(warning_minor=300_000, contacts=(ONE,), actor="user1")
    await till.configure_alerts("M1", "CNY", alerts)
    await till.add_contact("M1", "CNY", AddContact(contact=TWO, actor="user1"))
    await till.replace_contact("M1", "CNY", ReplaceContact(position=0, contact=TWO, actor="user1"))
    await till.request_topup(TopUpRequest(merchant="M1", request="T1", amount_minor=500_000))
    for reference, payer in (("B1", CANARIES[9]), ("B2", COMPANY)):
        await till.report_receipt(
            ReceiptReport(
                receiving_account=number,
                bank_reference=reference,
                amount_minor=500_000,
                payer_name=payer,
                payer_account=CANARIES[10],
                payer_kind=PayerKind.CORPORATE,
                booked_at=BOOKED,
            )
        )
    await _decide(till)
    refused = opening.model_copy(update={"merchant": "M2", "prepaid_eligible": False})
    with suppress(Rejected):
        await till.open_account(refused)
    crooked = opening.model_copy(update={"merchant": "M3", "bank_details": wrong})
    with suppress(Rejected):
        await till.open_account(crooked)
    leaving = opening.model_copy(update={"merchant": "M5", "bank_details": effective})
    await till.open_account(leaving)
    closed = await till.close_account("M5", "CNY", CloseAccount(reason=REASONS[3], actor="user1"))
    assert closed.state is AccountState.CLOSED


async def _decide(till: Tillkeeper) -> None:
    """Every decision that carries a reason, taken and refused, and an order left with Temporal."""
    await till.request_topup(TopUpRequest(merchant="M1", request="T2", amount_minor=600_000))
    cancel = CancelTopUp(reason=REASONS[0], actor="user1")
    cancelled = await till.cancel_topup("M1", "T2", cancel)
    assert cancelled.state is TopUpState.CANCELLED
    for abnormal, reason in ((True, REASONS[1]), (False, REASONS[2])):
        standing = SetStanding(abnormal=abnormal, reason=reason, actor="risk1")
        await till.set_standing("M1", "CNY", standing)
    with suppress(Rejected):
        await till.close_account("M1", "CNY", CloseAccount(reason=REASONS[3], actor="user1"))
    with suppress(Rejected):
        await till.cancel_topup("M1", "T1", CancelTopUp(reason=REASONS[0], actor="user1"))
    hold = OrderMessage(
        event=OrderEvent.HOLD, merchant="M1", currency="CNY", order="O1", at=datetime.now(UTC),
        amount_minor=36_00,
    )  # fmt: skip
    await till.hand_over(hold)


async def _return(till: Tillkeeper, issuer: DevelopmentIssuer) -> set[str]:
    """The stranger's money goes back by the desk: the first item of this stack's inbox.

    Answers the tokens that people decided with.
    """
    payee = ReturnTo(name=DESK[1], account=DESK[2], bank_name="工商银行")
    plain = Propose(action=ItemAction.RETURN, reason=DESK[0], actor="o1", return_to=payee)
    first = signed(1, plain, issuer=issuer)
    no = RejectProposal(proposal=1, reason=DESK[3], actor="o2")
    refusal = signed(await till.propose(1, first), no, issuer=issuer)
    await till.reject(1, refusal)
    odd = signed(1, plain, issuer=issuer)
    with suppress(Rejected):
        await till.propose(1, odd.model_copy(update={"target": DESK[1]}))
    body = signed(1, plain, issuer=issuer)
    shown = (await till.propose(1, body)).proposal
    assert shown is not None
    approval = Approve(
        proposal=2, action=ItemAction.RETURN, amount_minor=500_000, actor="o2",
        payee_digest=shown.payee_digest,
    )  # fmt: skip
    yes = signed(1, approval, issuer=issuer)
    with suppress(Rejected):
        await till.approve(1, yes.model_copy(update={"actor": "o1"}))
    returned = await till.approve(1, yes)
    assert returned.outcome is Outcome.RETURNED
    return {word.token for word in (first, refusal, odd, body, yes)}


async def _withdraw(till: Tillkeeper, issuer: DevelopmentIssuer) -> set[str]:
    """Approved, rejected, cancelled; a policy and a delegation: each with its words and tokens."""
    now = datetime.now(UTC)

    def token(who: str, role: str) -> str:
        return token_for(who, role, issuer=issuer)

    operations = token("o2", "operations")
    views = [
        await till.request_withdrawal(
            WithdrawalRequest(
                merchant="M1", request=f"W{n}", amount_minor=50_000, requested_by="user1"
            )
        )
        for n in (1, 2, 3)
    ]
    body = Decide(
        verdict=Verdict.APPROVE, amount_minor=50_000, currency="CNY",
        payee_digest=views[0].payee_digest,
    )  # fmt: skip
    own = for_withdrawal(views[0], body.model_copy(update={"amount_minor": 1}), operations)
    with suppress(Rejected):
        await till.decide_withdrawal("M1", "W1", own)
    yes = for_withdrawal(views[0], body, operations)
    paid = await till.decide_withdrawal("M1", "W1", yes)
    assert paid.state is WithdrawalState.REMITTING
    changes = {"verdict": Verdict.REJECT, "reason": APPROVING[0]}
    no = for_withdrawal(views[1], body.model_copy(update=changes), operations)
    await till.decide_withdrawal("M1", "W2", no)
    cancel = CancelWithdrawal(reason=APPROVING[1], actor="user1")
    await till.cancel_withdrawal("M1", "W3", cancel)
    lent = Delegate(
        delegation="D1", delegate="o3", roles=("operations",), until=now + timedelta(days=1),
        reason=APPROVING[2],
    )  # fmt: skip
    lent = for_delegation(lent, operations)
    await till.delegate(lent)
    change = ProposePolicy(
        change="P1", policy=DEFAULT_POLICY.policy, effective_from=now + timedelta(days=1),
        reason=APPROVING[3],
    )  # fmt: skip
    change = for_proposal(change, token("a1", POLICY_ADMIN))
    proposed = await till.propose_policy(change)
    refusal = DecidePolicy(
        verdict=Verdict.REJECT, policy_digest=proposed.policy_digest, reason=APPROVING[4]
    )
    refusal = for_policy("P1", refusal, token("a2", POLICY_ADMIN))
    await till.decide_policy("P1", refusal)
    return {word.token for word in (own, yes, no, lent, change, refusal)}


async def _histories(client: Client) -> list[dict[str, Any]]:
    found = []
    async for run in client.list_workflows():
        request = GetWorkflowExecutionHistoryRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id),
        )
        answer = await client.workflow_service.get_workflow_execution_history(request)
        found.append(MessageToDict(answer.history))
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        found.append(MessageToDict((await handle.describe()).raw_description))
    return found


class TestCanaries:
    async def test_nobody_who_operates_the_servers_reads_a_name(
        self, stack: tuple[Home, StackAddresses]
    ) -> None:
        home, addresses = stack
        ring = KeyRing.from_json(Path(addresses.key_ring_path).read_text(encoding="utf-8"))
        client = await Client.connect(
            addresses.temporal_address, data_converter=data_converter(ring)
        )
        issuer = DevelopmentIssuer.from_json((home.path / ISSUER_FILE).read_text("utf-8"))
        await _live(Tillkeeper(client), "0000000000")
        tokens = await _return(Tillkeeper(client), issuer)
        tokens |= await _withdraw(Tillkeeper(client), issuer)
        # A worker that fails in code it does not expect: its texts must stay sealed as well.
        handle = await client.start_workflow(
            "Account", {"legal_name": COMPANY}, id="account/M4/CNY", task_queue="tillkeeper"
        )
        with suppress(Exception):
            await handle.result()

        histories = await _histories(client)
        kinds = {run["type"]["name"] for run in _runs(histories)}
        assert kinds >= LIFECYCLES
        assert _hits(json.dumps(histories, ensure_ascii=False)) == []
        assert _hits(json.dumps(histories)) == []
        written = [json.dumps(histories)]
        metrics = await asyncio.to_thread(_read, addresses.metrics)
        # Everything that a worker can measure has happened here, so the page's names are all there.
        page = OPERATING.read_text("utf-8").partition("## What to watch")[2].partition("\n## ")[0]
        named = re.findall(r"\b(?:temporal|tillkeeper)_[a-z_]+", page)
        assert len(set(named)) > 8
        assert [name for name in named if name not in metrics] == []
        assert _hits(metrics) == []
        for log in home.path.rglob("*.log"):
            written.append(log.read_text(encoding="utf-8", errors="replace"))
            assert _hits(written[-1]) == [], log
        tables = await _tables(addresses.migration_url)
        assert _hits("\n".join(tables.values())) == []
        written += tables.values()
        assert [token for token in tokens if any(token in text for text in written)] == []
        shown = json.dumps(await asyncio.to_thread(_decoded, addresses.codec, histories))
        assert set(_hits(shown)) == set(CANARIES)
        assert all(token in shown for token in tokens)


def _runs(histories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the server says of each run."""
    return [
        found["workflowExecutionInfo"] for found in histories if "workflowExecutionInfo" in found
    ]


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        text_: str = answer.read().decode()
        return text_


async def _tables(url: str) -> dict[str, str]:
    """The rows of each table, as text."""
    async with engine_on(url, pool_size=1) as engine, engine.connect() as connection:
        names = await connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        found = {}
        for name in names.all():
            rows = await connection.scalars(text(f'SELECT t::text FROM "{name}" t'))  # noqa: S608
            found[name] = "\n".join(str(row) for row in rows)
    assert sum(text_.count("\n") for text_ in found.values()) > 20
    return found


def _payloads(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for child in node for found in _payloads(child)]
    if not isinstance(node, dict):
        return []
    if "metadata" in node and "encoding" in node["metadata"]:
        return [node]
    return [found for child in node.values() for found in _payloads(child)]


def _decoded(codec: str, histories: list[dict[str, Any]]) -> list[Any]:
    """What the Temporal UI's user sees through the codec endpoint."""
    body = json.dumps({"payloads": _payloads(histories)}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{codec}/decode", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        payloads = json.loads(answer.read())["payloads"]
    return [base64.b64decode(p.get("data", "")).decode(errors="replace") for p in payloads]
