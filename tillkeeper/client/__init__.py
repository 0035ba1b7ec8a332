"""What services use: typed calls over a plain Temporal client that start, decide and ask.

Promises one answer per business id: the same request again is answered alike, whether its workflow
still runs, has ended or is forgotten (C-02); what only asks (``account``, ``topup``) knows what
Temporal has not forgotten. A refusal raises Rejected with every reason;
Unavailable means that the same call may be sent again. It never touches the database.
"""

from __future__ import annotations

from tillkeeper.client.accounts import AccountCalls
from tillkeeper.client.approvals import ApprovalCalls
from tillkeeper.client.bank import BankCalls
from tillkeeper.client.calls import ANSWER_WITHIN, TASK_QUEUE
from tillkeeper.client.desk import DeskCalls
from tillkeeper.client.reconciliation import ReconciliationCalls
from tillkeeper.client.runs import RunCalls
from tillkeeper.client.topups import TopUpCalls
from tillkeeper.client.withdrawals import WithdrawalCalls

__all__ = ["ANSWER_WITHIN", "TASK_QUEUE", "Tillkeeper"]


class Tillkeeper(
    AccountCalls,
    TopUpCalls,
    WithdrawalCalls,
    ApprovalCalls,
    BankCalls,
    DeskCalls,
    ReconciliationCalls,
    RunCalls,
):
    """The door for services; every method may be called again with the same arguments."""
