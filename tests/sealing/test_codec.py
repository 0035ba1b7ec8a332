"""C-11: nothing a person typed reaches Temporal in clear; the codec server shows it again."""

import json
import logging
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from tillkeeper.codec import SealingCodec, data_converter
from tillkeeper.sealing import KeyRing
from worker.codec_server import BODY_BYTES_MAX, codec_app

RING = KeyRing.generate("k1")
CANARY = "canary-6222020200012345678"
UI = "http://127.0.0.1:8233"
TOKEN = "correct-horse"  # noqa: S105 - a test's token
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'"typed by hand"')


class Order(BaseModel):
    order: str
    fee_minor: int


def shown(payload: Payload) -> dict[str, object]:
    fields: dict[str, object] = json_format.MessageToDict(payload)
    return fields


class TestEncode:
    async def test_model_comes_back_as_it_was(self) -> None:
        converter = data_converter(RING)
        order = Order(order=CANARY, fee_minor=3600)
        payloads = await converter.encode([order])
        assert await converter.decode(payloads, [Order]) == [order]

    async def test_payload_shows_encoding_and_key_id_only(self) -> None:
        [payload] = await data_converter(RING).encode([Order(order=CANARY, fee_minor=1)])
        assert dict(payload.metadata) == {"encoding": b"binary/encrypted", "key-id": b"k1"}
        raw = payload.SerializeToString()
        assert CANARY.encode() not in raw
        assert b"json/plain" not in raw
        assert b"fee_minor" not in raw

    @pytest.mark.parametrize("value", [None, "", b"", [], {}, 0, False])
    async def test_empty_values_are_sealed_and_come_back(self, value: object) -> None:
        converter = data_converter(RING)
        payloads = await converter.encode([value])
        assert payloads[0].metadata["encoding"] == b"binary/encrypted"
        assert await converter.decode(payloads) == [value]

    async def test_payload_without_metadata_or_data_comes_back(self) -> None:
        codec = SealingCodec(RING)
        assert await codec.decode(await codec.encode([Payload()])) == [Payload()]
        assert await codec.encode([]) == []

    async def test_payloads_given_are_not_changed(self) -> None:
        given_payload = Payload()
        given_payload.CopyFrom(CLEAR)
        await SealingCodec(RING).encode([given_payload])
        assert given_payload == CLEAR

    async def test_memo_is_sealed(self) -> None:
        memo = await data_converter(RING)._encode_memo({"note": CANARY})
        assert CANARY.encode() not in memo.SerializeToString()
        assert await data_converter(RING)._decode_memo(memo) == {"note": CANARY}

    async def test_without_a_ring_payloads_stay_in_clear(self) -> None:
        [payload] = await data_converter(None).encode(["abc"])
        assert payload.data == b'"abc"'


