"""Calibrates all alarms of a model together, as one family."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from model.alarms.null_distributions import NullAttributions, NullConcept, NullErrors
from model.alarms.policy import AlarmPolicy
from model.alarms.thresholds import NullDistribution, calibrate_thresholds
from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    Attributions,
    Calibration,
    ConceptThreshold,
    DriftMethod,
    DriftThreshold,
    ErrorCalibration,
    Feature,
    Manifest,
    NumberRange,
    RegressorManifest,
    WindowThreshold,
)
from model.data.encoding import encoding_of
from model.errors import ExplanationError
from model.explain.explainer import Explainer
from model.training.out_of_fold import OutOfFoldRows, Parts, error_chances, number_errors, wrong_predictions

MAX_CALIBRATION_ROWS = 5_000
"""Rows that windows in control are drawn from; with more, sampling error is far below the floors."""
MAX_ATTRIBUTED_ROWS = 1_000
"""Test and reference rows that are explained; of a window MAX_EXPLAINED_ROWS are."""
_MIN_ATTRIBUTED_ROWS = 300
_ATTRIBUTION_WORK = 1e8
"""Steps of TreeSHAP: about 5 s of CPU, where rows would take longer fewer are explained."""


@dataclass(frozen=True)
class Alarms:
    """What the manifest says about alarms."""

    calibration: Calibration | ErrorCalibration | None
    attributions: Attributions | None
    attributions_missing: str | None
    columns: tuple[DriftThreshold, ...]
    concept: ConceptThreshold | None
    attribution: WindowThreshold | None


@dataclass(frozen=True)
class _Explained:
    """Attributions of test and reference rows: |phi| (rows, features), the rows' positions, those of the reference."""

    phi: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    rows: np.ndarray[tuple[int], np.dtype[np.intp]]
    reference: np.ndarray[tuple[int], np.dtype[np.float64]]
    explainer: Explainer
    reference_rows: int


def calibrate_alarms(
    scored: OutOfFoldRows,
    features: tuple[Feature, ...],
    explainer: Callable[[Callable[[float], pd.DataFrame]], Explainer],
    rng: np.random.Generator,
    *,
    policy: AlarmPolicy,
    label_range: NumberRange | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Alarms:
    """Return the calibration, the reference's attributions and all thresholds.

    In a window in control the chance of any alarm of the family (columns, prediction, label, concept, attributions)
    is the policy's rate. `label_range` is that of the target where it is a number. `explainer` makes the explainer and
    has it explain the rows that it is given a choice of. Where it cannot be made, the family does without attributions;
    where the predictions have no probabilities, without concept drift.
    """
    deviation = None if label_range is None else label_range.standard_deviation
    calibration = scored.calibration(rng) if deviation is None else scored.error_calibration(deviation)
    population, parts = scored.population(MAX_CALIBRATION_ROWS, rng)
    explained, missing = None, None
    try:
        explained = _explain(explainer, population, parts, rng)
    except ExplanationError as error:
        missing = str(error)
    others: dict[str, NullDistribution] = {}
    if calibration is not None:
        others["concept"] = _null_concept(population, calibration, rng)
    if explained:
        others["attribution"] = NullAttributions(explained.reference, explained.phi, explained.rows, rng)
    limits = calibrate_thresholds(
        scored.reference,
        population,
        drift_methods(features, numbers=label_range is not None),
        rng,
        others=list(others.values()),
        false_alarm_rate=policy.false_alarm_rate,
        floors=policy.drift_floors,
        progress=progress,
    )
    grid = limits.columns[0].window_rows
    found = dict(zip(others, limits.others, strict=True))
    return Alarms(
        calibration=calibration,
        attributions=_attributions(explained, features) if explained else None,
        attributions_missing=missing,
        columns=limits.columns,
        concept=ConceptThreshold(
            window_rows=grid,
            thresholds=found["concept"],
            gap_floor=policy.concept_gap_floor * (1.0 if deviation is None else deviation),
        )
        if "concept" in found
        else None,
        attribution=WindowThreshold(window_rows=grid, thresholds=found["attribution"], floor=policy.attribution_floor)
        if "attribution" in found
        else None,
    )


def reference_thresholds(
    manifest: Manifest, reference: pd.DataFrame, population: pd.DataFrame
) -> tuple[DriftThreshold, ...]:
    """Return the thresholds of drift from another reference than the artifact's, with the artifact's floors.

    `population` are rows like those of windows in which nothing has changed, as in `calibrate_thresholds`. Raises
    DataError.
    """
    methods = drift_methods(manifest.features, numbers=isinstance(manifest, RegressorManifest))
    floors = {one.column: one.floor for one in manifest.thresholds}
    limits = calibrate_thresholds(
        reference,
        population,
        methods,
        np.random.default_rng(manifest.seed),
        false_alarm_rate=manifest.false_alarm_rate,
    )
    return tuple(one.model_copy(update={"floor": floors.get(one.column, one.floor)}) for one in limits.columns)


def _null_concept(
    population: pd.DataFrame, calibration: Calibration | ErrorCalibration, rng: np.random.Generator
) -> NullDistribution:
    if isinstance(calibration, Calibration):
        return NullConcept(wrong_predictions(population), error_chances(population, calibration), rng)
    predictions = population[PREDICTION].to_numpy(dtype=np.float64)
    return NullErrors(number_errors(population), predictions, calibration, rng)


def drift_methods(features: tuple[Feature, ...], *, numbers: bool = False) -> dict[str, DriftMethod]:
    """Return the one pinned method of each column, whatever the number of rows; with `numbers`, labels are numbers."""
    methods = {feature.name: encoding_of(feature).drift_method for feature in features}
    answers: DriftMethod = "wasserstein" if numbers else "jensenshannon"
    return methods | {PREDICTION: answers, LABEL: answers}


def _explain(
    made: Callable[[Callable[[float], pd.DataFrame]], Explainer],
    population: pd.DataFrame,
    parts: Parts,
    rng: np.random.Generator,
) -> _Explained:
    rows = np.flatnonzero(parts != "training")

    def chosen(work: float) -> pd.DataFrame:
        nonlocal rows
        affordable = max(_MIN_ATTRIBUTED_ROWS, int(_ATTRIBUTION_WORK / max(work, 1.0)))
        if len(rows) > min(MAX_ATTRIBUTED_ROWS, affordable):
            rows = np.sort(rng.choice(rows, min(MAX_ATTRIBUTED_ROWS, affordable), replace=False))
        return population.iloc[rows]

    explainer = made(chosen)
    of_reference = parts[rows] == "reference"
    reference = explainer.first[of_reference].mean(axis=0)
    return _Explained(explainer.first, rows, reference, explainer, int(of_reference.sum()))


def _attributions(explained: _Explained, features: tuple[Feature, ...]) -> Attributions:
    means = explained.reference.tolist()
    return Attributions(
        mean_absolute={feature.name: mean for feature, mean in zip(features, means, strict=True)},
        method=explained.explainer.method,
        unit=explained.explainer.unit,
        rows=explained.reference_rows,
    )
