"""A small made-up model that predicts a number, and its rows: known errors, no training."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from model.artifact.manifest import (
    Attributions,
    ConceptThreshold,
    DataCard,
    DriftThreshold,
    ErrorCalibration,
    Feature,
    NumberRange,
    RegressionParity,
    RegressionQuality,
    RegressorManifest,
    WindowThreshold,
)

COLOURS = ("blue", "green", "red")
MEAN, SPREAD, NOISE = 150.0, 50.0, 20.0
"""Of the labels: mean and standard deviation; of the errors: standard deviation."""


def build_regression_manifest(numbers: int = 2) -> RegressorManifest:
    features = [
        Feature(name=f"x{i}", type="number", unit="cm", minimum=-3.5, maximum=3.5, nullable=True, example=0.5)
        for i in range(numbers)
    ]
    features += [
        Feature(name="colour", type="category", categories=COLOURS, nullable=True, example="red"),
        Feature(name="member", type="boolean", nullable=True, example=True),
    ]
    size, size_spread = NOISE * np.sqrt(2 / np.pi), NOISE * np.sqrt(1 - 2 / np.pi)
    means = {feature.name: 8.0 / (place + 1) for place, feature in enumerate(features)}
    return RegressorManifest(
        name="rents",
        version="20261123T044500Z-5e6f7a8b",
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
        features=tuple(features),
        target="rent",
        label_range=NumberRange(minimum=20.0, maximum=320.0, mean=MEAN, standard_deviation=SPREAD, unit="EUR"),
        engine="onnx",
        parity=RegressionParity(rows=10, max_difference=0.0, reason=None),
        quality=RegressionQuality(
            rows=120,
            mean_absolute_error=size,
            root_mean_squared_error=NOISE,
            median_absolute_error=0.67 * NOISE,
            largest_absolute_error=3 * NOISE,
            mean_error=0.5,
            r2=0.84,
        ),
        seed=1,
        data=DataCard(
            source="made up", rows=400, train_rows=100, test_rows=120, reference_rows=180, fingerprint="0" * 64
        ),
        calibration=ErrorCalibration(
            predictions=(20.0, 320.0),
            mean_error=(0.0, 0.0),
            error_spread=(NOISE, NOISE),
            absolute_error=(size, size),
            absolute_spread=(size_spread, size_spread),
            rows=300,
        ),
        attributions=Attributions(mean_absolute=means, unit="target", rows=180),
        attributions_missing=None,
        thresholds=tuple(
            _threshold(name, method)
            for name, method in (
                *(
                    (feature.name, "wasserstein" if feature.type == "number" else "jensenshannon")
                    for feature in features
                ),
                ("prediction", "wasserstein"),
                ("label", "wasserstein"),
            )
        ),
        concept_threshold=ConceptThreshold(window_rows=(30, 1000), thresholds=(4.0, 4.0), gap_floor=0.05 * SPREAD),
        attribution_threshold=WindowThreshold(window_rows=(30, 500), thresholds=(0.2, 0.1), floor=0.1),
        false_alarm_rate=0.001,
        libraries={},
        files={},
    )


def _threshold(column: str, method: str) -> DriftThreshold:
    rows = (10, 50, 200, 1000)
    limits = tuple(1.2 * (10 / n) ** 0.5 for n in rows)
    return DriftThreshold(column=column, method=method, window_rows=rows, thresholds=limits, floor=0.1)


def build_regression_rows(
    manifest: RegressorManifest,
    rows: int,
    *,
    seed: int = 0,
    shift: float = 0.0,
    noise: float = NOISE,
    bias: float = 0.0,
) -> pd.DataFrame:
    """Return labelled rows whose errors, prediction - label, have a standard deviation of `noise` about `bias`."""
    random = np.random.default_rng(seed)
    columns: dict[str, object] = {}
    for feature in manifest.features:
        if feature.type == "number":
            columns[feature.name] = random.normal(shift, 1.0, rows)
        else:
            choices = COLOURS if feature.type == "category" else ("True", "False")
            columns[feature.name] = random.choice(choices, rows).astype(object)
    predicted = np.clip(MEAN + 45 * np.asarray(columns["x0"]), 60, 300)
    errors = random.normal(bias, noise, rows)
    return pd.DataFrame(columns | {"prediction": predicted, "label": np.maximum(predicted - errors, 10.0)})
