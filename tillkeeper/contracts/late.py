"""Words that come when the run which they belong to is over, forgotten, or was stopped (C-02).

Temporal knows nothing of them; the database does. A short run of their own passes each on, so that
a late decision is verified, answered alike, or refused and audited, as every other one is (C-07).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from tillkeeper.contracts.approval import Decide, DecidePolicy, Delegate, ProposePolicy
from tillkeeper.contracts.base import Identifier, Model
from tillkeeper.contracts.withdrawal import CancelWithdrawal

WORKFLOW: Final = "LateWord"


class LateDecision(Model):
    """A decision on a withdrawal."""

    kind: Literal["decision"] = "decision"
    merchant: Identifier
    request: Identifier
    body: Decide


class LateCancellation(Model):
    """The merchant takes a withdrawal back."""

    kind: Literal["cancellation"] = "cancellation"
    merchant: Identifier
    request: Identifier
    body: CancelWithdrawal


class LateProposal(Model):
    """A change of the policy is proposed again."""

    kind: Literal["proposal"] = "proposal"
    body: ProposePolicy


class LatePolicyDecision(Model):
    """A decision on a change of the policy."""

    kind: Literal["policy_decision"] = "policy_decision"
    change: Identifier
    body: DecidePolicy


class LateDelegation(Model):
    """A delegation is made again."""

    kind: Literal["delegation"] = "delegation"
    body: Delegate


Word = LateDecision | LateCancellation | LateProposal | LatePolicyDecision | LateDelegation


class LateStart(Model):
    """One late word; ``name`` tells its run from all others."""

    name: Identifier
    word: Annotated[Word, Field(discriminator="kind")]


def late_workflow_id(name: str) -> str:
    """A run of its own for each word, however often it is said."""
    return f"late/{name}"