class TestDecode:
    async def test_payload_typed_in_clear_passes_untouched(self) -> None:
        assert await SealingCodec(RING).decode([CLEAR, Payload()]) == [CLEAR, Payload()]
        assert await data_converter(RING).decode([CLEAR]) == ["typed by hand"]

    async def test_rotated_ring_opens_what_the_old_key_sealed(self) -> None:
        old = await data_converter(RING).encode([CANARY])
        new = data_converter(RING.rotated("k2"))
        assert await new.decode(old) == [CANARY]
        assert (await new.encode([CANARY]))[0].metadata["key-id"] == b"k2"

    async def test_unknown_key_is_left_alone_and_logged_without_content(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        payloads = await data_converter(KeyRing.generate("k9")).encode([CANARY])
        with caplog.at_level(logging.WARNING, logger="tillkeeper.codec"):
            assert await SealingCodec(RING).decode(payloads) == payloads
        assert [r.getMessage() for r in caplog.records] == [
            "payload left sealed: KEY_UNKNOWN, key k9"
        ]

    async def test_bad_payload_spoils_no_other(self) -> None:
        [good, bad] = await SealingCodec(RING).encode([CLEAR, CLEAR])
        bad.data = bad.data[:-1]
        assert await SealingCodec(RING).decode([bad, good]) == [bad, CLEAR]

    async def test_payload_that_stays_sealed_is_refused_where_it_is_used(self) -> None:
        converter = data_converter(RING)
        payloads = await data_converter(KeyRing.generate("k9")).encode([CANARY])
        with pytest.raises(KeyError, match="binary/encrypted"):
            await converter.decode(payloads, [str])
        [raw] = await converter.decode(payloads, [RawValue])
        assert raw.payload == payloads[0]

    @given(data=st.data())
    async def test_any_altered_byte_leaves_the_payload_sealed(self, data: st.DataObject) -> None:
        codec = SealingCodec(RING)
        [payload] = await codec.encode([CLEAR])
        altered = bytearray(payload.data)
        place = data.draw(st.integers(0, len(altered) - 1))
        altered[place] ^= data.draw(st.integers(1, 255))
        payload.data = bytes(altered)
        assert await codec.decode([payload]) == [payload]

    async def test_sealed_bytes_that_are_no_payload_are_left_alone(self) -> None:
        sealed = RING.seal(b"\xff\xff\xff", purpose="temporal-payload")
        payload = Payload(metadata={"encoding": b"binary/encrypted"}, data=sealed)
        assert await SealingCodec(RING).decode([payload]) == [payload]

    async def test_field_sealed_at_rest_does_not_open_as_a_payload(self) -> None:
        sealed = RING.seal(CLEAR.SerializeToString(), purpose="beneficiary-name")
        payload = Payload(metadata={"encoding": b"binary/encrypted"}, data=sealed)
        assert await SealingCodec(RING).decode([payload]) == [payload]


def raise_refusal() -> None:
    try:
        raise ValueError(f"inner {CANARY}")
    except ValueError as error:
        raise ApplicationError(f"outer {CANARY}", CANARY, type="NAME_MISMATCH") from error


async def failed(converter: DataConverter) -> Failure:
    failure = Failure()
    try:
        raise_refusal()
    except ApplicationError as error:
        await converter.encode_failure(error, failure)
    return failure


class TestFailure:
    async def test_message_stack_trace_cause_and_details_are_sealed(self) -> None:
        failure = await failed(data_converter(RING))
        raw = failure.SerializeToString()
        assert CANARY.encode() not in raw
        assert b"raise_refusal" not in raw
        assert failure.message == failure.cause.message == "Encoded failure"
        assert failure.stack_trace == failure.cause.stack_trace == ""
        assert failure.application_failure_info.type == "NAME_MISMATCH"

    async def test_failure_comes_back_with_message_and_cause(self) -> None:
        converter = data_converter(RING)
        error = await converter.decode_failure(await failed(converter))
        assert isinstance(error, ApplicationError)
        assert error.message == f"outer {CANARY}"
        assert error.details == (CANARY,)
        assert f"inner {CANARY}" in str(error.__cause__)
        assert error.failure is not None
        assert "raise_refusal" in error.failure.stack_trace

    async def test_failure_passed_on_by_the_next_workflow_is_sealed_again(self) -> None:
        converter = data_converter(RING)
        error = await converter.decode_failure(await failed(converter))
        again = Failure()
        await converter.encode_failure(error, again)
        assert CANARY.encode() not in again.SerializeToString()
        assert f"outer {CANARY}" in str(await converter.decode_failure(again))

    async def test_without_the_key_nothing_is_shown_and_nothing_breaks(self) -> None:
        failure = await failed(data_converter(RING))
        failure.application_failure_info.ClearField("details")
        error = await data_converter(KeyRing.generate("k9")).decode_failure(failure)
        assert CANARY not in repr(error) + str(error.__cause__)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = codec_app(RING, allowed_origins=[UI], token=None)
    async with client(app) as opened:
        yield opened


def client(app: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://codec")


def wire(*payloads: Payload) -> dict[str, object]:
    fields: dict[str, object] = json_format.MessageToDict(Payloads(payloads=payloads))
    return fields


def parsed(response: httpx.Response) -> list[Payload]:
    return list(json_format.Parse(response.text, Payloads()).payloads)


class TestCodecServer:
    async def test_decode_shows_what_was_sealed(self, http: httpx.AsyncClient) -> None:
        sealed = await SealingCodec(RING).encode([CLEAR])
        headers = {"Origin": UI, "X-Namespace": "default"}
        response = await http.post("/decode", json=wire(*sealed), headers=headers)
        assert response.status_code == 200
        assert parsed(response) == [CLEAR]
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["access-control-allow-origin"] == UI

    async def test_encode_seals_for_the_workers(self, http: httpx.AsyncClient) -> None:
        response = await http.post("/encode", json=wire(CLEAR))
        assert "typed by hand" not in response.text
        assert await SealingCodec(RING).decode(parsed(response)) == [CLEAR]

    async def test_namespace_may_stand_before_the_path(self, http: httpx.AsyncClient) -> None:
        response = await http.post("/codec/default/decode", json=wire(CLEAR))
        assert parsed(response) == [CLEAR]

    async def test_undecodable_payload_returns_as_it_came(self, http: httpx.AsyncClient) -> None:
        sealed = await SealingCodec(KeyRing.generate("k9")).encode([CLEAR])
        response = await http.post("/decode", json=wire(*sealed, CLEAR))
        assert parsed(response) == [*sealed, CLEAR]

    async def test_empty_payloads_keep_the_shape_the_ui_expects(
        self, http: httpx.AsyncClient
    ) -> None:
        null = Payload(metadata={"encoding": b"binary/null"})
        response = await http.post("/decode", json=wire(null))
        assert response.json() == {"payloads": [{**shown(null), "data": ""}]}
        assert (await http.post("/decode", json={})).json() == {"payloads": []}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"7",
            b"null",
            b"\xff\xfe",
            b"[" * 200_000,
            b'{"payloads": 7}',
            b'{"payloads": [{"data": 7}]}',
            b'{"payloads": [{"metadata": {"encoding": {}}}]}',
            b'{"unknown": []}',
        ],
    )
    async def test_body_that_is_no_payloads_is_400(
        self, http: httpx.AsyncClient, body: bytes
    ) -> None:
        response = await http.post("/decode", content=body)
        assert response.status_code == 400
        assert response.json()["code"] == "BODY_NOT_UNDERSTOOD"

    @given(text=st.recursive(st.none() | st.integers() | st.text(), st.lists))
    async def test_any_json_is_answered(self, text: object) -> None:
        app = codec_app(RING, allowed_origins=[UI], token=None)
        async with client(app) as http:
            response = await http.post("/decode", content=json.dumps({"payloads": [text]}))
        assert response.status_code in (200, 400)

    async def test_body_over_8_mib_is_413(self, http: httpx.AsyncClient) -> None:
        response = await http.post("/decode", content=b" " * (BODY_BYTES_MAX + 1))
        assert response.status_code == 413
        assert response.json()["code"] == "BODY_TOO_LARGE"
        exact = b'{"payloads":[]}'.ljust(BODY_BYTES_MAX)
        assert (await http.post("/decode", content=exact)).status_code == 200

    async def test_body_of_unstated_length_is_cut_off_at_the_cap(
        self, http: httpx.AsyncClient
    ) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(64):
                sent += 1
                yield b" " * (1024 * 1024)

        response = await http.post("/decode", content=endless())
        assert response.status_code == 413
        assert sent == 9

    async def test_other_methods_and_paths_are_refused(self, http: httpx.AsyncClient) -> None:
        assert (await http.get("/decode")).status_code == 405
        assert (await http.post("/")).status_code == 404


