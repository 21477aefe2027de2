"""Windows of rows: how often each holds each row, as every statistic here takes them, and how rows are cut in time."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.manifest import LABEL

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.floating[Any]]
"""How often each window holds each row, (rows, windows)."""
Key = TypeVar("Key", bound=Hashable)

_MAX_CELLS = 4_000_000  # rows x windows in one array: 16 MB of float32


def local_seconds(moments: npt.NDArray[np.int64], zone: tzinfo) -> npt.NDArray[np.int64]:
    """Return what a clock in the zone shows at these moments, as if it were seconds since the epoch."""
    local = pd.Series(pd.to_datetime(moments, unit="s", utc=True)).dt.tz_convert(zone).dt.tz_localize(None)
    return np.asarray(local.astype("datetime64[s]").astype("int64"))


def single_window(rows: int) -> Counts:
    """Return the counts, (rows, 1), of one window that holds each row once."""
    return np.ones((rows, 1))


class TimedRows(NamedTuple):
    """Rows as in the log, and when each was predicted or its label arrived, in seconds since the epoch, (rows,)."""

    rows: pd.DataFrame
    seconds: Numbers


class Measured(NamedTuple):
    """One statistic of many windows, and how many values each window had for it, (windows,) each."""

    values: Numbers
    sizes: Numbers


class WindowedRows(NamedTuple):
    """Rows, and which of them each of some windows has."""

    rows: pd.DataFrame
    places: Sequence[npt.NDArray[np.intp]]


@dataclass(frozen=True)
class CutRows:
    """Rows cut into windows: their order in time, and of each window its number, its first row and its size."""

    rows: pd.DataFrame
    order: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.int64]
    first: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.intp]
    min_rows: int

    @classmethod
    def of(cls, given: TimedRows, interval_seconds: int, min_rows: int) -> "CutRows":
        """Cut rows into windows that end on multiples of the interval; those with `min_rows` rows are measured."""
        order = np.argsort(given.seconds, kind="stable")
        number_of_window = (np.asarray(given.seconds)[order] // interval_seconds).astype(np.int64)
        numbers, first, sizes = np.unique(number_of_window, return_index=True, return_counts=True)
        return cls(given.rows, order, numbers, first, sizes, max(1, min_rows))

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """Which windows have rows enough."""
        return np.asarray(self.sizes >= self.min_rows)

    def sizes_of(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many rows each of these windows has."""
        found = np.zeros(len(numbers), dtype=np.int64)
        here = np.isin(self.numbers, numbers)
        found[np.searchsorted(numbers, self.numbers[here])] = self.sizes[here]
        return found

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        yield from zip(self.numbers.tolist(), self.first.tolist(), self.sizes.tolist(), strict=True)

    def windows(self, numbers: npt.NDArray[np.int64]) -> WindowedRows:
        """Return the rows, and which of them each of these windows has."""
        spans = {number: slice(start, start + size) for number, start, size in self._spans()}
        places = [self.order[spans.get(int(number), slice(0))] for number in numbers]
        return WindowedRows(self.rows, places)

    def spread(
        self,
        numbers: npt.NDArray[np.int64],
        reference_rows: int,
        measure: Callable[[pd.DataFrame, Counts, int], dict[Key, Measured]],
    ) -> dict[Key, Measured]:
        """Measure the windows that have rows enough; return what was found for all of `numbers`, NaN elsewhere."""
        kept = self.measured
        places = np.searchsorted(numbers, self.numbers[kept])
        first, sizes = self.first[kept], self.sizes[kept]
        found: dict[Key, Measured] = {}
        for chunk in places_together(sizes, reference_rows):
            rows_of_chunk = np.concatenate(
                [np.arange(start, start + size) for start, size in zip(first[chunk], sizes[chunk], strict=True)]
            )
            counts = np.zeros((len(rows_of_chunk), len(chunk)), dtype=np.float32)
            counts[np.arange(len(rows_of_chunk)), np.repeat(np.arange(len(chunk)), sizes[chunk])] = 1
            part = measure(self.rows.iloc[self.order[rows_of_chunk]], counts, self.min_rows)
            for name, (values, present) in part.items():
                whole = found.setdefault(name, Measured(np.full(len(numbers), np.nan), np.zeros(len(numbers))))
                whole.values[places[chunk]] = values
                whole.sizes[places[chunk]] = present
        return found


def places_together(sizes: npt.NDArray[np.intp], reference_rows: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the places of windows of so many rows that are measured together: no array gets too many cells."""
    start, rows = 0, 0
    for place, size in enumerate(sizes):
        rows += int(size)
        if place > start and (rows + reference_rows) * (place + 1 - start) > _MAX_CELLS:
            yield np.arange(start, place)
            start, rows = place, int(size)
    if start < len(sizes):
        yield np.arange(start, len(sizes))


def labelled_part(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows that have a label: all of an artifact's reference, and some of a service's own."""
    known = rows[LABEL].notna()
    return rows if known.all() else rows[known]
