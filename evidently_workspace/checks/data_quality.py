"""Data quality of a window: missing, out-of-range and new values, constant and duplicate columns, refused requests."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple, TypeAlias

import pandas as pd
from evidently.core.report import Snapshot
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data
from evidently.metrics import (
    ConstantColumnsCount,
    DuplicatedColumnsCount,
    DuplicatedRowCount,
    MissingValueCount,
    OutListValueCount,
    OutRangeValueCount,
)
from evidently.tests import lte

from evidently_workspace.frames import MAX_NEW_VALUES, columns_dataset, shortened
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import Section, finite, require, run_report
from model.artifact.manifest import Feature, Manifest
from model.data.encoding import encoding_of, text_features
from model.statistics.bounds import highest_share, quality_alarm_rate


def constant_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns with one value or none, missing ones aside; Evidently counts them the same way."""
    return [str(name) for name in frame if frame[name].nunique() <= 1]


def duplicate_columns(frame: pd.DataFrame) -> list[str]:
    """Return "first = second" for each pair of columns that agree in every row, missing values included."""
    return [f"{one} = {other}" for one, other in combinations(frame, 2) if frame[one].equals(frame[other])]


def constant_and_duplicate_columns_table(current: pd.DataFrame, reference: pd.DataFrame) -> list[BaseWidgetInfo]:
    """Return a table of these columns, if there are any, with a word on those that the reference has too."""
    rows = []
    for title, find in (("constant", constant_columns), ("the same as another", duplicate_columns)):
        known = set(find(reference))
        rows += [[name, title, "so too" if name in known else "not so"] for name in find(current)]
    header = ["Column", "In the window", "In the reference"]
    return [table_data(title="Columns that say nothing new", column_names=header, data=rows)] if rows else []


SHARE_TITLES = {
    "missing_share": "missing",
    "out_of_range_share": "outside the training range",
    "new_category_share": "not a training category",
}


class ScoredShare(NamedTuple):
    """One share of one column beside the reference's and the most that is allowed."""

    column: str
    name: str
    share: float
    reference_share: float
    allowed: float
    failed: bool


def counts_widget(rows: int, counts: dict[str, int]) -> BaseWidgetInfo:
    """Return the counters on top of the section."""
    titles = [
        ("Rows", rows),
        *((name.replace("_", " ").capitalize(), count) for name, count in counts.items()),
    ]
    return counter(counters=[CounterData(title, f"{count:,}") for title, count in titles])


def shares_table(manifest: Manifest, judged: list[ScoredShare]) -> BaseWidgetInfo:
    """Return the table of shares; failed ones first, then in the order of the schema."""
    order = {name: position for position, name in enumerate(manifest.feature_names)}
    ordered = sorted(judged, key=lambda one: (not one.failed, order[one.column]))
    return table_data(
        title="Values that are missing or that training never saw",
        column_names=["Column", "Share of values", "Window", "Reference", "Allowed", "Verdict"],
        data=[
            [
                one.column,
                SHARE_TITLES[one.name],
                f"{one.share:.1%}",
                f"{one.reference_share:.1%}",
                f"{one.allowed:.1%}",
                "too many" if one.failed else "allowed",
            ]
            for one in ordered
        ],
    )


def new_categories_table(found: dict[str, "pd.Series[int]"]) -> list[BaseWidgetInfo]:
    """Return a table of the commonest values that are no training category, if there are any."""
    rows = []
    for column, counts in found.items():
        shown = [f"'{shortened(str(value))}' ({count:,})" for value, count in counts.head(MAX_NEW_VALUES).items()]
        rest = [f"and {len(counts) - len(shown):,} more"] if len(counts) > len(shown) else []
        rows.append([column, f"{len(counts):,}", ", ".join([*shown, *rest])])
    title = "Values that are no training category"
    header = ["Column", "Different values", "Most frequent (rows)"]
    return [table_data(title=title, column_names=header, data=rows)] if rows else []


