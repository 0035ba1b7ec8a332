"""C-11: what a person wrote reaches no log line and no metric."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from httpx import ASGITransport, AsyncClient
from prometheus_client import CollectorRegistry, generate_latest

from worker.health import health_app
from worker.refusal import CannotStart
from worker.telemetry import BookMetrics, configure_logging


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A log file that this process writes to for one test."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    path = tmp_path / "worker.log"
    configure_logging("INFO", path)
    yield path
    root.handlers[0].close()
    if isinstance(root.handlers[0], logging.StreamHandler):
        root.handlers[0].stream.close()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(log: Path) -> list[dict[str, object]]:
    """The lines of a log, each one JSON object."""
    return [json.loads(line) for line in log.read_text().splitlines()]


class TestLog:
    def test_known_ids_are_kept_and_the_rest_withheld(self, log: Path) -> None:
        structlog.get_logger("test").info("opened", merchant="m-1", contact="canary")
        (line,) = lines(log)
        assert (line["merchant"], line["contact"]) == ("m-1", "[withheld]")

    def test_error_keeps_its_type_and_place_but_not_its_text(self, log: Path) -> None:
        try:
            raise ValueError("canary")
        except ValueError:
            logging.getLogger("foreign").exception("activity failed")
            structlog.get_logger("ours").exception("broken")
        assert [line["error"] for line in lines(log)] == ["ValueError", "ValueError"]
        assert "canary" not in log.read_text()
        assert "test_telemetry.py" in log.read_text()

    def test_log_can_be_read_by_its_owner_only(self, log: Path) -> None:
        assert log.stat().st_mode & 0o777 == 0o600


class _TwoWait:
    depth = 2
    oldest_s = 0.5


class TestHealth:
    async def test_failing_check_makes_ready_503_with_its_name_only(self) -> None:
        async def good() -> None:
            return

        async def bad() -> None:
            raise CannotStart("canary")

        app = health_app({"a": good, "b": bad}, CollectorRegistry(), sdk_metrics=None)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://health") as client:
            assert (await client.get("/health/live")).status_code == 200
            ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"a": "ok", "b": "CannotStart"})

    def test_book_metrics_are_exposed(self) -> None:
        registry = CollectorRegistry()
        metrics = BookMetrics(registry)
        metrics.watch(_TwoWait())
        metrics.observe(3, 0.25)
        text = generate_latest(registry).decode()
        assert "tillkeeper_transfers_total 3.0" in text
        assert "tillkeeper_lane_depth 2.0" in text
        assert "tillkeeper_lane_oldest_waiting_seconds 0.5" in text
        assert "tillkeeper_posting_seconds_sum 0.25" in text
