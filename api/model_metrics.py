"""The metrics of each model, which have the label ``model`` where there are several models, and of its versions."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Literal, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.metrics_folder import metrics_folder
from api.prediction_log.reader import SnapshotProgress

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
        "row_refused",
        "unseen_value",
    }
)
"""Why a request may be refused; any other reason is counted as "other", so that the label stays bounded."""
RELOADS = ("reloaded", "already", "refused")
WINDOW_OUTCOMES = ("posted", "skipped", "failed", "given_up", "worker_failed")
BUILD_INFO = "vigie_build_info"
NO_MODEL = ""
"""The label of what belongs to no model, such as a refused call to one that does not exist."""

Mode = Literal["livesum", "livemax", "livemin", "livemostrecent"]


class ModelMetrics:
    """What is measured of a model; `of_model` returns the metrics of one of several.

    The label has few values: the names of the installation's models, whatever callers ask for.
    """

    def __init__(self, registry: CollectorRegistry, *, by_model: bool) -> None:
        self.registry = registry
        self._by_model: tuple[str, ...] = ("model",) if by_model else ()
        self._model: tuple[str, ...] = (NO_MODEL,) if by_model else ()
        self._built: tuple[str, ...] | None = None
        self._declare_calls()
        self._declare_windows()
        self._declare_versions()
        self.of_versions = VersionMetrics(registry)
        if not by_model:
            self._begin_at_zero()

    def of_model(self, name: str) -> Self:
        """Return the same metrics, of which those of a model are this model's."""
        bound = copy(self)
        if self._by_model:
            bound._model = (name,)  # noqa: SLF001 - of a copy of this object
            bound.of_versions = self.of_versions.of_model(name)
            bound._begin_at_zero()  # noqa: SLF001 - as above
        return bound

    def _counter(self, name: str, text: str, *labels: str, values: Sequence[str] = ()) -> Counter:
        """Declare a counter; the series of ``values`` start at 0, so that the first event is an increase."""
        counter = Counter(name, text, labels, registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, mode: Mode, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(
        self,
        name: str,
        text: str,
        buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS,
        labels: Sequence[str] = (),
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _counted(self, counter: Counter, *values: str) -> Counter:
        labels = (*self._model, *values)
        return counter.labels(*labels) if labels else counter

    def _shown(self, gauge: Gauge, *values: str) -> Gauge:
        labels = (*self._model, *values)
        return gauge.labels(*labels) if labels else gauge

    def _declare_calls(self) -> None:
        of = self._by_model
        self._predicted_rows = self._counter("vigie_predicted_rows_total", "Rows predicted and logged.", *of)
        self._stored_labels = self._counter("vigie_stored_labels_total", "Labels stored.", *of)
        self._rejected = self._counter("vigie_rejected_requests_total", "Requests refused, by reason.", *of, "reason")

    def _declare_windows(self) -> None:
        name, text = "vigie_snapshot_windows_total", "Windows that this process tried to snapshot, by outcome."
        self._windows = self._counter(name, text, *self._by_model, "outcome")

        def shared(name: str, text: str) -> Gauge:
            return self._gauge(name, text, "livemostrecent", self._by_model)

        self._waiting = shared("vigie_snapshot_windows_waiting", "Windows that have ended and are not posted yet.")
        self._behind = shared(
            "vigie_snapshot_behind_seconds",
            "Time since the oldest window without a snapshot ended, or should have; 0 if none waits.",
        )
        self._ahead = shared(
            "vigie_snapshot_ahead_seconds", "How far closed windows lie in the clock's future, after a clock was wrong."
        )
        self._posted_at = shared(
            "vigie_snapshot_last_posted_timestamp_seconds", "When the newest posted window was posted; 0 if none was."
        )
        self._duration = shared(
            "vigie_snapshot_last_duration_seconds", "Time that the newest posted window took to measure and post."
        )
        self._alerts = self._gauge(
            "vigie_model_alerts",
            "Checks of the model's windows that fire now, by severity of their alert.",
            "livemostrecent",
            (*self._by_model, "severity"),
        )

    def _declare_versions(self) -> None:
        self._build = self._gauge(
            BUILD_INFO,
            "Always 1; its labels say which version of Vigie serves which model.",
            "livemax",
            ("version", "model", "model_version", "engine"),
        )
        name, text = "vigie_model_reloads_total", "Requests to reload the model in this process, by outcome."
        self._reloads = self._counter(name, text, *self._by_model, "outcome")
        text = "Processes that cannot load the announced version of the model."
        self._out_of_date = self._gauge("vigie_model_behind", text, "livesum", self._by_model)
        text = "Whether the model serves; 0 where its artifact or its own settings are not valid."
        self._serving = self._gauge("vigie_model_serving", text, "livemin", self._by_model)

    def _begin_at_zero(self) -> None:
        """Show the series of this model from 0 on, so that the first event is an increase."""
        for counter in (self._predicted_rows, self._stored_labels):
            self._counted(counter)
        for outcome in WINDOW_OUTCOMES:
            self._counted(self._windows, outcome)
        for outcome in RELOADS:
            self._counted(self._reloads, outcome)
        for gauge in (self._waiting, self._behind, self._ahead, self._posted_at, self._duration, self._out_of_date):
            self._shown(gauge)

    def count_predictions(self, rows: int) -> None:
        """Count rows that were predicted and logged."""
        self._counted(self._predicted_rows).inc(rows)

    def count_labels(self, labels: int) -> None:
        """Count labels that were stored."""
        self._counted(self._stored_labels).inc(labels)

    def reject(self, reason: str) -> str:
        """Count one refused request, and return the reason under which it was counted."""
        counted = reason if reason in REASONS else "other"
        self._counted(self._rejected, counted).inc()
        return counted

    def count_window(self, outcome: str) -> None:
        """Count one try of a window; ``outcome`` is one of `WINDOW_OUTCOMES`."""
        self._counted(self._windows, outcome).inc()

    def observe_model_alerts(self, firing: Mapping[str, int]) -> None:
        """Show how many checks of the model fire, by severity."""
        for severity, count in firing.items():
            self._shown(self._alerts, severity).set(count)

    def observe_progress(self, progress: SnapshotProgress) -> None:
        """Show how far the snapshots are."""
        self._shown(self._waiting).set(progress.waiting)
        self._shown(self._behind).set(progress.behind.total_seconds())
        self._shown(self._ahead).set(progress.ahead.total_seconds())
        self._shown(self._posted_at).set(progress.posted_at or 0)
        self._shown(self._duration).set(progress.duration_seconds or 0)

    def describe_model(self, version: str, model: str, model_version: str, engine: str) -> None:
        """Show which version of Vigie serves which model now, in place of what served before."""
        if self._built is not None:
            # several workers cannot remove a series: those at 0 are left out of /metrics
            self._build.labels(*self._built).set(0)
            if metrics_folder() is None:
                self._build.remove(*self._built)
        self._built = (version, model, model_version, engine)
        self._build.labels(*self._built).set(1)

    def observe_serving(self, *, serving: bool) -> None:
        """Show whether the model serves."""
        self._shown(self._serving).set(serving)

    def count_reload(self, outcome: str) -> None:
        """Count one request to reload the model; ``outcome`` is one of `RELOADS`."""
        self._counted(self._reloads, outcome).inc()

    def observe_out_of_date(self, *, out_of_date: bool) -> None:
        """Show whether this process cannot take up the version that was announced."""
        self._shown(self._out_of_date).set(out_of_date)


LABELS = ("model", "model_version")
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 1)
MAX_VERSIONS = 8
"""Versions with series of their own: the newest ones, or with several workers the first ones."""
OTHER = "other"


class VersionMetrics:
    """What is measured of the calls to predict, by the version that answered; `api.metrics` declares the rest."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "vigie_prediction_seconds",
            "Time to predict and log the rows of one call, by model and version.",
            LABELS,
            buckets=BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "vigie_prediction_failures_total",
            "Calls whose rows could not be predicted or logged, by model and version.",
            LABELS,
            registry=registry,
        )
        self._versions: dict[tuple[str, str], Histogram] = {}
        self._model: str | None = None

    def of_model(self, name: str) -> Self:
        """Return the metrics of one of several models, whose series are under this name whatever its own is."""
        bound = copy(self)
        bound._model, bound._versions = name, {}  # noqa: SLF001 - of a copy of this object
        return bound

    def observe(self, model: str, version: str, seconds: float, *, failed: bool) -> None:
        """Count one call to predict, which this version of the model answered or not."""
        labels = (self._model or model, version)
        series = self._versions.get(labels)
        if series is None:
            labels, series = self._added(labels)
        series.observe(seconds)
        if failed:
            self._failures.labels(*labels).inc()

    def _added(self, labels: tuple[str, str]) -> tuple[tuple[str, str], Histogram]:
        """Return labels and series of another version. However often the model is reloaded, there are few of them."""
        if len(self._versions) == MAX_VERSIONS:
            if metrics_folder() is not None:  # several workers cannot remove a series
                other = (labels[0], OTHER)
                return other, self._seconds.labels(*other)
            oldest = next(iter(self._versions))
            del self._versions[oldest]
            self._seconds.remove(*oldest)
            self._failures.remove(*oldest)
        self._failures.labels(*labels)  # from 0 on, so that the first failure is an increase
        series: Histogram = self._seconds.labels(*labels)
        self._versions[labels] = series
        return labels, series
