"""Which features move the model's answers in a window, against the reference: mean |SHAP| and its drift."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import ByLabelValue
from evidently.tests import gte, lt
from numpy.typing import NDArray

from evidently_workspace.attribution_metrics import DISTANCE, NDCG, AttributionDrift, MeanAttribution
from evidently_workspace.attribution_widgets import Attribution, Verdict, attribution_widgets
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import NotEnoughDataError, Section, require, run_report
from model.attribution_drift import NDCG_ALARM, attribution_shares
from model.manifest import Manifest

NOTE = (
    "Read it so: each bar is how far a feature moves the model's answers, on average; if the ranking or the "
    "shares differ from the reference, the model leans on other features than it did, even where accuracy still holds."
)


def attributions(
    explained: NDArray[np.float64] | None, missing: str | None, manifest: Manifest, min_rows: int
) -> Section:
    """Compare attributions with the reference's.

    `explained` (rows, features) holds |SHAP| of a sample of the window's rows, in schema order; `missing` says why
    there are none. NotEnoughDataError below `min_rows` rows. Two checks: the nDCG of the ranking fails below 0.9
    (Amazon SageMaker Clarify's threshold), the distance at the threshold calibrated for this number of rows.
    """
    section = Section("Attributions", NOTE)
    if manifest.attributions is None:
        reason = manifest.attributions_missing or "training made none"
        raise NotEnoughDataError(f"the model has no attributions on the reference: {reason}")
    if explained is None:
        raise NotEnoughDataError(missing or "no row was explained")
    require("explained rows", len(explained), min_rows)
    names = list(manifest.feature_names)
    reference = pd.DataFrame([[manifest.attributions.mean_absolute[name] for name in names]], columns=names)
    current = pd.DataFrame(explained, columns=names)
    if not np.isfinite(explained).all():
        raise ValueError("the attributions hold a value that is not a number")
    _compare(section, current, reference, manifest)
    return section


def _compare(section: Section, current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> None:
    names = list(current)
    limit = None if manifest.attribution_threshold is None else manifest.attribution_threshold.at(len(current))
    tests = {NDCG: [gte(NDCG_ALARM)]} | ({} if limit is None else {DISTANCE: [lt(limit)]})
    mean, drift = MeanAttribution(columns=names), AttributionDrift(columns=names, tests=tests)
    definition = DataDefinition(numerical_columns=names)
    snapshot = run_report(
        [mean, drift], *(Dataset.from_pandas(frame, data_definition=definition) for frame in (current, reference))
    )
    drifted: ByLabelValue = snapshot.context.get_metric_result(drift.metric_id)
    verdicts = [
        _judge(section, drifted, NDCG, NDCG_ALARM, lambda value, alarm: value < alarm),
        _judge(section, drifted, DISTANCE, limit, lambda value, alarm: value >= alarm),
    ]
    means: ByLabelValue = snapshot.context.get_metric_result(mean.metric_id)
    for name, result in means.values.items():
        section.measure("attribution", str(name), result.value)
    section.keep(means)
    section.keep(drifted)
    section.widgets += attribution_widgets(verdicts, _rows(current, reference), len(current))


def _judge(
    section: Section,
    drifted: ByLabelValue,
    measure: str,
    alarm: float | None,
    fails: Callable[[float, float], bool],
) -> Verdict:
    value = float(drifted.values[measure].value)
    section.measure(f"attribution_{measure}", None, value)
    failed = alarm is not None and fails(value, alarm)
    if alarm is not None and failed:
        section.failed_checks.append(FailedCheck("attribution_drift", None, value, alarm, measure))
    return Verdict(measure, value, alarm, failed)


def _rows(current: pd.DataFrame, reference: pd.DataFrame) -> list[Attribution]:
    now, then = (frame.to_numpy("float64").mean(axis=0) for frame in (current, reference))
    shares = zip(current, now, then, attribution_shares(now), attribution_shares(then), strict=True)
    return [Attribution(str(name), *map(float, values)) for name, *values in shares]
