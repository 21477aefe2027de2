"""The tables of concept drift of a model of numbers: errors beside those expected, over all and by size."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data

from evidently_workspace.number_frames import ERROR, EXPECTED_MEAN, EXPECTED_SIZE
from model.manifest import PREDICTION

PARTS = ("size", "bias")
GROUPS = 5


class Limits(NamedTuple):
    """The z from which each part fails, the gap that it needs too, and the unit of that."""

    of_part: dict[str, float]
    gap_floor: float
    unit: str | None


def errors_table(values: dict[str, float], held_out: dict[str, float], limits: Limits) -> BaseWidgetInfo:
    """Return the table of both parts, in the window and on the reference."""
    floor = f"{limits.gap_floor:.4g}" + (f" {limits.unit}" if limits.unit else "")
    rows = [
        ("Size: mean absolute error", "observed_error", ".4g"),
        ("Size: what was to be expected on these rows", "expected_error", ".4g"),
        ("Size: gap (observed - expected)", "size_gap", "+.4g"),
        ("Size: z (gap in standard deviations)", "size_z", "+.2f"),
        ("Bias: mean error (prediction - label)", "observed_bias", "+.4g"),
        ("Bias: what was to be expected on these rows", "expected_bias", "+.4g"),
        ("Bias: gap, to either side", "bias_gap", ".4g"),
        ("Bias: z (gap in standard deviations)", "bias_z", ".2f"),
    ]
    data = []
    for title, name, form in rows:
        part, _, kind = name.partition("_")
        limit = limits.of_part[part] if kind == "z" else None
        verdict = "" if limit is None else "drifted" if values[name] >= limit else "within the threshold"
        fails = "" if limit is None else f"from {limit:.2f} (also needs a gap of {floor})"
        data.append([title, format(values[name], form), _held_out(held_out, name, form), fails, verdict])
    header = ["", "Window", "Reference", "Fails", "Verdict"]
    return table_data(title="Errors beside those expected", column_names=header, data=data)


def _held_out(held_out: dict[str, float], name: str, form: str) -> str:
    return format(held_out[name], form) if name in held_out else ""


def sizes_table(judged: pd.DataFrame) -> BaseWidgetInfo:
    """Return errors beside the expected ones for groups of equally many rows by the number predicted.

    There are fewer groups where predictions repeat, because equal ones share a group.
    """
    predicted = judged[PREDICTION].to_numpy("float64")
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    group_of_row = np.searchsorted(edges, predicted, side="right")
    data = []
    for _, group in judged.groupby(group_of_row):
        errors = group[ERROR]
        data.append(
            [
                f"{group[PREDICTION].min():.4g} to {group[PREDICTION].max():.4g}",
                f"{len(group):,}",
                f"{errors.abs().mean():.4g}",
                f"{group[EXPECTED_SIZE].mean():.4g}",
                f"{errors.mean():+.4g}",
                f"{group[EXPECTED_MEAN].mean():+.4g}",
            ]
        )
    header = ["Predicted", "Labels", "Mean absolute error", "Expected", "Mean error", "Expected mean error"]
    return table_data(title="By the number predicted", column_names=header, data=data)
