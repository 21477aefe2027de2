"""The results of a snapshot: failed checks, values, and reasons for what was not computed.

Imports neither Evidently nor pandas, so that the API may import it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evidently_workspace.checks import CheckName

FAILED_WITH = "failed with"
"""How the reason begins that a section was not computed for, if it failed although it had enough data."""
NO_PROBABILITIES = "the predictions of this model have no probabilities, which say how many errors to expect"
"""Why there is no concept drift of some models that are served elsewhere."""


class RowIds(NamedTuple):
    """The ids of a window's rows and of its labelled rows, and the places of the rows that were explained."""

    current: Sequence[str]
    labelled: Sequence[str]
    explained: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class FailedCheck:
    """One alarm: `value` crossed `threshold`; `column` is None when the check is not about one column.

    `measure` says which statistic of the check failed: "missing", "out_of_range" or "new_category" of data quality,
    "accuracy", "recall" (of the class that is the column) or "mean_absolute_error" of performance, "ndcg" or "distance"
    of attribution drift, "size_z" or "bias_z" of the concept drift of a regressor, and what several windows together
    show, such as "mean of 7 days"; else None. `cause` says how much of a changed performance comes from changed inputs.
    """

    check: CheckName
    column: str | None
    value: float
    threshold: float
    measure: str | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Mute:
    """Why a failed check is muted, and until when, as text."""

    until: str
    reason: str


@dataclass(frozen=True)
class MutedCheck:
    """A failed check that somebody muted: it is shown, and does not count as failed."""

    failed: FailedCheck
    mute: Mute


@dataclass(frozen=True)
class MetricValue:
    """One point of a time series; always finite."""

    name: str
    column: str | None
    value: float


ROWS_HEADER = ("Check", "Column", "Measure", "Prediction", "Score")
"""The columns of the report's list of the rows that carry a change."""


@dataclass(frozen=True)
class ChangedRows:
    """The rows that carry what a failed check found, the foremost first: pairs of prediction id and score.

    What a score says is told by `model.statistics.changed_rows`.
    """

    check: CheckName
    column: str | None
    measure: str | None
    rows: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class WindowSnapshot:
    """A finished snapshot.

    `body` is the JSON to post to Evidently UI, `html` the same report as one file that needs no network.
    `not_computed` has "section: reason" for each part that could not be measured.
    """

    body: bytes
    html: str
    failed_checks: tuple[FailedCheck, ...]
    values: tuple[MetricValue, ...]
    not_computed: tuple[str, ...]
    muted_checks: tuple[MutedCheck, ...] = ()
    changed_rows: tuple[ChangedRows, ...] = ()
