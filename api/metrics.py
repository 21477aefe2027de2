"""Owns the metrics that Prometheus scrapes: the API's own health, never the model's."""

from fastapi import FastAPI
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_fastapi_instrumentator import Instrumentator

REASONS = frozenset(
    {
        "bool_type",
        "body_too_large",
        "extra_forbidden",
        "finite_number",
        "float_type",
        "json_invalid",
        "missing",
        "string_too_long",
        "string_type",
        "too_few_rows",
        "too_many_rows",
        "unknown_class",
    }
)
"""Why a request may be refused; anything else is counted as "other", so that the label stays bounded."""


class Metrics:
    """The API's own metrics on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.predicted_rows = Counter("vigie_predicted_rows_total", "Rows predicted and logged.", registry=registry)
        self.stored_labels = Counter("vigie_stored_labels_total", "Labels stored.", registry=registry)
        self._rejected = Counter(
            "vigie_rejected_requests_total", "Requests refused, by reason.", ["reason"], registry=registry
        )
        self._commit_seconds = Histogram(
            "vigie_log_commit_seconds", "Time of one group commit of the prediction log.", registry=registry
        )
        self._commit_rows = Histogram(
            "vigie_log_commit_rows",
            "Rows and labels in one group commit.",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000),
            registry=registry,
        )
        self.windows = Counter(
            "vigie_snapshot_windows_total",
            "Windows that this process finished, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.alert_posts = Counter(
            "vigie_alert_posts_total",
            "Posts of alerts on model health to Alertmanager, by outcome.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("sent", "unavailable", "rejected", "failed"):
            self.alert_posts.labels(outcome)  # from 0 on, so that the first failure is an increase

    def reject(self, reason: str) -> str:
        """Count one refused request, and return the reason under which it was counted."""
        counted = reason if reason in REASONS else "other"
        self._rejected.labels(counted).inc()
        return counted

    def observe_commit(self, rows: int, seconds: float) -> None:
        """Count one group commit."""
        self._commit_rows.observe(rows)
        self._commit_seconds.observe(seconds)

    def install(self, app: FastAPI) -> None:
        """Measure the app's requests, and serve everything at /metrics."""
        instrumentator = Instrumentator(
            should_ignore_untemplated=True,
            excluded_handlers=["/metrics", "/health/.*"],
            registry=self.registry,
        )
        instrumentator.instrument(app).expose(app, include_in_schema=False)
