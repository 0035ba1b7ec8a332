"""What all lifecycles have in common: messages that are never lost, doors that wait for a person.

Promises that a misspelt or unreadable signal shows in the view, and that neither a programming
error nor a broken book ends a workflow that holds money: it waits, visibly, for ``resume``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, is_cancelled_exception

from tillkeeper.contracts.base import NotUnderstood
from tillkeeper.contracts.errors import Code, KeyUnknown, Reason, Rejected
from tillkeeper.failures import as_failure, kind_of, refusal_in
from workflows.calls import QUICK, Answer, Command, Pace, call
from workflows.intake import M, is_sealed, understood

EVENTS_PER_RUN_MAX: Final = 400
"""What waits for months goes on in runs that replay fast."""

NOT_UNDERSTOOD_MAX: Final = 20
NAME_SHOWN_CHARS_MAX: Final = 64

MERCHANT: Final = SearchAttributeKey.for_keyword("Merchant")
LIFECYCLE: Final = SearchAttributeKey.for_keyword("Lifecycle")
STAGE: Final = SearchAttributeKey.for_keyword("Stage")
NEEDS_PERSON: Final = SearchAttributeKey.for_bool("NeedsPerson")
AMOUNT_MINOR: Final = SearchAttributeKey.for_int("AmountMinor")
DUE_AT: Final = SearchAttributeKey.for_datetime("DueAt")

Listener = Callable[[Sequence[RawValue]], Awaitable[None]]


def hears(model: type[M], act: Callable[[M], Awaitable[object]]) -> Listener:
    """A listener for signals that carry ``model``."""

    async def listen(given: Sequence[RawValue]) -> None:
        if len(given) != 1:
            detail = f"one {model.__name__} is expected"
            raise Rejected(Reason(code=Code.INPUT_NOT_UNDERSTOOD, detail=detail))
        await act(understood(given[0], model))

    return listen


def hears_nudge(act: Callable[[], Awaitable[object]]) -> Listener:
    """A listener for signals whose payload does not matter."""

    async def listen(_given: Sequence[RawValue]) -> None:
        await act()

    return listen


class Lifecycle:
    """Base of the workflow classes: signals by name, calls through doors, what the UI shows."""

    def __init__(self, not_understood: tuple[NotUnderstood, ...] = ()) -> None:
        self.lock = asyncio.Lock()
        self.not_understood = not_understood
        self.needs_person = ""
        self._resumed = 0
        self._heard = 0
        self._flooded = False

    def listeners(self) -> Mapping[str, Listener]:
        """The signals that this lifecycle understands, by name."""
        return {}

    @workflow.signal(dynamic=True)
    async def hear(self, name: str, given: Sequence[RawValue]) -> None:
        """Every signal arrives here; what is refused or not understood is noted in the view.

        A run that messages made long goes on as a new one, wherever it waits; one that began before
        this was so went on waiting, as its history has it.
        """
        listener = {"resume": hears_nudge(self._resume), **self.listeners()}.get(name)
        self._flooded = self._flooded or (self._long and workflow.patched("flooded-goes-on"))
        if self._no_key_opens(given):
            self._note(name, "sealed with a key that the worker did not have")
            return
        try:
            if listener is None:
                raise Rejected(Reason(code=Code.INPUT_NOT_UNDERSTOOD, detail="no such signal"))
            await listener(given)
        except Rejected as refusal:
            self._note(name, str(refusal))

    @workflow.update(name="resume")
    async def resume_now(self) -> str:
        """Try again what waits for a person; answers what it waited for."""
        waited_for = self.needs_person
        await self._resume()
        return waited_for

    async def through(
        self,
        door: Callable[[Any, Command], Awaitable[Answer]],
        command: Callable[[], Command],
        *,
        pace: Pace = QUICK,
    ) -> Answer:
        """Call ``door``; raises Rejected for a refusal, waits for a person on anything broken.

        ``command`` is made anew for every try: it carries the time.
        """
        while True:
            try:
                return await call(door, command(), pace=pace)
            except asyncio.CancelledError:
                # So a cancel arrives when the activity's answer is there already: ask again.
                self.note_cancel()
            except ActivityError as error:
                if is_cancelled_exception(error):
                    self.note_cancel()
                    continue
                refusal = refusal_in(error)
                if refusal is not None:
                    raise refusal from None
                await self._wait_for_person(f"{door.__name__}: {kind_of(error)}")

    def show(
        self, *attributes: SearchAttributeUpdate[Any], details: str, stage: str, merchant: str
    ) -> None:
        """Put the state where people look: search attributes and current details, no names."""
        workflow.set_current_details(details)
        wanted = [
            LIFECYCLE.value_set(workflow.info().workflow_type),
            *([MERCHANT.value_set(merchant)] if merchant else []),
            STAGE.value_set(stage),
            *attributes,
        ]
        known = workflow.info().typed_search_attributes
        changed = [update for update in wanted if known.get(update.key) != update.value]
        if changed:
            workflow.upsert_search_attributes(changed)

    async def end_refused(self, refusal: Rejected | None) -> NoReturn:
        """Fail the run with ``refusal`` once every handler has answered."""
        await self.drained()
        raise as_failure(refusal or Rejected(Code.INPUT_NOT_UNDERSTOOD))

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition`` in the run itself, and through requests to cancel it."""
        while True:
            try:
                await workflow.wait_condition(condition)
                return
            except asyncio.CancelledError:
                self.note_cancel()

    def note_cancel(self) -> None:
        """Show that somebody asked Temporal to cancel; only a decision of the lifecycle can."""
        self._note("cancel", "a run that holds money is not cancelled; decide it instead")

    async def drained(self) -> None:
        """Wait until every handler has answered."""
        await self.wait(workflow.all_handlers_finished)

    @property
    def _long(self) -> bool:
        """Whether this run is long enough to continue as a new one."""
        info = workflow.info()
        length = info.get_current_history_length()
        return info.is_continue_as_new_suggested() or length >= EVENTS_PER_RUN_MAX

    def _note(self, name: str, why: str) -> None:
        shown = "".join(c for c in name if c.isprintable())[:NAME_SHOWN_CHARS_MAX]
        noted = NotUnderstood(name=shown, why=why, at=workflow.now())
        self.not_understood = (*self.not_understood, noted)[-NOT_UNDERSTOOD_MAX:]

    def _no_key_opens(self, given: Sequence[RawValue]) -> bool:
        """Whether a signal could not be opened when it was heard; the history remembers it.

        A key that comes later must not change what was noted: the replay obeys the marker. Where
        there is none, another worker had the key, and this one must not go on without it.
        """
        self._heard += 1
        mark = f"sealed-signal-{self._heard}"
        sealed = any(is_sealed(raw.payload) for raw in given)
        if not workflow.unsafe.is_replaying():
            return sealed and workflow.patched(mark)
        noted = workflow.patched(mark)
        if sealed and not noted:
            raise KeyUnknown("a signal in this history needs a key that this worker does not have")
        return noted

    async def _resume(self) -> None:
        self._resumed += 1

    async def _wait_for_person(self, what: str) -> None:
        seen = self._resumed
        self.needs_person = what
        workflow.upsert_search_attributes([NEEDS_PERSON.value_set(True)])
        workflow.logger.error("waits for a person: %s", what)
        await self.wait(lambda: self._resumed != seen)
        self.needs_person = ""
        workflow.upsert_search_attributes([NEEDS_PERSON.value_set(False)])


def carried(last: M | None) -> M | None:
    """What the run before saw, where this run continues one: nobody else is believed."""
    return last if workflow.info().continued_run_id else None


def seconds_until(moment: datetime) -> float:
    """Seconds from now to ``moment``, never negative."""
    return max(0.0, (moment - workflow.now()).total_seconds())
