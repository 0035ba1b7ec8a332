"""Which faults a payment meets: asked for by its order, by rules that are used up, or by seed.

The same seed gives the same payments the same faults, in any order and after any restart.
"""

from __future__ import annotations

import hashlib

from gateways.bank.simulator.models import Fault, FaultPlan, FaultRule, PaymentOrder
from gateways.bank.simulator.store import Store

Faulty = dict[Fault, FaultRule]


class Faults:
    """The faults in force, kept in the bank's book."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def plan(self, plan: FaultPlan) -> None:
        """Replace all faults; an empty plan ends them."""
        with self._store.transaction():
            self._store.run("DELETE FROM faults")
            for rule in plan.rules:
                self._store.run(
                    "INSERT INTO faults (rule, times) VALUES (?, ?)",
                    *(rule.model_dump_json(), rule.times),
                )
            chances = plan.model_copy(update={"rules": []})
            self._store.keep("chances", chances.model_dump_json(exclude={"rules", "seed"}))
            if plan.seed is not None:
                self._store.keep("seed", str(plan.seed))

    def of(self, order: PaymentOrder, *, known: bool) -> Faulty:
        """The faults of this request; rules are used up by it.

        Chances are drawn when a payment is first seen; only what the bank forgets, it forgets for
        one that is ``known`` too.
        """
        found = self._drawn(order, known=known)
        for row in self._store.rows("SELECT * FROM faults ORDER BY id"):
            rule = FaultRule.model_validate_json(row["rule"])
            if row["times"] == 0 or not _meets(rule, order):
                continue
            found[rule.fault] = rule
            if row["times"] is not None:
                self._store.run("UPDATE faults SET times = times - 1 WHERE id = ?", row["id"])
        if order.fault is not None:
            found[order.fault.fault] = order.fault
        return found

    def _drawn(self, order: PaymentOrder, *, known: bool) -> Faulty:
        plan = FaultPlan.model_validate_json(self._store.fact("chances") or "{}")
        seed = self._store.fact("seed") or "0"
        found: Faulty = {}
        for fault, chance in plan.chances.items():
            if known and fault is not Fault.FORGET:
                continue
            drawn = hashlib.sha256(f"{seed}/{fault}/{order.end_to_end_id}".encode()).digest()
            if int.from_bytes(drawn[:8]) % 1000 < chance:
                found[fault] = FaultRule(fault=fault)
        return found


def _meets(rule: FaultRule, order: PaymentOrder) -> bool:
    return rule.end_to_end_id in (None, order.end_to_end_id) and rule.creditor_account in (
        None,
        order.creditor_account,
    )
