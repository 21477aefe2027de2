"""A small made-up model and its rows: known shares, known accuracy, no training."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from evidently_workspace.snapshot import take_snapshot
from evidently_workspace.window import Window
from model.artifact.manifest import (
    Attributions,
    Calibration,
    ClassifierManifest,
    ClassQuality,
    ConceptThreshold,
    DataCard,
    DriftThreshold,
    Feature,
    HoldOutQuality,
    Parity,
    RegressorManifest,
    WindowThreshold,
)
from model.training.fit_estimates import fit_estimates
from tests.unit.evidently_workspace.regression_model import build_regression_manifest, build_regression_rows

COLOURS = ("blue", "green", "red")


def build_manifest(
    classes: tuple[str, ...] | tuple[bool, ...] = ("a", "b", "c"), numbers: int = 2
) -> ClassifierManifest:
    features = [
        Feature(name=f"x{i}", type="number", unit="cm", minimum=-3.5, maximum=3.5, nullable=True, example=0.5)
        for i in range(numbers)
    ]
    features += [
        Feature(name="colour", type="category", categories=COLOURS, nullable=True, example="red"),
        Feature(name="member", type="boolean", nullable=True, example=True),
    ]
    thresholds = [
        _threshold(feature.name, "wasserstein" if feature.type == "number" else "jensenshannon", 1.2)
        for feature in features
    ]
    thresholds += [_threshold(name, "jensenshannon", 0.8) for name in ("prediction", "label")]
    per_class = {str(name): ClassQuality(rows=40, precision=0.9, recall=0.9, f1=0.9) for name in classes}
    return ClassifierManifest(
        name="demo",
        version="20261123T044500Z-1a2b3c4d",
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
        features=tuple(features),
        target="kind",
        classes=classes,
        engine="onnx",
        parity=Parity(rows=10, max_probability_difference=0.0, class_disagreements=0, reason=None),
        quality=HoldOutQuality(
            rows=120,
            correct=108,
            accuracy=0.9,
            precision=0.9,
            recall=0.9,
            f1=0.9,
            log_loss=0.3,
            roc_auc=0.95,
            per_class=per_class,
        ),
        seed=1,
        data=DataCard(
            source="made up",
            rows=400,
            train_rows=100,
            test_rows=120,
            reference_rows=180,
            fingerprint="0" * 64,
        ),
        calibration=Calibration(probabilities=(0.0, 1.0), calibrated=(0.899, 0.9), rows=300),
        attributions=Attributions(
            mean_absolute={feature.name: 0.4 / (place + 1) for place, feature in enumerate(features)}, rows=180
        ),
        attributions_missing=None,
        thresholds=tuple(thresholds),
        concept_threshold=ConceptThreshold(window_rows=(30, 1000), thresholds=(4.0, 4.0)),
        attribution_threshold=WindowThreshold(window_rows=(30, 500), thresholds=(0.2, 0.1), floor=0.1),
        false_alarm_rate=0.001,
        libraries={},
        files={},
    )


def _threshold(column: str, method: str, at_ten_rows: float) -> DriftThreshold:
    rows = (10, 50, 200, 1000)
    limits = tuple(at_ten_rows * (10 / n) ** 0.5 for n in rows)
    return DriftThreshold(column=column, method=method, window_rows=rows, thresholds=limits, floor=0.1)


def build_rows(
    manifest: ClassifierManifest, rows: int, *, seed: int = 0, shift: float = 0.0, accuracy: float = 0.9
) -> pd.DataFrame:
    """Return labelled rows whose prediction is the likeliest class and right with the given accuracy."""
    random = np.random.default_rng(seed)
    names = np.array(manifest.class_names, dtype=object)
    columns: dict[str, object] = {}
    for feature in manifest.features:
        if feature.type == "number":
            columns[feature.name] = random.normal(shift, 1.0, rows)
        else:
            choices = COLOURS if feature.type == "category" else ("True", "False")
            columns[feature.name] = random.choice(choices, rows).astype(object)
    actual = random.integers(0, len(names), rows)
    wrong = (actual + random.integers(1, len(names), rows)) % len(names)
    predicted = np.where(random.random(rows) < accuracy, actual, wrong)
    probabilities = random.dirichlet(np.ones(len(names)), rows) * 0.4
    probabilities[np.arange(rows), predicted] += 0.6
    columns |= {"prediction": names[predicted], "label": names[actual]}
    columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(names)}
    return pd.DataFrame(columns)


def build_attributions(
    manifest: ClassifierManifest | RegressorManifest, rows: int = 200, *, seed: int = 4
) -> "np.ndarray":
    """Return |SHAP| (rows, features) whose means are about those of the reference."""
    means = np.array([manifest.attributions.mean_absolute[name] for name in manifest.feature_names])
    return np.random.default_rng(seed).gamma(2.0, means / 2, (rows, len(means)))


def predict_always(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows as a model that is sure of one class would have predicted them."""
    columns = {column: 0.0 for column in frame if column.startswith("probability_")}
    return frame.assign(prediction=name, **(columns | {f"probability_{name}": 1.0}))


WINDOW = Window(datetime(2026, 11, 23, 4, 45, tzinfo=UTC), datetime(2026, 11, 23, 4, 50, tzinfo=UTC))


@pytest.fixture(scope="session")
def window() -> Window:
    return WINDOW


@pytest.fixture(scope="session")
def manifest() -> ClassifierManifest:
    return build_manifest()


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., ClassifierManifest]:
    return build_manifest


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pd.DataFrame]:
    return build_rows


@pytest.fixture(scope="session")
def regression_manifest() -> RegressorManifest:
    return build_regression_manifest()


@pytest.fixture(scope="session")
def make_regression_manifest() -> Callable[..., RegressorManifest]:
    return build_regression_manifest


@pytest.fixture(scope="session")
def make_regression_rows() -> Callable[..., pd.DataFrame]:
    return build_regression_rows


@pytest.fixture(scope="session")
def make_attributions() -> Callable[..., np.ndarray]:
    return build_attributions


@pytest.fixture(scope="session")
def always() -> Callable[..., pd.DataFrame]:
    return predict_always


@pytest.fixture(scope="session")
def estimates(manifest, make_rows):
    return fit_estimates(make_rows(manifest, 600, seed=9), manifest.features, manifest.class_names)


@pytest.fixture(scope="session")
def regression_estimates(regression_manifest, make_regression_rows):
    return fit_estimates(make_regression_rows(regression_manifest, 600, seed=9), regression_manifest.features, None)


@pytest.fixture(scope="session")
def snap() -> Callable[..., object]:
    """Take a snapshot of made-up rows; whatever a test is not about is quiet."""

    def take(model=None, current=None, labelled=None, *, reference=None, min_rows=30, min_labels=30, **rest):
        model = model or build_manifest()
        build = build_rows if isinstance(model, ClassifierManifest) else build_regression_rows
        rest.setdefault("attributions", build_attributions(model) if model.attributions else None)
        return take_snapshot(
            rest.pop("window", WINDOW),
            build(model, 200, seed=1) if current is None else current,
            build(model, 200, seed=2) if labelled is None else labelled,
            build(model, 180, seed=3) if reference is None else reference,
            model,
            min_rows=min_rows,
            min_labels=min_labels,
            **rest,
        )

    return take
