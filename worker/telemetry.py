"""Logs and metrics. A log line carries ids and codes only: values under unknown keys and texts of
errors are withheld.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.stdlib import ProcessorFormatter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

SAFE_KEYS = frozenset(
    {
        *("event", "level", "timestamp", "logger", "error", "frames", "code"),
        *("pid", "port", "address", "namespace", "queue", "seconds", "count", "rate", "lane"),
        *("merchant", "currency", "account", "request", "receipt", "order", "transfer", "kind"),
        *("workflow_id", "run_id", "workflow_type", "activity_type", "attempt", "stage", "profile"),
    }
)
WITHHELD = "[withheld]"
_FRAMES_MAX = 12
_FOREIGN = ("temporalio", "temporalio-core", "uvicorn", "uvicorn.error", "asyncio", "sqlalchemy")

_Event = MutableMapping[str, Any]


def configure_logging(level: str, log: Path | None = None) -> None:
    """Send every log line of this process as JSON to standard error or to a file (mode 0600)."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_errors,
        _withhold_unknown,
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_stream(log))
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def sdk_runtime(metrics_address: str | None) -> Runtime:
    """The Temporal SDK's runtime: its logs go through ours, its metrics to a loopback port."""
    forward = LogForwardingConfig(
        logger=logging.getLogger("temporalio-core"), append_log_fields_to_message=False
    )
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forward
            ),
            metrics=None
            if metrics_address is None
            else PrometheusConfig(bind_address=metrics_address, durations_as_seconds=True),
        )
    )


class Waiting(Protocol):
    """What waits before the book; `ledger.lanes.Lanes` is one."""

    @property
    def depth(self) -> int:
        """Requests that wait."""
        ...

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest of them has waited."""
        ...


class BookMetrics:
    """What this process's book and lanes report; no label ever names a merchant.

    `observe` fits `ledger.engine.Observe`; the pollers and free slots of the worker are in the
    Temporal SDK's own metrics (`temporal_num_pollers`, `temporal_worker_task_slots_available`).
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._messages = Counter(
            "tillkeeper_transfers",
            "Transfers written to the book by this process.",
            registry=registry,
        )
        self._size = Histogram(
            "tillkeeper_posting_batch_size",
            "Transfers in one posting transaction.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
            registry=registry,
        )
        self._seconds = Histogram(
            "tillkeeper_posting_seconds",
            "Seconds from taking the locks to writing, before the commit.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self._depth = Gauge(
            "tillkeeper_lane_depth", "Messages waiting for a transaction.", registry=registry
        )
        self._oldest = Gauge(
            "tillkeeper_lane_oldest_waiting_seconds",
            "Age of the oldest message waiting for a transaction.",
            registry=registry,
        )

    def observe(self, size: int, seconds: float) -> None:
        """Count one posting transaction of `size` transfers that took `seconds`."""
        self._messages.inc(size)
        self._size.observe(size)
        self._seconds.observe(seconds)

    def watch(self, waiting: Waiting) -> None:
        """Read depth and oldest age from the lanes at each scrape."""
        self._depth.set_function(lambda: waiting.depth)
        self._oldest.set_function(lambda: waiting.oldest_s)


def _stream(log: Path | None) -> IO[str]:
    if log is None:
        return sys.stderr
    stream = log.open("a", encoding="utf-8")
    log.chmod(0o600)
    return stream


def _name_errors(_logger: object, _method: str, event: _Event) -> _Event:
    """Keep an error's type, code and places; its text may quote what a caller sent."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else info[1] if info else None
    if isinstance(error, BaseException):
        event["error"] = type(error).__qualname__
        event["frames"] = _frames(error.__traceback__)
        code = getattr(error, "code", None)
        if isinstance(code, str):
            event["code"] = str(code)
    return event


def _frames(trace: TracebackType | None) -> list[str]:
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return frames[-_FRAMES_MAX:]


def _withhold_unknown(_logger: object, _method: str, event: _Event) -> _Event:
    for key in event:
        if key not in SAFE_KEYS and not key.startswith("_"):
            event[key] = WITHHELD
    return event
