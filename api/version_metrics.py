"""Latency and failures of each version of a model, so that a reload can be compared with what served before."""

from copy import copy
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram

from api.metrics_folder import metrics_folder

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
