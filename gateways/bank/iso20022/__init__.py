"""ISO 20022 messages of every version, streamed; no entity, no network, no schema is followed."""
