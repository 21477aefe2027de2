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
        self._versions: list[tuple[str, str]] = []
        self._model: str | None = None

    def of_model(self, name: str) -> Self:
        """Return the metrics of one of several models, whose series are under this name whatever its own is."""
        bound = copy(self)
        bound._model, bound._versions = name, []  # noqa: SLF001 - of a copy of this object
        return bound

    def observe(self, model: str, version: str, seconds: float, *, failed: bool) -> None:
        """Count one call to predict, which this version of the model answered or not."""
        labels = self._labels_of(self._model or model, version)
        self._seconds.labels(*labels).observe(seconds)
        if failed:
            self._failures.labels(*labels).inc()

    def _labels_of(self, model: str, version: str) -> tuple[str, str]:
        """Return the labels of a version. However often the model is reloaded, they take few values."""
        labels = (model, version)
        if labels in self._versions:
            return labels
        if len(self._versions) == MAX_VERSIONS:
            if metrics_folder() is not None:  # several workers cannot remove a series
                return model, OTHER
            oldest = self._versions.pop(0)
            self._seconds.remove(*oldest)
            self._failures.remove(*oldest)
        self._versions.append(labels)
        self._failures.labels(*labels)  # from 0 on, so that the first failure is an increase
        return labels
