"""The metrics that Prometheus scrapes: the API's own health, never the model's."""

import re
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)

from api.metrics_folder import metrics_folder
from api.model_metrics import ModelMetrics
from api.snapshots.retention_tiers import KINDS, STORES, Removals

DENIALS = (
    "no_key",
    "unknown_key",
    "expired_key",
    "missing_scope",
    "other_model",
    "rate_limited",
    "unknown_host",
    "foreign_origin",
)
ALERT_OUTCOMES = ("sent", "unavailable", "rejected", "failed")
NOTIFICATION_OUTCOMES = ("sent", "failed")
RETENTION_OUTCOMES = ("done", "failed")
ROW_BUCKETS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds; 0.1 is the objective for a prediction, and only an edge can be counted exactly."""


class RequestMetrics(NamedTuple):
    """What is measured of each request."""

    requests: Counter
    request_bytes: Summary
    response_bytes: Summary
    seconds: Histogram
    seconds_of_route: Histogram
    in_progress: Gauge


class Metrics(ModelMetrics):
    """The API's own metrics on one registry: declared when this is built, set by its methods.

    The mode of a gauge says how several workers that share a folder of metrics are summed up: "livesum" adds the
    values of the live workers, "livemostrecent" takes the newest value of something that all of them see alike.
    ``by_model`` says whether there are several models, whose metrics have a label.
    """

    def __init__(self, registry: CollectorRegistry, *, by_model: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series for each counter that nothing uses
        if metrics_folder() is None:  # the memory and CPU of one worker would pass for those of all
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)
        super().__init__(registry, by_model=by_model)
        self._declare_callers()
        self._declare_log()
        self._declare_snapshots()
        self._declare_retention()
        self._declare_periodic_jobs()
        self.of_requests = self._declare_requests()

    def _declare_callers(self) -> None:
        self._denied = self._counter(
            "vigie_denied_requests_total",
            "Requests refused because of their key, rate, host name or origin, by reason.",
            "reason",
            values=DENIALS,
        )
        self._keys = self._gauge(
            "vigie_api_keys", "API keys that were read; 0 if callers need none.", mode="livemostrecent"
        )
        self._keys_valid = self._gauge(
            "vigie_api_keys_sound",
            "Whether the API keys could be read when they last changed; 1 if callers need none.",
            mode="livemin",
        )
        self._keys_valid.set(1)

    def _declare_log(self) -> None:
        self._commit_seconds = self._histogram(
            "vigie_log_commit_seconds", "Time of one group commit of the prediction log."
        )
        self._commit_rows = self._histogram(
            "vigie_log_commit_rows", "Rows and labels in one group commit.", ROW_BUCKETS
        )
        self._request_rows = self._histogram("vigie_request_rows", "Rows in one request to predict.", ROW_BUCKETS)
        self._queue_rows = self._gauge(
            "vigie_log_queue_rows", "Rows and labels that wait for a commit to begin.", mode="livesum"
        )
        self._queue_limit_rows = self._gauge(
            "vigie_log_queue_limit_rows", "Most rows that may wait; above it, a request gets 503.", mode="livesum"
        )

    def _declare_snapshots(self) -> None:
        self._lease_held = self._gauge(
            "vigie_snapshot_lease_held",
            "Whether this process holds the snapshot lease; exactly one of all processes does.",
            mode="livesum",
        )
        self._checked_at = self._gauge(
            "vigie_status_timestamp_seconds",
            "When the log, the snapshots and Evidently UI were last checked.",
            mode="livemostrecent",
        )
        self._evidently_up = self._gauge(
            "vigie_evidently_up", "Whether Evidently UI answered the last check.", mode="livemostrecent"
        )
        self._evidently_link = self._gauge(
            "vigie_evidently_link_timestamp_seconds",
            "When the API began to link Evidently UI at this address.",
            mode="livemax",
            labels=["url"],
        )
        self._alert_posts = self._counter(
            "vigie_alert_posts_total",
            "Posts of alerts on model health to Alertmanager, by outcome.",
            "outcome",
            values=ALERT_OUTCOMES,
        )

        self._notifications = self._counter(
            "vigie_notifications_total",
            "Messages about model health to the addresses of VIGIE_NOTIFY_URLS, by outcome.",
            "outcome",
            values=NOTIFICATION_OUTCOMES,
        )

    def _declare_retention(self) -> None:
        self._removed = self._counter(
            "vigie_retention_removed_total", "Removed because of its age, by kind.", "kind", values=KINDS
        )
        self._freed_bytes = self._counter(
            "vigie_retention_freed_bytes_total",
            "Bytes freed by removing old data; for snapshots, their size when they were posted.",
            "store",
            values=STORES,
        )
        self._retention_runs = self._counter(
            "vigie_retention_runs_total",
            "Runs that remove old data, by outcome; a run that could not remove all of it failed.",
            "outcome",
            values=RETENTION_OUTCOMES,
        )
        self._retention_done_at = self._gauge(
            "vigie_retention_last_done_timestamp_seconds",
            "When a run last removed all old data; 0 if none has.",
            mode="livemax",
        )
        self._retention_overdue = self._gauge(
            "vigie_retention_overdue_seconds",
            "How much older than it may be the oldest logged row was after the last run.",
            mode="livemax",
        )

    def _declare_periodic_jobs(self) -> None:
        name, text = "vigie_periodic_job_failures_total", "Runs of periodic jobs that failed."
        self._job_failures = self._counter(name, text, "name")
        self._job_succeeded_at = self._gauge(
            "vigie_periodic_job_succeeded_timestamp_seconds",
            "When a periodic job last ran without a failure; 0 if it never has.",
            mode="livemin",
            labels=["name"],
        )

    def _declare_requests(self) -> RequestMetrics:
        def size(name: str, what: str) -> Summary:
            text = f"Content length of {what} by handler. Only value of header is respected. Otherwise ignored. "
            return Summary(name, text + "No percentile calculated.", ["handler"], registry=self.registry)

        return RequestMetrics(
            in_progress=self._gauge(
                "vigie_requests_in_progress",
                "Requests in progress, other than health checks and scrapes.",
                mode="livesum",
            ),
            requests=self._counter(
                "http_requests_total",
                "Total number of requests by method, status and handler.",
                *("method", "status", "handler"),
            ),
            request_bytes=size("http_request_size_bytes", "incoming requests"),
            response_bytes=size("http_response_size_bytes", "outgoing responses"),
            seconds=self._histogram(
                "http_request_duration_highr_seconds",
                "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations.",
                LATENCY_BUCKETS,
            ),
            seconds_of_route=self._histogram(
                "http_request_duration_seconds",
                "Latency with only few buckets by handler. "
                "Made to be only used if aggregation by handler is important.",
                LATENCY_BUCKETS,
                labels=["method", "handler"],
            ),
        )

    def deny(self, reason: str) -> None:
        """Count one request refused because of its key, rate, host name or origin; ``reason`` is one of `DENIALS`."""
        self._denied.labels(reason).inc()

    def observe_keys(self, keys: int, valid: bool) -> None:
        """Show how many API keys there are, and whether they could be read when they last changed."""
        self._keys.set(keys)
        self._keys_valid.set(valid)

    def observe_request_rows(self, rows: int) -> None:
        """Count one request to predict, whether it is answered or refused."""
        self._request_rows.observe(rows)

    def observe_commit(self, rows: int, seconds: float) -> None:
        """Count one group commit."""
        self._commit_rows.observe(rows)
        self._commit_seconds.observe(seconds)

    def observe_queue(self, rows: int) -> None:
        """Show how many rows wait for a commit."""
        self._queue_rows.set(rows)

    def count_alert_post(self, outcome: str) -> None:
        """Count one post of alerts to Alertmanager; ``outcome`` is one of `ALERT_OUTCOMES`."""
        self._alert_posts.labels(outcome).inc()

    def count_notification(self, outcome: str) -> None:
        """Count one message to an address; ``outcome`` is one of `NOTIFICATION_OUTCOMES`."""
        self._notifications.labels(outcome).inc()

    def observe_status(self, now: float, *, lease_held: bool, evidently_up: bool) -> None:
        """Show the lease and Evidently UI as seen at ``now``, in seconds since the epoch."""
        self._lease_held.set(lease_held)
        self._evidently_up.set(evidently_up)
        self._checked_at.set(now)

    def add_periodic_job(self, name: str) -> None:
        """Show a job that this process runs, from 0 on, so that its first failure is an increase."""
        self._job_failures.labels(name)
        self._job_succeeded_at.labels(name)

    def count_job_failure(self, name: str) -> None:
        """Count one run of a periodic job that failed."""
        self._job_failures.labels(name).inc()

    def observe_job_success(self, name: str, now: float) -> None:
        """Show that a periodic job ran without a failure; ``now`` is in seconds since the epoch."""
        self._job_succeeded_at.labels(name).set(now)

    def observe_removals(self, removals: Removals | None) -> None:
        """Count what a run of retention removed; None where the run failed as a whole."""
        if removals is None:
            self._retention_runs.labels("failed").inc()
            return
        for kind, count in removals.removed.items():
            self._removed.labels(kind).inc(count)
        for store, count in removals.freed_bytes.items():
            self._freed_bytes.labels(store).inc(count)
        if removals.overdue is not None:
            self._retention_overdue.set(removals.overdue.total_seconds())
        if removals.errors:
            self._retention_runs.labels("failed").inc()
        elif not removals.unfinished:
            self._retention_runs.labels("done").inc()
            self._retention_done_at.set_to_current_time()

    def describe(self, *, log_queue_rows: int) -> None:
        """Show what stays the same as long as the process lives."""
        self._queue_limit_rows.set(log_queue_rows)

    def link_evidently(self, url: str) -> None:
        """Show where people reach Evidently UI, without a password that the address may have."""
        self._evidently_link.labels(re.sub("//[^/@]*@", "//", url)).set_to_current_time()
