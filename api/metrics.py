"""Owns the metrics that Prometheus scrapes: the API's own health, never the model's."""

from fastapi import FastAPI
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from api.metrics_folder import metrics_folder
from api.middleware.request_metrics import measure_requests
from api.prediction_log.reader import SnapshotProgress
from api.snapshots.retention_tiers import KINDS, STORES, Removals

REASONS = frozenset(
    {
        "bool_type",
        "body_too_large",
        "body_too_slow",
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
        "no_finite_answer",
    }
)
"""Why a request may be refused; anything else is counted as "other", so that the label stays bounded."""

DENIALS = (
    "no_key",
    "unknown_key",
    "expired_key",
    "missing_scope",
    "rate_limited",
    "unknown_host",
)
RELOADS = ("reloaded", "already", "refused")
OUTCOMES = ("posted", "skipped", "failed", "given_up", "worker_failed")
ROW_BUCKETS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)


class Metrics:
    """The API's own metrics on one registry.

    The mode of a gauge says what becomes of it where several workers share a folder of metrics: "livesum" adds up
    what each live worker has, "livemostrecent" takes the newest word on what all of them see alike.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        # a series for each counter, that no rule or dashboard asks for
        disable_created_metrics()  # type: ignore[no-untyped-call]
        if metrics_folder() is None:  # one worker's memory and CPU would pass for those of all
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)
        self._declare_callers(registry)
        self._declare_log(registry)
        self._declare_snapshots(registry)
        self._declare_retention(registry)
        self._declare_periodic_jobs(registry)
        self._declare_model(registry)
        self._in_progress = Gauge(
            "vigie_requests_in_progress",
            "Requests under way, other than health checks and scrapes.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def _declare_model(self, registry: CollectorRegistry) -> None:
        self._build = Gauge(
            "vigie_build_info",
            "Always 1; its labels say which version of Vigie serves which model.",
            ["version", "model", "model_version", "engine"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._built: tuple[str, ...] | None = None
        self._reloads = Counter(
            "vigie_model_reloads_total",
            "Artifacts that this process was told to take up, by outcome.",
            ["outcome"],
            registry=registry,
        )
        for outcome in RELOADS:
            self._reloads.labels(outcome)  # from 0 on, so that the first refusal is an increase
        self._model_out_of_date = Gauge(
            "vigie_model_behind",
            "Processes that were told of a version of the model that they cannot take up.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def _declare_callers(self, registry: CollectorRegistry) -> None:
        self._denied = Counter(
            "vigie_denied_requests_total", "Requests that were not let in, by reason.", ["reason"], registry=registry
        )
        for reason in DENIALS:
            self._denied.labels(reason)  # from 0 on, so that the first is an increase
        self._keys = Gauge(
            "vigie_api_keys",
            "API keys that count; 0 where callers need none.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._keys_valid = Gauge(
            "vigie_api_keys_sound",
            "Whether the API keys could be read when they last changed; 1 where callers need none.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._keys_valid.set(1)

    def _declare_log(self, registry: CollectorRegistry) -> None:
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
            buckets=ROW_BUCKETS,
            registry=registry,
        )
        self._request_rows = Histogram(
            "vigie_request_rows", "Rows in one request to predict.", buckets=ROW_BUCKETS, registry=registry
        )
        self._queue_rows = Gauge(
            "vigie_log_queue_rows",
            "Rows and labels that wait for a commit to begin.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._queue_limit_rows = Gauge(
            "vigie_log_queue_limit_rows",
            "Most rows that may wait; past it a request gets 503.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def _declare_snapshots(self, registry: CollectorRegistry) -> None:
        self.windows = Counter(
            "vigie_snapshot_windows_total",
            "Tries of windows by this process, by outcome.",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.windows.labels(outcome)  # from 0 on, so that the first failure is an increase

        def seen(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode="livemostrecent")

        self._waiting = seen("vigie_snapshot_windows_waiting", "Windows that have ended and are still to be posted.")
        self._behind = seen(
            "vigie_snapshot_behind_seconds", "Time since the end of the oldest window that waits; 0 where none does."
        )
        self._posted_at = seen(
            "vigie_snapshot_last_posted_timestamp_seconds", "When the newest posted window was posted; 0 if none was."
        )
        self._duration = seen(
            "vigie_snapshot_last_duration_seconds", "Time that the newest posted window took to measure and post."
        )
        self._lease_held = Gauge(
            "vigie_snapshot_lease_held",
            "Whether the lease on taking snapshots is held here; over all processes exactly one has it.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._looked_at = seen(
            "vigie_status_timestamp_seconds", "When the state of log, snapshots and Evidently UI was last looked at."
        )
        self._evidently_up = seen("vigie_evidently_up", "Whether Evidently UI answered when it was last asked.")
        self.alert_posts = Counter(
            "vigie_alert_posts_total",
            "Posts of alerts on model health to Alertmanager, by outcome.",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("sent", "unavailable", "rejected", "failed"):
            self.alert_posts.labels(outcome)  # from 0 on, so that the first failure is an increase

    def _declare_retention(self, registry: CollectorRegistry) -> None:
        self._removed = Counter(
            "vigie_retention_removed_total", "What was removed because of its age.", ["kind"], registry=registry
        )
        self._freed_bytes = Counter(
            "vigie_retention_freed_bytes_total",
            "Bytes freed by removing what is old; of snapshots the size at which they were posted.",
            ["store"],
            registry=registry,
        )
        self._retention_runs = Counter(
            "vigie_retention_runs_total",
            "Runs that removed what is old, by outcome; one that could not remove all of it failed.",
            ["outcome"],
            registry=registry,
        )
        self._retention_done_at = Gauge(
            "vigie_retention_last_done_timestamp_seconds",
            "When a run last removed all that was old; 0 if none has.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        for counter, labels in (
            (self._removed, KINDS),
            (self._freed_bytes, STORES),
            (self._retention_runs, ("done", "failed")),
        ):
            for label in labels:
                counter.labels(label)  # from 0 on

    def _declare_periodic_jobs(self, registry: CollectorRegistry) -> None:
        self._job_failures = Counter(
            "vigie_periodic_job_failures_total", "Runs of periodic jobs that failed.", ["name"], registry=registry
        )
        self._job_succeeded_at = Gauge(
            "vigie_periodic_job_last_success_timestamp_seconds",
            "When a periodic job last ran without a failure; 0 if it never has.",
            ["name"],
            registry=registry,
            multiprocess_mode="livemin",
        )

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
        failed = removals is None or bool(removals.errors)
        if removals is not None:
            for kind, count in removals.removed.items():
                self._removed.labels(kind).inc(count)
            for store, count in removals.freed_bytes.items():
                self._freed_bytes.labels(store).inc(count)
        if failed or not (removals and removals.unfinished):
            self._retention_runs.labels("failed" if failed else "done").inc()
        if removals is not None and not failed and not removals.unfinished:
            self._retention_done_at.set_to_current_time()

    def reject(self, reason: str) -> str:
        """Count one refused request, and return the reason under which it was counted."""
        counted = reason if reason in REASONS else "other"
        self._rejected.labels(counted).inc()
        return counted

    def deny(self, reason: str) -> None:
        """Count one request that was not let in; ``reason`` is one of DENIALS."""
        self._denied.labels(reason).inc()

    def observe_keys(self, keys: int, sound: bool) -> None:
        """Show how many API keys count, and whether what was last read was sound."""
        self._keys.set(keys)
        self._keys_valid.set(sound)

    def observe_request_rows(self, rows: int) -> None:
        """Count one request to predict, answered or not."""
        self._request_rows.observe(rows)

    def observe_commit(self, rows: int, seconds: float) -> None:
        """Count one group commit."""
        self._commit_rows.observe(rows)
        self._commit_seconds.observe(seconds)

    def observe_queue(self, rows: int) -> None:
        """Show how many rows wait for a commit."""
        self._queue_rows.set(rows)

    def observe_status(self, now: float, *, lease_held: bool, evidently_up: bool) -> None:
        """Show what a look at the process's surroundings found; ``now`` is in seconds since the epoch."""
        self._lease_held.set(lease_held)
        self._evidently_up.set(evidently_up)
        self._looked_at.set(now)

    def observe_progress(self, progress: SnapshotProgress) -> None:
        """Show how far the snapshots are."""
        self._waiting.set(progress.waiting)
        self._behind.set(progress.behind.total_seconds())
        self._posted_at.set(progress.posted_at or 0)
        self._duration.set(progress.duration_seconds or 0)

    def describe(self, *, log_queue_rows: int) -> None:
        """Show what does not change while the process lives."""
        self._queue_limit_rows.set(log_queue_rows)

    def describe_model(self, version: str, model: str, model_version: str, engine: str) -> None:
        """Show which version of Vigie serves which model now; what served before is shown no more."""
        if self._built is not None:
            self._build.labels(*self._built).set(0)  # several workers cannot remove a series; see `request_metrics`
            if metrics_folder() is None:
                self._build.remove(*self._built)
        self._built = (version, model, model_version, engine)
        self._build.labels(*self._built).set(1)

    def count_reload(self, outcome: str) -> None:
        """Count one artifact that was to be taken up; ``outcome`` is one of RELOADS."""
        self._reloads.labels(outcome).inc()

    def observe_out_of_date(self, *, behind: bool) -> None:
        """Show whether this process cannot take up the version that it was told of."""
        self._model_out_of_date.set(behind)

    def install(self, app: FastAPI) -> None:
        """Measure the app's requests, and serve everything at /metrics."""
        measure_requests(app, self.registry, self._in_progress)
