"""The search attributes that the workflows write: made by `migrate`, looked for by `run`.

A namespace without them fails every workflow task of ours, again and again; so no worker starts on
one. They hold no personal data, ever.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from worker.refusal import CannotStart

SEARCH_ATTRIBUTES: Final = {
    "Merchant": "Keyword",
    "Lifecycle": "Keyword",
    "Stage": "Keyword",
    "NeedsPerson": "Bool",
    "AmountMinor": "Int",
    "DueAt": "Datetime",
}
_VALUE: Final = {
    "Keyword": "'x'",
    "Bool": "true",
    "Int": "0",
    "Datetime": "'2024-01-01T00:00:00Z'",
}
_TYPE: Final = {
    kind: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}") for kind in _VALUE
}
_NOT_ALLOWED: Final = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)
_SEEN_WITHIN_S: Final = 10
_LOOK_S: Final = 0.5

_log = structlog.get_logger("worker.search_attributes")


async def make_search_attributes(client: Client) -> None:
    """Create those that are missing; raises CannotStart where that is not allowed or one has
    another type.
    """
    missing = await _missing(client)
    if not missing:
        return
    wanted = {name: _TYPE[SEARCH_ATTRIBUTES[name]] for name in missing}
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
        )
    except RPCError as error:
        raise CannotStart(
            f"The search attributes {_named(missing)} are missing in the namespace "
            f"{client.namespace} and cannot be made from here ({error.status.name}): "
            "let Temporal's operator make them."
        ) from error
    _log.info("search_attributes_made", count=len(missing), namespace=client.namespace)


async def require_search_attributes(client: Client, *, within_s: float = _SEEN_WITHIN_S) -> None:
    """Wait until all are there; raises CannotStart that names the missing ones after `within_s`.

    A cluster that has just made them shows them a little later.
    """
    deadline = time.monotonic() + within_s
    while missing := await _missing(client):
        if time.monotonic() > deadline:
            raise CannotStart(
                f"The search attributes {_named(missing)} are missing in the namespace "
                f"{client.namespace}: run `python -m worker migrate`, or let Temporal's operator "
                "make them."
            )
        await asyncio.sleep(_LOOK_S)


async def _missing(client: Client) -> list[str]:
    """Names that the namespace does not know; raises CannotStart on one of another type."""
    try:
        answer = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status not in _NOT_ALLOWED:
            raise _cannot_tell(client, error) from error
        return [name for name in SEARCH_ATTRIBUTES if not await _understood(client, name)]
    known = dict(answer.custom_attributes)
    wrong = [
        name
        for name, kind in SEARCH_ATTRIBUTES.items()
        if known.get(name, _TYPE[kind]) != _TYPE[kind]
    ]
    if wrong:
        raise CannotStart(
            f"The namespace {client.namespace} has search attributes of another type where "
            f"{_named(wrong)} are needed: choose another namespace."
        )
    return [name for name in SEARCH_ATTRIBUTES if name not in known]


async def _understood(client: Client, name: str) -> bool:
    """Whether a query may name the attribute: for clients that may not ask the operator service."""
    query = f"{name} = {_VALUE[SEARCH_ATTRIBUTES[name]]}"
    try:
        await client.workflow_service.count_workflow_executions(
            CountWorkflowExecutionsRequest(namespace=client.namespace, query=query)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            return False
        raise _cannot_tell(client, error) from error
    return True


def _cannot_tell(client: Client, error: RPCError) -> CannotStart:
    return CannotStart(
        f"The search attributes of the namespace {client.namespace} cannot be looked at: "
        f"Temporal answers {error.status.name}."
    )


def _named(names: list[str]) -> str:
    return ", ".join(f"{name} ({SEARCH_ATTRIBUTES[name]})" for name in names)
