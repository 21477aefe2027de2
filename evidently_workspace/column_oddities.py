"""Columns of a window that say nothing, or what another says: constant and duplicate ones, by name."""

from itertools import combinations

import pandas as pd
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import table_data


def constant_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns with one value or none, missing ones aside; Evidently counts them the same way."""
    return [str(name) for name in frame if frame[name].nunique() <= 1]


def duplicate_columns(frame: pd.DataFrame) -> list[str]:
    """Return "first = second" for each pair of columns that agree in every row, missing values included."""
    return [f"{one} = {other}" for one, other in combinations(frame, 2) if frame[one].equals(frame[other])]


def odd_columns_table(current: pd.DataFrame, reference: pd.DataFrame) -> list[BaseWidgetInfo]:
    """Return a table of these columns, if there are any, with a word on those that the reference has too."""
    rows = []
    for title, find in (("constant", constant_columns), ("the same as another", duplicate_columns)):
        known = set(find(reference))
        rows += [[name, title, "so too" if name in known else "not so"] for name in find(current)]
    header = ["Column", "In the window", "In the reference"]
    return [table_data(title="Columns that say nothing new", column_names=header, data=rows)] if rows else []
