"""The server's log: one JSON object a line on stderr, and numbers for Prometheus.

log_as_json()
logging.getLogger("llmkit.serve").info("ready", extra={"fields": {"port": 8765}})
"""

from __future__ import annotations

import datetime
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # seconds


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_as_json() -> None:
    """Everything that this process logs, as JSON on stderr; again after packages set up their own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "litserve", "transformers"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


class Histogram:
    """How often a duration fell into each bucket."""

    def __init__(self) -> None:
        self.counts = [0] * len(_BUCKETS)
        self.total, self.sum = 0, 0.0

    def add(self, seconds: float) -> None:
        self.total += 1
        self.sum += seconds
        for place, bound in enumerate(_BUCKETS):
            self.counts[place] += seconds <= bound

    def lines(self, name: str, help_: str) -> list[str]:
        found = [f"# HELP {name} {help_}", f"# TYPE {name} histogram"]
        found += [
            f'{name}_bucket{{le="{bound:g}"}} {count}'
            for bound, count in zip(_BUCKETS, self.counts, strict=True)
        ]
        return [*found, f'{name}_bucket{{le="+Inf"}} {self.total}',
                f"{name}_sum {self.sum:.6f}", f"{name}_count {self.total}"]  # fmt: skip


class Metrics:
    """What /metrics tells of the HTTP side."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # route and status
        self.seconds = Histogram()
        self.first = Histogram()
        self.running = 0

    def text(
        self, up: Mapping[int, bool], restarts: int, stats: Mapping[int, Mapping[str, float]]
    ) -> str:
        """Prometheus' text format, version 0.0.4."""
        lines = ["# HELP llmkit_requests_total Answered requests.",
                 "# TYPE llmkit_requests_total counter"]  # fmt: skip
        lines += [
            f'llmkit_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self.requests.items())
        ]
        lines += self.seconds.lines("llmkit_request_seconds", "From request to end of answer.")
        lines += self.first.lines("llmkit_first_token_seconds", "Until a stream's first event.")
        lines += ["# HELP llmkit_running Requests that are being answered.",
                  "# TYPE llmkit_running gauge", f"llmkit_running {self.running}",
                  "# HELP llmkit_worker_restarts_total Workers that died and were started again.",
                  "# TYPE llmkit_worker_restarts_total counter",
                  f"llmkit_worker_restarts_total {restarts}",
                  "# HELP llmkit_worker_up Whether the worker can answer.",
                  "# TYPE llmkit_worker_up gauge"]  # fmt: skip
        lines += [
            f'llmkit_worker_up{{worker="{number}"}} {int(is_up)}' for number, is_up in up.items()
        ]
        names = sorted({name for values in stats.values() for name in values})
        for name in names:
            lines.append(f"# TYPE llmkit_engine_{name} gauge")
            lines += [
                f'llmkit_engine_{name}{{worker="{number}"}} {values[name]:g}'
                for number, values in stats.items()
                if name in values
            ]
        return "\n".join(lines) + "\n"
