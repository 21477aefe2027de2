"""Data quality of a window: missing, out-of-range and new values, duplicates, constant columns, a summary."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import pandas as pd
from evidently.core.report import Snapshot
from evidently.metrics import (
    ConstantColumnsCount,
    DuplicatedColumnsCount,
    DuplicatedRowCount,
    MissingValueCount,
    OutListValueCount,
    OutRangeValueCount,
)
from evidently.tests import lte

from evidently_workspace.bounds import highest_share
from evidently_workspace.column_oddities import odd_columns_table
from evidently_workspace.frames import columns_dataset
from evidently_workspace.quality_tables import (
    JudgedShare,
    counts_widget,
    new_categories_table,
    shares_table,
    summary_table,
)
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.manifest import Feature, Manifest

WHOLE_WINDOW = {
    "duplicated_rows": DuplicatedRowCount(),
    "duplicated_columns": DuplicatedColumnsCount(),
    "constant_columns": ConstantColumnsCount(),
}
MEASURES = {"missing_share": "missing", "out_of_range_share": "out_of_range", "new_category_share": "new_category"}
CountMetric: TypeAlias = MissingValueCount | OutRangeValueCount | OutListValueCount


class _ShareCheck(NamedTuple):
    """One share of one column, with the most that the reference allows."""

    name: str
    column: str
    metric: CountMetric
    allowed: float
    reference_share: float


def data_quality(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, min_rows: int) -> Section:
    """Measure the quality of the features; NotEnoughDataError below `min_rows` rows.

    A share (missing, outside the training range, outside the training categories) fails when it exceeds
    `bounds.highest_share` of the reference at the model's false alarm rate divided by the number of such
    shares: so all of them together raise a false alarm in at most that share of quiet windows.
    """
    require("rows", len(current), min_rows)
    section = Section("Data quality", "Ranges and categories are those that training saw.")
    checks = list(_share_checks(current, reference, manifest))
    names = list(manifest.feature_names)
    snapshot = run_report(
        [*WHOLE_WINDOW.values(), *(check.metric for check in checks)],
        columns_dataset(current, names, manifest),
        columns_dataset(reference, names, manifest),
    )
    counts = _count(section, snapshot)
    judged = _judge(section, snapshot, checks)
    section.widgets += [
        counts_widget(len(current), counts),
        shares_table(manifest, judged),
        *new_categories_table(_new_categories(current, manifest)),
        *odd_columns_table(current[names], reference[names]),
        summary_table(current, reference, manifest),
    ]
    return section


def _count(section: Section, snapshot: Snapshot) -> dict[str, int]:
    counts = {}
    for name, metric in WHOLE_WINDOW.items():
        result = snapshot.context.get_metric_result(metric.metric_id)
        counts[name] = int(result.value)
        section.measure(name, None, result.value)
        section.keep(finite(result))
    return counts


def _judge(section: Section, snapshot: Snapshot, checks: list[_ShareCheck]) -> list[JudgedShare]:
    judged = []
    for check in checks:
        result = finite(snapshot.context.get_metric_result(check.metric.metric_id))
        section.keep(result)
        if result is None:
            continue
        share = float(result.share.value)
        failed = share > check.allowed
        section.measure(check.name, check.column, share)
        if failed:
            section.failed_checks.append(
                FailedCheck("data_quality", check.column, share, check.allowed, MEASURES[check.name])
            )
        judged.append(JudgedShare(check.column, check.name, share, check.reference_share, check.allowed, failed))
    return judged


def _share_checks(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> Iterator[_ShareCheck]:
    ranged = [feature for feature in manifest.features if _outside(reference, feature) is not None]
    alarm_rate = manifest.false_alarm_rate / (len(manifest.features) + len(ranged))
    for feature in manifest.features:
        column = reference[feature.name]
        missing, rows = int(column.isna().sum()), len(column)
        allowed = highest_share(missing, rows, len(current), alarm_rate)
        metric = MissingValueCount(column=feature.name, share_tests=[lte(allowed)])
        yield _ShareCheck("missing_share", feature.name, metric, allowed, missing / rows)
    for feature in ranged:
        values = int(current[feature.name].notna().sum())
        outside = _outside(reference, feature)
        if values and outside is not None and len(outside):
            allowed = highest_share(int(outside.sum()), len(outside), values, alarm_rate)
            name, metric = _outside_metric(feature, allowed)
            yield _ShareCheck(name, feature.name, metric, allowed, float(outside.mean()))


def _new_categories(current: pd.DataFrame, manifest: Manifest) -> dict[str, "pd.Series[int]"]:
    """Return how often each value that is no training category occurs, most frequent first, by column."""
    found = {}
    for feature in manifest.features:
        if feature.type != "number":
            values = current[feature.name].dropna()
            counts = values[~values.isin(_categories(feature))].value_counts()
            if len(counts):
                found[feature.name] = counts
    return found


def _outside(frame: pd.DataFrame, feature: Feature) -> "pd.Series[bool] | None":
    """Say of each value of a feature whether it lies outside what training saw; None if there is no range."""
    values = frame[feature.name].dropna()
    if feature.type == "number":
        if feature.minimum is None or feature.maximum is None:
            return None
        return ~values.between(feature.minimum, feature.maximum)
    return ~values.isin(_categories(feature))


def _outside_metric(feature: Feature, allowed: float) -> tuple[str, CountMetric]:
    tests = [lte(allowed)]
    if feature.type == "number":
        return "out_of_range_share", OutRangeValueCount(
            column=feature.name, left=feature.minimum, right=feature.maximum, share_tests=tests
        )
    return "new_category_share", OutListValueCount(
        column=feature.name, values=list(_categories(feature)), share_tests=tests
    )


def _categories(feature: Feature) -> tuple[str, ...]:
    return ("True", "False") if feature.type == "boolean" else (feature.categories or ())