def summary_table(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> BaseWidgetInfo:
    """Return mean and extremes of each number, and the commonest value of every other feature."""
    return table_data(
        title="Summary of each column",
        column_names=["Column", "Unit", "Window", "Reference"],
        data=[
            [feature.name, feature.unit or "", _summary(current, feature), _summary(reference, feature)]
            for feature in manifest.features
        ],
    )


def _summary(frame: pd.DataFrame, feature: Feature) -> str:
    values = frame[feature.name].dropna()
    if values.empty:
        return "no values"
    if encoding_of(feature).is_number:
        return f"mean {values.mean():.4g}, from {values.min():.4g} to {values.max():.4g}"
    commonest = values.value_counts(normalize=True)
    return f"{shortened(str(commonest.index[0]))} ({commonest.iloc[0]:.0%}), {len(commonest)} different"


ALL_REASONS = "all reasons"


def rejected_requests(requests: Mapping[str, int]) -> Section:
    """Return the section of refused requests; `requests` counts them by reason."""
    refused = {reason: count for reason, count in requests.items() if count}
    section = Section("Rejected requests", "Requests that the API refused; none of their rows was predicted.")
    if not refused:
        section.note += " There were none in this window."
    section.record("rejected_requests", sum(refused.values()), "RejectedRequests", label=ALL_REASONS)
    for reason, count in refused.items():
        section.record("rejected_requests", count, "RejectedRequests", label=reason)
    if refused:
        ordered = sorted(refused.items(), key=lambda item: item[1], reverse=True)
        rows = [[reason.replace("_", " "), f"{count:,}"] for reason, count in ordered]
        section.widgets.append(table_data(title="", column_names=["Reason", "Requests"], data=rows))
    return section


def rejections_text(requests: Mapping[str, int]) -> str:
    """Return the counts as one string for the metadata of a snapshot."""
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(requests.items()) if count)


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

    A share (missing, outside the training range, outside the training categories) fails when it exceeds `highest_share`
    of the reference at `quality_alarm_rate`: so all of them together raise a false alarm in at most the model's rate
    of windows in which nothing has changed.
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
        *constant_and_duplicate_columns_table(current[names], reference[names]),
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


def _judge(section: Section, snapshot: Snapshot, checks: list[_ShareCheck]) -> list[ScoredShare]:
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
        judged.append(ScoredShare(check.column, check.name, share, check.reference_share, check.allowed, failed))
    return judged


def _share_checks(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> Iterator[_ShareCheck]:
    alarm_rate = quality_alarm_rate(manifest)
    for feature in manifest.features:
        column = reference[feature.name]
        missing, rows = int(column.isna().sum()), len(column)
        allowed = highest_share(missing, rows, len(current), alarm_rate)
        metric = MissingValueCount(column=feature.name, share_tests=[lte(allowed)])
        yield _ShareCheck("missing_share", feature.name, metric, allowed, missing / rows)
    for feature in manifest.features:
        values = int(current[feature.name].notna().sum())
        known = reference[feature.name].dropna()
        if values and len(known) and encoding_of(feature).has_range(feature):
            outside = encoding_of(feature).outside_training(known, feature)
            allowed = highest_share(int(outside.sum()), len(outside), values, alarm_rate)
            name, metric = _outside_metric(feature, allowed)
            yield _ShareCheck(name, feature.name, metric, allowed, float(outside.mean()))


def _new_categories(current: pd.DataFrame, manifest: Manifest) -> dict[str, "pd.Series[int]"]:
    """Return how often each value that is no training category occurs, most frequent first, by column."""
    found = {}
    for feature in text_features(manifest.features):
        values = current[feature.name].dropna()
        counts = values[~values.isin(encoding_of(feature).known_texts(feature))].value_counts()
        if len(counts):
            found[feature.name] = counts
    return found


def _outside_metric(feature: Feature, allowed: float) -> tuple[str, CountMetric]:
    tests = [lte(allowed)]
    if encoding_of(feature).is_number:
        return "out_of_range_share", OutRangeValueCount(
            column=feature.name, left=feature.minimum, right=feature.maximum, share_tests=tests
        )
    return "new_category_share", OutListValueCount(
        column=feature.name, values=list(encoding_of(feature).known_texts(feature)), share_tests=tests
    )
