"""The counters and tables of the data quality section."""

from typing import NamedTuple

import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data

from evidently_workspace.frames import MOST_NEW_VALUES, shortened
from model.manifest import Feature, Manifest

SHARE_TITLES = {
    "missing_share": "missing",
    "out_of_range_share": "outside the training range",
    "new_category_share": "not a training category",
}


class JudgedShare(NamedTuple):
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


def shares_table(manifest: Manifest, judged: list[JudgedShare]) -> BaseWidgetInfo:
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
        shown = [f"'{shortened(str(value))}' ({count:,})" for value, count in counts.head(MOST_NEW_VALUES).items()]
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
    if feature.type == "number":
        return f"mean {values.mean():.4g}, from {values.min():.4g} to {values.max():.4g}"
    commonest = values.value_counts(normalize=True)
    return f"{shortened(str(commonest.index[0]))} ({commonest.iloc[0]:.0%}), {len(commonest)} different"
