"""What this worker runs: one line per lifecycle in each list."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from activities.account import AccountActivities
from activities.house import House
from activities.order import OrderActivities
from activities.receipt import ReceiptActivities
from activities.topup import TopUpActivities
from tillkeeper.client import TASK_QUEUE
from workflows.account import AccountWorkflow
from workflows.order import OrderMessageWorkflow
from workflows.receipt import ReceiptWorkflow
from workflows.topup import TopUpWorkflow

__all__ = ["TASK_QUEUE", "WORKFLOWS", "activities"]

WORKFLOWS: Final[tuple[type, ...]] = (
    AccountWorkflow,
    TopUpWorkflow,
    ReceiptWorkflow,
    OrderMessageWorkflow,
)


def activities(house: House) -> list[Callable[..., Any]]:
    """Every activity, bound to the house it works on."""
    return [
        *_doors(AccountActivities(house)),
        *_doors(TopUpActivities(house)),
        *_doors(ReceiptActivities(house)),
        *_doors(OrderActivities(house)),
    ]


def _doors(instance: object) -> list[Callable[..., Any]]:
    methods = inspect.getmembers(instance, inspect.ismethod)
    return [method for _, method in methods if hasattr(method, "__temporal_activity_definition")]
