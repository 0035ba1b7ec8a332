"""The connection to Temporal: our data converter, TLS where configured. It never sends a payload
in clear text.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError, TLSConfig

from tillkeeper.codec import data_converter
from tillkeeper.sealing import KeyRing
from worker.refusal import CannotStart, sentence_for
from worker.settings import Settings

_ATTEMPTS = 60
_PAUSE_S = 0.5


async def connect(
    settings: Settings, address: str, ring: KeyRing | None, *, runtime: Runtime | None = None
) -> Client:
    """Connect and see the namespace, waiting up to 30 s; raises CannotStart when it does not
    answer. Without a ring, for whoever sends no payload at all.
    """
    tls = _tls(settings)
    reason = "it does not answer"
    for _ in range(_ATTEMPTS):
        try:
            client = await Client.connect(
                address,
                namespace=settings.temporal_namespace,
                data_converter=data_converter(ring),
                tls=tls,
                runtime=runtime,
            )
            if await client.service_client.check_health(timeout=timedelta(seconds=5)):
                return client
        except (RuntimeError, RPCError) as error:
            reason = str(error).splitlines()[0][:200]
        await asyncio.sleep(_PAUSE_S)
    raise CannotStart(f"Temporal at {address} cannot be reached: {reason}.")


def _tls(settings: Settings) -> TLSConfig | bool:
    if not settings.uses_tls:
        return False
    try:
        ca, cert, key = (
            None if path is None else path.read_bytes()
            for path in (
                settings.temporal_tls_ca,
                settings.temporal_tls_cert,
                settings.temporal_tls_key,
            )
        )
    except OSError as error:
        raise CannotStart(sentence_for(error, "read the TLS files for Temporal")) from error
    return TLSConfig(server_root_ca_cert=ca, client_cert=cert, client_private_key=key)
