"""Data quality of a window: missing, out-of-range and new values, constant and duplicate columns, refused requests."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple, TypeAlias

import numpy as np
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
from evidently_workspace.panels import written
from evidently_workspace.results import FailedCheck
from evidently_workspace.section import (
    LEARNING,
    MAX_LISTED_ROWS,
    Section,
    finite,
    long_table,
    require,
    result_of,
    run_report,
)
from model.artifact.manifest import Feature, Manifest
from model.artifact.traffic import ANY_TRAFFIC, WindowTraffic
from model.data.encoding import encoding_of, number_features, text_features
from model.statistics.bounds import commonest_values, highest_share, highest_stuck_share, quality_alarm_rate
from model.statistics.drift import in_deviations

WHOLE_WINDOW = {
    "duplicated_rows": DuplicatedRowCount(),
    "duplicated_columns": DuplicatedColumnsCount(),
    "constant_columns": ConstantColumnsCount(),
}
MEASURES = {
    "missing_share": "missing",
    "out_of_range_share": "out_of_range",
    "new_category_share": "new_category",
    "stuck_share": "stuck",
}
MEASURE_TITLES = {
    "missing_share": "missing",
    "out_of_range_share": "outside the training range",
    "new_category_share": "not a training category",
    "stuck_share": "one and the same",
}
ALL_REASONS = "all reasons"

CountMetric: TypeAlias = MissingValueCount | OutRangeValueCount | OutListValueCount
"""What Evidently counts; the most common number is counted here."""


class _ShareCheck(NamedTuple):
    """One share of one column, with the most that the reference allows; `metric` counts it, or is the share itself."""

    name: str
    column: str
    metric: CountMetric | float
    allowed: float
    reference_share: float
    usual: str = ""
    learning: bool = False


def data_quality(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    manifest: Manifest,
    min_rows: int,
    traffic: WindowTraffic = ANY_TRAFFIC,
) -> Section:
    """Measure the quality of the features; NotEnoughDataError below `min_rows` rows.

    A share (missing, outside the training range, outside the training categories) fails when it exceeds `highest_share`
    of the reference at `quality_alarm_rate`: so all of them together raise a false alarm in at most the model's rate
    of windows in which nothing has changed. A number is stuck where one value has more than `highest_stuck_share`.
    """
    require("rows", len(current), min_rows)
    section = Section("Data quality", "Ranges and categories are those of the training data.")
    checks = list(_share_checks(current, reference, manifest, traffic))
    section.say_what_is_learned(traffic, ((check.name, check.column) for check in checks))
    names = list(manifest.feature_names)
    snapshot = run_report(
        [*WHOLE_WINDOW.values(), *(check.metric for check in checks if not isinstance(check.metric, float))],
        columns_dataset(current, names, manifest),
        columns_dataset(reference, names, manifest),
    )
    section.widgets += [
        _add_counts(section, snapshot, len(current)),
        shares_table(manifest, _add_shares(section, snapshot, checks)),
        *new_categories_table(_new_categories(current, manifest)),
        *constant_and_duplicate_columns_table(current[names], reference[names]),
        summary_table(current, reference, manifest),
    ]
    return section


def rejected_requests(requests: Mapping[str, int]) -> Section:
    """Return the section of the requests that the API refused; `requests` counts them by reason."""
    refused = {reason: count for reason, count in requests.items() if count}
    section = Section("Rejected requests", "Requests that the API refused. None of their rows was predicted.")
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


def _add_counts(section: Section, snapshot: Snapshot, rows: int) -> BaseWidgetInfo:
    """Add what is counted over all columns, and return it as the counters at the top of the section."""
    counters = [CounterData("Rows", f"{rows:,}")]
    for name, metric in WHOLE_WINDOW.items():
        result = result_of(snapshot, metric)
        counters.append(CounterData(name.replace("_", " ").capitalize(), f"{int(result.value):,}"))
        section.add_value(name, None, result.value)
        section.add_result(finite(result))
    return counter(counters=counters)


class ScoredShare(NamedTuple):
    """The share of a check in the window."""

    check: _ShareCheck
    share: float

    @property
    def failed(self) -> bool:
        """Return whether it is more than the reference allows."""
        return self.share > self.check.allowed

    @property
    def verdict(self) -> str:
        """Return the verdict in words."""
        return "too many" if self.failed else LEARNING if self.check.learning else "allowed"


def _add_shares(section: Section, snapshot: Snapshot, checks: list[_ShareCheck]) -> list[ScoredShare]:
    scored = []
    for check in checks:
        if isinstance(check.metric, float):
            one = ScoredShare(check, check.metric)
        else:
            result = finite(result_of(snapshot, check.metric))
            section.add_result(result)
            if result is None:
                continue
            one = ScoredShare(check, float(result.share.value))
        section.add_value(check.name, check.column, one.share)
        if one.failed:
            section.failed_checks.append(
                FailedCheck("data_quality", check.column, one.share, check.allowed, MEASURES[check.name])
            )
        scored.append(one)
    return scored


def shares_table(manifest: Manifest, scored: list[ScoredShare]) -> BaseWidgetInfo:
    """Return the table of shares: failed ones first, of many those that changed most, else as in the schema."""
    order = {name: position for position, name in enumerate(manifest.feature_names)}
    many = len(scored) > MAX_LISTED_ROWS
    ordered = sorted(
        scored,
        key=lambda one: (
            not one.failed,
            -abs(one.share - one.check.reference_share) if many else 0.0,
            order[one.check.column],
        ),
    )
    with_usual = any(one.check.usual for one in scored)
    usual = ["Usual"] if with_usual else []
    return long_table(
        title="Missing values, values outside the training data, and stuck columns",
        column_names=["Column", "Share of values", "Window", *usual, "Reference", "Allowed", "Verdict"],
        data=[
            [
                one.check.column,
                MEASURE_TITLES[one.check.name],
                f"{one.share:.1%}",
                *([one.check.usual] if with_usual else []),
                f"{one.check.reference_share:.1%}",
                f"{one.check.allowed:.1%}",
                one.verdict,
            ]
            for one in ordered
        ],
    )


def constant_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns with one value or none, missing ones aside; Evidently counts them the same way."""
    return [str(name) for name in frame if frame[name].nunique() <= 1]