class TestCodecServerDoor:
    async def test_preflight_of_the_ui_is_allowed(self, http: httpx.AsyncClient) -> None:
        response = await preflight(http, UI)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == UI
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "POST" in response.headers["access-control-allow-methods"]

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", UI + "0", UI + "/"])
    async def test_other_origin_may_neither_ask_nor_read(
        self, http: httpx.AsyncClient, origin: str
    ) -> None:
        assert "access-control-allow-origin" not in (await preflight(http, origin)).headers
        sealed = await SealingCodec(RING).encode([CLEAR])
        response = await http.post("/decode", json=wire(*sealed), headers={"Origin": origin})
        assert response.status_code == 403
        assert response.json()["code"] == "ORIGIN_NOT_ALLOWED"
        assert "access-control-allow-origin" not in response.headers

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer"},
        ],
    )
    async def test_missing_or_wrong_token_is_401(self, headers: Mapping[str, str]) -> None:
        app = codec_app(RING, allowed_origins=[UI], token=SecretStr(TOKEN))
        async with client(app) as http:
            for path in ("/decode", "/encode"):
                response = await http.post(path, json=wire(CLEAR), headers=headers)
                assert response.status_code == 401
                assert response.json()["code"] == "TOKEN_REQUIRED"
                assert response.headers["www-authenticate"] == "Bearer"

    async def test_right_token_reads_and_the_preflight_needs_none(self) -> None:
        app = codec_app(RING, allowed_origins=[UI], token=SecretStr(TOKEN))
        sealed = await SealingCodec(RING).encode([CLEAR])
        headers = {"Authorization": f"Bearer {TOKEN}", "Origin": UI}
        async with client(app) as http:
            assert (await preflight(http, UI)).status_code == 200
            response = await http.post("/decode", json=wire(*sealed), headers=headers)
        assert parsed(response) == [CLEAR]

    @pytest.mark.parametrize(
        "origin",
        ["*", "http://*", "127.0.0.1:8233", UI + "/", UI + "/ui", "http://a@b", "", "file://x"],
    )
    def test_origin_that_is_not_exact_is_refused(self, origin: str) -> None:
        with pytest.raises(ValueError, match="origin"):
            codec_app(RING, allowed_origins=[origin], token=None)

    def test_empty_token_is_refused(self) -> None:
        with pytest.raises(ValueError, match="token"):
            codec_app(RING, allowed_origins=[UI], token=SecretStr(""))


async def preflight(http: httpx.AsyncClient, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }
    return await http.options("/decode", headers=headers)
