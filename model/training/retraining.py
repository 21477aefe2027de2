"""Training on the labelled rows of the prediction log, and comparing the candidate with the model that serves."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student_t

from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest, Feature, Manifest
from model.artifact.store import read_manifest, read_reference, read_test
from model.data.encoding import encoding_of, rows_of
from model.data.schema_file import ColumnOverride, SchemaFile
from model.errors import DataError
from model.serving.engines import with_predictions
from model.serving.predictor import AnyPredictor

EXPORT_SECONDS = 3600
BLOCKS, CONFIDENCE = 30, 0.95
"""Stretches of time that count as independent in the interval: rows of one hour or day are alike."""


@dataclass(frozen=True, slots=True)
class LoggedRows:
    """A CSV file of labelled rows of the log, and what its columns are."""

    file: Path
    time: str
    target: str
    schema: SchemaFile
    features: tuple[str, ...]
    source: str


@contextmanager
def labelled_rows(serving: Path, since: str, until: str | None, model: str | None) -> Iterator[LoggedRows]:
    """Read the predictions since then whose label has come, as rows to train on; their types are the serving model's.

    Times are texts as `scripts.export` takes them, and the VIGIE_ settings name the log. Raises ArtifactError for the
    serving model, and DataError where there are no rows.
    """
    manifest = read_manifest(serving)
    end = until or datetime.now(UTC).isoformat()
    with TemporaryDirectory(prefix="vigie-train-") as folder:
        exported = Path(folder) / "rows.parquet"
        _export(serving, since, end, model, exported)
        frame = pd.read_parquet(exported)
        file = Path(folder) / "rows.csv"
        time = _another_name("logged_at", {*manifest.feature_names, manifest.target, *manifest.metadata})
        _training_frame(frame, manifest, time).to_csv(file, index=False)
        first, last = frame["logged_at"].min(), frame["logged_at"].max()
        source = f"prediction log: {len(frame):,} labelled rows, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        yield LoggedRows(file, time, manifest.target, _schema(manifest), manifest.feature_names, source)


def _export(serving: Path, since: str, until: str, model: str | None, out: Path) -> None:
    # another program: what trains knows nothing of the log
    command = [sys.executable, "-m", "scripts.export", "--labelled", "--out", str(out)]
    command += ["--from", since, "--to", until, *(() if model is None else ("--model", model))]
    environment = os.environ | ({} if model is not None else {"VIGIE_MODEL_DIR": str(serving)})
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=EXPORT_SECONDS)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise DataError(said[-1].rpartition("error: ")[2] if said else "the log cannot be exported")


def _training_frame(frame: pd.DataFrame, manifest: Manifest, time: str) -> pd.DataFrame:
    columns = {feature.name: _written(frame, feature) for feature in manifest.features}
    columns |= {name: _sent(frame, name) for name in _sent_segments(manifest)}
    return pd.DataFrame({**columns, manifest.target: frame[LABEL], time: frame["logged_at"].map(datetime.isoformat)})


def _sent_segments(manifest: Manifest) -> list[str]:
    """Return the metadata by which rows are divided."""
    return [name for name in manifest.metadata if name in (*manifest.segments, *manifest.fairness)]


def _sent(frame: pd.DataFrame, name: str) -> pd.Series:
    name = _exported_name(name)
    return frame.get(name, pd.Series(None, index=frame.index, dtype=object))


def _written(frame: pd.DataFrame, feature: Feature) -> pd.Series:
    # as `scripts.export` names a feature that has the name of one of its own columns
    name = _exported_name(feature.name)
    values = frame[name if name in frame else f"{name}_"]
    return values if encoding_of(feature).is_number else values.map(str, na_action="ignore")


def _exported_name(name: str) -> str:
    while name in {"prediction_id", "logged_at", "model_version", PREDICTION, LABEL, "label_arrived_at"}:
        name += "_"
    return name


def _another_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _schema(manifest: Manifest) -> SchemaFile:
    """Return the schema by which a file is read as the serving model reads requests."""
    columns = {
        feature.name: ColumnOverride(
            type=feature.type,
            unit=feature.unit,
            description=feature.description,
            missing=feature.missing,
            categories=None if feature.other is None else len(feature.categories or ()),
        )
        for feature in manifest.features
    }
    return SchemaFile(
        target=manifest.target,
        task=manifest.task,
        columns=columns,
        metadata=tuple(_sent_segments(manifest)),
        segments=manifest.segments,
        fairness=manifest.fairness,
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a candidate and the serving model do on the same labelled rows, which neither has learned from.

    The scores are the accuracy, or the mean absolute error in the target's unit. ``difference`` is candidate minus
    serving, with the ends of its 95 % interval.
    """

    rows: int
    candidate: float
    serving: float
    difference: float
    low: float
    high: float
    more_is_better: bool

    @property
    def verdict(self) -> str:
        """Say which of the two is better, if that is clear."""
        if self.low <= 0 <= self.high:
            return "no clear difference"
        return "the candidate is better" if (self.low > 0) == self.more_is_better else "the serving model is better"

    def sentence(self) -> str:
        """Say it in one sentence, for people."""
        if self.more_is_better:
            shown = [f"{score:.1%}" for score in (self.candidate, self.serving)]
            change = [f"{100 * value:+.1f}" for value in (self.difference, self.low, self.high)]
            unit = " points"
        else:
            shown = [f"{score:.4g}" for score in (self.candidate, self.serving)]
            change = [f"{value:+.4g}" for value in (self.difference, self.low, self.high)]
            unit = ""
        measure = "accuracy" if self.more_is_better else "mean absolute error"
        return (
            f"{measure} on the same {self.rows:,} newest labelled rows: candidate {shown[0]}, serving {shown[1]}; "
            f"difference {change[0]}{unit} (95 %: {change[1]} to {change[2]}): {self.verdict}"
        )


def compare(candidate: Path, serving: AnyPredictor) -> Comparison:
    """Compare the candidate with the serving model on the rows that the candidate held out.

    They are paired: each row counts by the difference of the two. The interval (Student's t) is that of the means of
    stretches of time of equal length, as rows of one hour are alike. Raises ArtifactError, and PredictionError where
    the serving model cannot take a row.
    """
    held_out = pd.concat([read_test(candidate), read_reference(candidate)], ignore_index=True)
    manifest = serving.manifest
    rows = rows_of(held_out, manifest.features)
    names = manifest.class_names if isinstance(manifest, ClassifierManifest) else None
    before = with_predictions(held_out[[LABEL]], serving.answers(rows), names)
    scores = [_scores(frame, manifest) for frame in (held_out, before)]
    paired = scores[0] - scores[1]
    blocks = np.array([block.mean() for block in np.array_split(paired, min(BLOCKS, len(paired)))])
    half = 0.0
    if len(blocks) > 1:
        half = float(student_t.ppf((1 + CONFIDENCE) / 2, len(blocks) - 1) * blocks.std(ddof=1) / np.sqrt(len(blocks)))
    mean = float(paired.mean())
    return Comparison(
        len(paired),
        float(scores[0].mean()),
        float(scores[1].mean()),
        mean,
        mean - half,
        mean + half,
        more_is_better=isinstance(manifest, ClassifierManifest),
    )


def _scores(frame: pd.DataFrame, manifest: Manifest) -> npt.NDArray[np.float64]:
    if isinstance(manifest, ClassifierManifest):
        return np.asarray(frame[PREDICTION].astype(str) == frame[LABEL].astype(str), dtype=np.float64)
    return np.asarray(np.abs(frame[PREDICTION].to_numpy("float64") - frame[LABEL].to_numpy("float64")))