_COMPARED_VALUES = 20


def duplicate_columns(frame: pd.DataFrame) -> list[str]:
    """Return "first = second" for each pair of columns that agree in every row, missing values included."""
    alike: dict[tuple[object, ...], list[str]] = {}
    for name in map(str, frame):
        alike.setdefault(_key(frame[name]), []).append(name)
    places = {name: place for place, name in enumerate(map(str, frame))}
    pairs = [pair for names in alike.values() for pair in combinations(names, 2)]
    equal = [(one, other) for one, other in pairs if frame[one].equals(frame[other])]
    return [f"{one} = {other}" for one, other in sorted(equal, key=lambda pair: (places[pair[0]], places[pair[1]]))]


def _key(column: pd.Series) -> tuple[object, ...]:
    """Return what equal columns have in common and most others have not: to compare all pairs takes seconds."""
    gaps = int(column.isna().sum())
    if column.dtype.kind == "f":
        with np.errstate(all="ignore"):  # endless numbers have no sum, and are alike in that
            return gaps, repr(float(column.sum()))
    return gaps, *map(str, column.head(_COMPARED_VALUES))


def constant_and_duplicate_columns_table(current: pd.DataFrame, reference: pd.DataFrame) -> list[BaseWidgetInfo]:
    """Return a table of these columns, if there are any; it says which of them are so in the reference too."""
    rows = []
    for title, find in (("constant", constant_columns), ("duplicate", duplicate_columns)):
        known = set(find(reference))
        rows += [[name, title, "yes" if name in known else "no"] for name in find(current)]
    header = ["Column", "In the window", "In the reference too"]
    return [long_table(title="Constant and duplicate columns", column_names=header, data=rows)] if rows else []


def new_categories_table(found: dict[str, "pd.Series[int]"]) -> list[BaseWidgetInfo]:
    """Return a table of the most frequent values that are not training categories, if there are any."""
    rows = []
    for column, counts in found.items():
        shown = [f"'{shortened(str(value))}' ({count:,})" for value, count in counts.head(MAX_NEW_VALUES).items()]
        rest = [f"and {len(counts) - len(shown):,} more"] if len(counts) > len(shown) else []
        rows.append([column, f"{len(counts):,}", ", ".join([*shown, *rest])])
    title = "New categories"
    header = ["Column", "Different values", "Most frequent (rows)"]
    return [long_table(title=title, column_names=header, data=rows)] if rows else []


def summary_table(current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest) -> BaseWidgetInfo:
    """Return mean and extremes of each number, and the most frequent value of every other feature.

    Of many features those come first that moved most.
    """
    features = list(manifest.features)
    if len(features) > MAX_LISTED_ROWS:
        features.sort(key=lambda feature: _move(current, reference, feature), reverse=True)
    return long_table(
        title="Summary of each column",
        column_names=["Column", "Unit", "Window", "Reference"],
        data=[
            [feature.name, feature.unit or "", _summary(current, feature), _summary(reference, feature)]
            for feature in features
        ],
    )


