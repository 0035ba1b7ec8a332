"""Bank files as they came: once, by their bytes, sealed (C-02, C-11)."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.bank.files import Arrival, FileRow, file_body, file_row, receive_file, refuse_file
from ledger.engine import in_transaction
from tests.ledger.bank.telling import AT, open_items_of, rows
from tillkeeper.contracts.bank_file import BankFileState
from tillkeeper.contracts.errors import Broken, Code, Rejected
from tillkeeper.sealing import KeyRing

BODY = "甲乙贸易有限公司 5000.00".encode() * 100
REFUSED = Rejected(Code.BANK_FILE_ENCODING)


async def receive(
    engine: AsyncEngine, ring: KeyRing, name: str = "a.xml", encoding: str | None = None
) -> str:
    arrival = Arrival(name, "import", encoding, AT)
    return await in_transaction(engine, lambda c: receive_file(c, ring, BODY, arrival))


async def refuse(engine: AsyncEngine, digest: str) -> None:
    await in_transaction(engine, lambda c: refuse_file(c, digest, REFUSED, AT))


async def found(engine: AsyncEngine, digest: str) -> FileRow:
    row = await in_transaction(engine, lambda c: file_row(c, digest))
    assert row is not None
    return row


class TestReceiveFile:
    async def test_a_file_is_given_back_as_it_came(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-11: its bytes and name are sealed at rest."""
        digest = await receive(engine, ring, "甲乙.xml")
        assert digest == hashlib.sha256(BODY).hexdigest()
        assert await in_transaction(engine, lambda c: file_body(c, ring, digest)) == BODY
        row = await found(engine, digest)
        assert (row.name(ring), row.size, row.state) == (
            "甲乙.xml", len(BODY), BankFileState.RECEIVED,
        )  # fmt: skip
        [(name, body)] = await rows(engine, "SELECT name_sealed, body_sealed FROM bank_files")
        assert "甲乙".encode() not in name + body

    async def test_the_same_bytes_again_change_nothing(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-02: whatever the file is called."""
        first = await receive(engine, ring, "a.xml")
        assert await receive(engine, ring, "b.xml") == first
        assert (await found(engine, first)).name(ring) == "a.xml"

    async def test_a_file_that_never_came_is_none(self, engine: AsyncEngine, ring: KeyRing) -> None:
        """C-02."""

        async def body(connection: AsyncConnection) -> bytes:
            return await file_body(connection, ring, "0" * 64)

        assert await in_transaction(engine, lambda c: file_row(c, "0" * 64)) is None
        with pytest.raises(Broken):
            await in_transaction(engine, body)


class TestRefuseFile:
    async def test_a_refused_file_is_one_item(self, engine: AsyncEngine, ring: KeyRing) -> None:
        """C-05."""
        digest = await receive(engine, ring)
        await refuse(engine, digest)
        await refuse(engine, digest)
        row = await found(engine, digest)
        assert (row.state, row.refused) == (BankFileState.REFUSED, "BANK_FILE_ENCODING")
        assert await open_items_of(engine, "BANK_FILE_REFUSED") == [(row.subject, None)]

    async def test_a_refused_file_may_come_again_with_another_encoding(
        self, engine: AsyncEngine, ring: KeyRing
    ) -> None:
        """C-02: the same bytes, declared otherwise; declared alike it stays refused."""
        digest = await receive(engine, ring)
        await refuse(engine, digest)
        await receive(engine, ring)
        assert (await found(engine, digest)).state is BankFileState.REFUSED
        await receive(engine, ring, encoding="gb18030")
        row = await found(engine, digest)
        assert (row.state, row.encoding) == (BankFileState.RECEIVED, "gb18030")
