"""What this worker runs: one line per lifecycle in each list."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from activities.account import AccountActivities
from activities.approval import ApprovalActivities
from activities.bank_exchange import BankExchangeActivities
from activities.bank_file import BankFileActivities
from activities.house import House
from activities.order import OrderActivities
from activities.payout import PayoutActivities
from activities.receipt import ReceiptActivities
from activities.reconciliation import ReconciliationActivities
from activities.topup import TopUpActivities
from activities.watch import RunWatchActivities
from activities.withdrawal import WithdrawalActivities
from activities.work_item import WorkItemActivities
from tillkeeper.client import TASK_QUEUE
from workflows.account import AccountWorkflow
from workflows.approval import DelegationWorkflow, PolicyChangeWorkflow
from workflows.bank_exchange import BankExchangeWorkflow
from workflows.bank_file import BankFileWorkflow
from workflows.late import LateWordWorkflow
from workflows.order import OrderMessageWorkflow
from workflows.payout import PayoutWorkflow
from workflows.receipt import ReceiptWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.topup import TopUpWorkflow
from workflows.watch import RunWatchWorkflow
from workflows.withdrawal import WithdrawalWorkflow
from workflows.work_item import WorkItemWorkflow

__all__ = ["TASK_QUEUE", "WORKFLOWS", "activities", "bank_activities"]

WORKFLOWS: Final[tuple[type, ...]] = (
    AccountWorkflow,
    TopUpWorkflow,
    ReceiptWorkflow,
    WorkItemWorkflow,
    OrderMessageWorkflow,
    PayoutWorkflow,
    ReconciliationWorkflow,
    BankFileWorkflow,
    BankExchangeWorkflow,
    WithdrawalWorkflow,
    PolicyChangeWorkflow,
    DelegationWorkflow,
    LateWordWorkflow,
    RunWatchWorkflow,
)


def activities(house: House) -> list[Callable[..., Any]]:
    """Every activity but the calls to the bank, bound to the house it works on."""
    bank = {one.__name__ for one in bank_activities(house)}
    doors = [
        *_doors(AccountActivities(house)),
        *_doors(TopUpActivities(house)),
        *_doors(ReceiptActivities(house)),
        *_doors(WorkItemActivities(house)),
        *_doors(OrderActivities(house)),
        *_doors(PayoutActivities(house)),
        *_doors(ReconciliationActivities(house)),
        *_doors(BankFileActivities(house)),
        *_doors(BankExchangeActivities(house)),
        *_doors(WithdrawalActivities(house)),
        *_doors(ApprovalActivities(house)),
        *_doors(RunWatchActivities(house)),
    ]
    return [door for door in doors if door.__name__ not in bank]


def bank_activities(house: House) -> list[Callable[..., Any]]:
    """The calls to the bank, which have a queue and a rate of their own."""
    payouts = PayoutActivities(house)
    return [payouts.submit_payment, payouts.ask_about_payment]


def _doors(instance: object) -> list[Callable[..., Any]]:
    methods = inspect.getmembers(instance, inspect.ismethod)
    return [method for _, method in methods if hasattr(method, "__temporal_activity_definition")]
