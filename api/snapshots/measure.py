"""Evaluates a stretch of the log: reads it, explains it, makes its snapshot. Runs in the worker: it needs pandas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from api.prediction_log.database import Database
from api.prediction_log.reader import WindowRows, count_versions, read_labelled, read_predictions, read_rejections
from api.prediction_log.records import LoggedRow
from api.serving.model_archive import ModelArchive
from api.snapshots.window_models import WindowModels
from evidently_workspace.results import WindowSnapshot
from evidently_workspace.snapshot import take_snapshot
from evidently_workspace.window import Window
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Manifest
from model.data.encoding import encoding_of


def window_frame(rows: Sequence[LoggedRow], manifest: Manifest, *, labelled: bool) -> pd.DataFrame:
    """Build one frame: features in schema order, ``prediction``, ``probability_<class>`` and, if labelled, ``label``.

    Numbers are float64 with NaN where missing; categories and booleans are text with None where missing. Predictions
    and labels are text, or numbers where the model predicts one: what does not read as a number is NaN then.
    """
    columns: dict[str, pd.Series] = {
        feature.name: encoding_of(feature).column([row.features[feature.name] for row in rows])
        for feature in manifest.features
    }
    columns[PREDICTION] = _answers([row.prediction for row in rows], manifest)
    if isinstance(manifest, ClassifierManifest):
        for name in manifest.class_names:
            probabilities = [row.probabilities[name] for row in rows]
            columns[f"{PROBABILITY_PREFIX}{name}"] = pd.Series(probabilities, dtype="float64")
    if labelled:
        columns[LABEL] = _answers([row.label for row in rows], manifest)
    return pd.DataFrame(columns)


def _answers(logged: list[str | None] | list[str], manifest: Manifest) -> pd.Series:
    if isinstance(manifest, ClassifierManifest):
        return pd.Series(logged, dtype="object")
    return pd.Series([_number(text) for text in logged], dtype="float64")


def _number(text: str | None) -> float:
    # Not pandas' own reader, which is off in the last digit.
    try:
        return math.nan if text is None else float(text)
    except ValueError:
        return math.nan


@dataclass(frozen=True, slots=True)
class WindowEvaluation:
    """The result for a stretch; ``snapshot`` is None, with the reason, if there was not enough data.

    ``manifest`` is that of the version whose rows were measured.
    """

    logged: WindowRows
    labelled: WindowRows
    snapshot: WindowSnapshot | None
    reason: str | None
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class SampleLimits:
    """How many rows and labels a snapshot needs, and how many rows are measured at most."""

    min_rows: int
    min_labels: int
    max_rows: int


class WindowEvaluator:
    """Evaluates stretches of one log, each against the reference of the version that made most of its rows.

    Raises model.errors.ArtifactError.
    """

    def __init__(self, database: Database, model_dir: Path, archive: ModelArchive, limits: SampleLimits) -> None:
        self._database = database
        self._limits = limits
        self._models = WindowModels(model_dir, archive)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the version that was read last."""
        return self._models.newest.manifest

    def evaluate(self, start: datetime, end: datetime) -> WindowEvaluation:
        """Evaluate the rows logged, and the labels that arrived, in [start, end).

        Raises LogUnavailable, and ArtifactError where the rows' version cannot be read from the folder.
        """
        limits = self._limits
        counts = count_versions(self._database, start, end)
        model = self._models.choose(counts, limits.min_rows, limits.min_labels)
        manifest = model.manifest
        span = (self._database, start, end, manifest.version, limits.max_rows)
        logged, labelled = read_predictions(*span), read_labelled(*span)
        if logged.total < limits.min_rows and labelled.total < limits.min_labels:
            return WindowEvaluation(logged, labelled, None, self._shortage(logged, labelled), manifest)
        current = window_frame(logged.rows, manifest, labelled=False)
        attributions, attributions_missing = model.explanations.explain(current)
        snapshot = take_snapshot(
            Window(start, end),
            current,
            window_frame(labelled.rows, manifest, labelled=True),
            model.reference,
            manifest,
            min_rows=limits.min_rows,
            min_labels=limits.min_labels,
            sampled_fraction=logged.fraction,
            attributions=attributions,
            attributions_missing=attributions_missing,
            rejected_requests=read_rejections(self._database, start, end),
            rows_by_version={version: count.rows for version, count in counts.items()},
            other_labels=labelled.other_versions,
            origin=self._database.log_id(),
        )
        return WindowEvaluation(logged, labelled, snapshot, None, manifest)

    def _shortage(self, logged: WindowRows, labelled: WindowRows) -> str:
        reason = (
            f"not enough data: {logged.total} of at least {self._limits.min_rows} rows, "
            f"{labelled.total} of at least {self._limits.min_labels} labels"
        )
        if logged.other_versions:
            reason += f"; {logged.other_versions} rows were predicted by another version of the model"
        return reason