def _move(current: pd.DataFrame, reference: pd.DataFrame, feature: Feature) -> float:
    """Return how far a mean moved, in standard deviations, or how much of a share went to other values."""
    values, known = current[feature.name].dropna(), reference[feature.name].dropna()
    if values.empty or known.empty:
        return 0.0
    if encoding_of(feature).is_number:
        return abs(float(in_deviations(values.to_numpy("float64"), known.to_numpy("float64")).mean()))
    shares = [one.value_counts(normalize=True) for one in (values, known)]
    return float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)


def _summary(frame: pd.DataFrame, feature: Feature) -> str:
    values = frame[feature.name].dropna()
    if values.empty:
        return "no values"
    if encoding_of(feature).is_number:
        return f"mean {written(values.mean())}, from {written(values.min())} to {written(values.max())}"
    commonest = values.value_counts(normalize=True)
    return f"{shortened(str(commonest.index[0]))} ({commonest.iloc[0]:.0%}), {len(commonest)} different"


def _share_checks(
    current: pd.DataFrame, reference: pd.DataFrame, manifest: Manifest, traffic: WindowTraffic
) -> Iterator[_ShareCheck]:
    alarm_rate = quality_alarm_rate(manifest)
    for feature in manifest.features:
        column = reference[feature.name]
        missing, rows = int(column.isna().sum()), len(column)
        by_rows = highest_share(missing, rows, len(current), alarm_rate)
        allowed = traffic.limit("missing_share", feature.name, by_rows)
        metric = MissingValueCount(column=feature.name, share_tests=[lte(allowed)])
        yield _share_check("missing_share", feature.name, metric, allowed, missing / rows, traffic=traffic)
    for feature in manifest.features:
        values = int(current[feature.name].notna().sum())
        known = reference[feature.name].dropna()
        if values and len(known) and encoding_of(feature).has_range(feature):
            outside = encoding_of(feature).outside_training(known, feature)
            by_rows = highest_share(int(outside.sum()), len(outside), values, alarm_rate)
            name = _outside_name(feature)
            allowed = traffic.limit(name, feature.name, by_rows)
            metric = _outside_metric(feature, allowed)
            yield _share_check(name, feature.name, metric, allowed, float(outside.mean()), traffic=traffic)
    for feature in number_features(manifest.features):
        present, known = current[feature.name].dropna(), reference[feature.name].dropna()
        if len(present) and len(known):
            hits, alike = commonest_values(known.to_numpy(dtype="float64"))
            share = commonest_values(present.to_numpy(dtype="float64"))[0] / len(present)
            by_rows = highest_stuck_share(hits, alike, len(known), len(present), alarm_rate)
            covered = traffic.covers("stuck_share", feature.name)
            allowed = traffic.limit("stuck_share", feature.name, by_rows) if covered else 1.0
            yield _share_check("stuck_share", feature.name, share, allowed, hits / len(known), traffic=traffic)


def _share_check(
    name: str, column: str, metric: CountMetric | float, allowed: float, reference: float, *, traffic: WindowTraffic
) -> _ShareCheck:
    usual = traffic.usual(name, column)
    shown = "" if usual is None else usual.shown(".1%")
    return _ShareCheck(name, column, metric, allowed, reference, shown, traffic.is_learning(name, column))


def _new_categories(current: pd.DataFrame, manifest: Manifest) -> dict[str, "pd.Series[int]"]:
    """Return how often each value that is not a training category occurs, most frequent first, by column."""
    found = {}
    for feature in text_features(manifest.features):
        values = current[feature.name].dropna()
        counts = values[~values.isin(encoding_of(feature).known_texts(feature))].value_counts()
        if len(counts):
            found[feature.name] = counts
    return found


def _outside_name(feature: Feature) -> str:
    return "out_of_range_share" if encoding_of(feature).is_number else "new_category_share"


def _outside_metric(feature: Feature, allowed: float) -> CountMetric:
    tests = [lte(allowed)]
    if encoding_of(feature).is_number:
        return OutRangeValueCount(column=feature.name, left=feature.minimum, right=feature.maximum, share_tests=tests)
    return OutListValueCount(
        column=feature.name, values=list(encoding_of(feature).known_texts(feature)), share_tests=tests
    )
