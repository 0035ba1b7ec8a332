"""The Temporal data converter: pydantic models outside, sealed payloads inside the histories.

Promises that with a key ring nothing a person wrote reaches Temporal in clear (C-11): inputs,
results, signals, updates, queries, memo, summaries, details, and the messages and stack traces of
failures. Search attributes, ids and failure types are never sealed: no personal data belongs
there. It must never log what a payload holds, and never stop a workflow over a payload it cannot
open.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from tillkeeper.contracts.errors import Code, KeyUnknown, SealBroken
from tillkeeper.sealing import KeyRing, key_id_of

SEALED_ENCODING: Final = b"binary/encrypted"
SEVERAL_ENCODING: Final = b"several"
"""Stands for more payloads than one input has."""

PURPOSE: Final = "temporal-payload"

_log = logging.getLogger(__name__)


class OneInput(PydanticPayloadConverter):
    """Reads several payloads where one is expected as one that nobody understands.

    Everything of ours takes one input at most. What the SDK would make of two is an error before
    the workflow begins, which leaves it running, stuck, for ever.
    """

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values; of several payloads whose types are not told, one raw value."""
        if len(payloads) > 1 and not type_hints:
            return [RawValue(Payload(metadata={"encoding": SEVERAL_ENCODING}))]
        return super().from_payloads(payloads, type_hints)


class SealingCodec(PayloadCodec):
    """Seals whole payloads, metadata included, under the ring's active key."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return one sealed payload for each given one."""
        return [self._seal(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads opened; those in clear and those that do not open, as they came.

        Raising here would fail the whole workflow task again and again over one bad signal. Left
        alone, the payload is refused by the converter at the place where it is used.
        """
        return [self._opened(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        sealed = self._ring.seal(payload.SerializeToString(), purpose=PURPOSE)
        metadata = {"encoding": SEALED_ENCODING, "key-id": self._ring.active.encode("ascii")}
        return Payload(metadata=metadata, data=sealed)

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != SEALED_ENCODING:
            return payload
        try:
            return Payload.FromString(self._ring.open(payload.data, purpose=PURPOSE))
        except (KeyUnknown, SealBroken) as error:
            code = error.code
        except DecodeError:
            code = Code.SEAL_BROKEN
        _log.warning("payload left sealed: %s, key %s", code, key_id_of(payload.data))
        return payload


def data_converter(ring: KeyRing | None) -> DataConverter:
    """Return the converter every client and worker uses; without a ring, payloads stay in clear."""
    if ring is None:
        return DataConverter(payload_converter_class=OneInput)
    return DataConverter(
        payload_converter_class=OneInput,
        payload_codec=SealingCodec(ring),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
