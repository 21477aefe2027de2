"""The rows of the traffic: an artifact's hold-out rows with their true labels, as JSON values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.artifact.manifest import LABEL, Feature
from model.artifact.store import read_reference, read_test
from model.data.encoding import json_rows, number_features
from scripts.load.errors import NoSuchTrafficError

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
"""One row as its JSON object: numbers, strings, booleans and null by feature name."""

ClassValue = str | int | bool
"""A class as the API takes and gives it in JSON."""
LabelValue = ClassValue | float
"""A label as the API takes it: a class, or a number."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Rows that fit a model's schema."""

    features: tuple[Feature, ...]
    rows: tuple[Row, ...]

    def coordinates(self) -> Matrix:
        """Return the rows as standardized numbers, shape (rows, columns), mean 0 and deviation 1 per column.

        The columns are the numeric features; a model without any gets an indicator for each category instead.
        A missing number stands at the mean. Columns that do not vary are left out; raises
        NoSuchTrafficError if none is left.
        """
        names = [feature.name for feature in number_features(self.features)]
        table = self._numbers(names) if names else self._indicators()
        deviation = table.std(axis=0)
        varying = deviation > 0
        if not varying.any():
            raise NoSuchTrafficError("no feature varies in the hold-out rows, so their distribution cannot be shifted")
        return np.asarray((table[:, varying] - table[:, varying].mean(axis=0)) / deviation[varying], dtype=np.float64)

    def _numbers(self, names: Sequence[str]) -> Matrix:
        table = np.array([[row[name] for name in names] for row in self.rows], dtype=np.float64)
        filled = np.ma.masked_invalid(table)
        return np.asarray(filled.filled(filled.mean(axis=0)), dtype=np.float64)

    def _indicators(self) -> Matrix:
        table = []
        for feature in self.features:
            cells = [str(row[feature.name]) for row in self.rows]
            table.extend([[cell == value for cell in cells] for value in sorted(set(cells))])
        return np.array(table, dtype=np.float64).T


@dataclass(frozen=True)
class ClassificationPool(Rows):
    """Rows and the class of each, as an index into `classes`."""

    classes: tuple[ClassValue, ...]
    class_indexes: NDArray[np.int64]

    @property
    def labels(self) -> tuple[ClassValue, ...]:
        """Return the class of each row."""
        return self.named(self.class_indexes)

    def named(self, class_indexes: NDArray[np.int64]) -> tuple[ClassValue, ...]:
        """Return the classes that have these indexes."""
        return tuple(self.classes[index] for index in class_indexes.tolist())


@dataclass(frozen=True)
class RegressionPool(Rows):
    """Rows and the number that is true of each."""

    numbers: Matrix

    @property
    def labels(self) -> tuple[float, ...]:
        """Return the number of each row."""
        return tuple(self.numbers.tolist())


Pool = ClassificationPool | RegressionPool


def read_pool(folder: Path, features: Sequence[Feature], classes: Sequence[ClassValue] | None) -> Pool:
    """Return the hold-out rows of an artifact folder, typed by the API's own schema; raises ArtifactError.

    `classes` are None where the model predicts numbers. The test set comes first, then the reference set. The model
    was fitted on neither.
    """
    frame = _hold_out(folder)
    rows = tuple(json_rows(frame, features))
    if classes is None:
        return RegressionPool(tuple(features), rows, frame[LABEL].to_numpy(dtype=np.float64))
    names = [str(value) for value in classes]
    return ClassificationPool(tuple(features), rows, tuple(classes), _class_indexes(frame, names))


def read_rows(folder: Path, features: Sequence[Feature]) -> tuple[Row, ...]:
    """Return the rows of `read_pool` alone; raises ArtifactError."""
    return tuple(json_rows(_hold_out(folder), features))


def _hold_out(folder: Path) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - help and a wrong address need no pandas

    return pd.concat([read_test(folder), read_reference(folder)], ignore_index=True)


def _class_indexes(frame: "pd.DataFrame", names: list[str]) -> NDArray[np.int64]:
    return np.array([names.index(str(label)) for label in frame[LABEL]], dtype=np.int64)
