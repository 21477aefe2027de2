"""Labelled rows, in the one form that the rest of this package works on."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    Feature,
    FeatureType,
    NumberRange,
    Task,
)
from model.data.encoding import ENCODINGS
from model.errors import DataError

MIN_ROWS_PER_CLASS = 10
"""Fewer cannot be divided into train, test and reference with some of each class in every part."""
MIN_ROWS_OF_NUMBERS = 50
"""Rows of a numeric target: fewer leave less than ten to test on."""
_ROWS_PER_STRATUM, _MAX_STRATA = 20, 10
_MODEL_NAME = re.compile(r"[\w .,+()-]{1,100}")
_ABSURD = 1e8  # times the range of the middle half

Classes = tuple[bool, ...] | tuple[int, ...] | tuple[str, ...]
Codes = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


class RowTimes(NamedTuple):
    """When each row happened, in seconds since the epoch, (rows,), and the column and time zone that say so."""

    column: str
    zone: str
    seconds: Numbers


@dataclass(frozen=True)
class LabelledRows(ABC):
    """Rows and their labels, whether these are classes or numbers.

    `frame` has one column per feature in order: numbers as float64, categories and booleans as text ("True",
    "False") with None where missing. `times` says when the rows happened, where that is known. `metadata` names further
    columns that a row may bring along, and `dropped` says of columns of the file why they are no features. Rows are
    divided by `segments` and compared by `fairness`; those of them that are metadata, and in the file, are in
    `segment_values`, under their names with SEGMENT_PREFIX before them.
    """

    task: ClassVar[Task]

    name: str
    source: str
    target: str
    features: tuple[Feature, ...]
    frame: pd.DataFrame
    times: RowTimes | None = field(default=None, kw_only=True)
    metadata: tuple[str, ...] = field(default=(), kw_only=True)
    dropped: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    segments: tuple[str, ...] = field(default=(), kw_only=True)
    fairness: tuple[str, ...] = field(default=(), kw_only=True)
    segment_values: pd.DataFrame = field(default_factory=pd.DataFrame, kw_only=True)

    @property
    @abstractmethod
    def labels(self) -> npt.NDArray[Any]:
        """Return each row's label as in the artifact's frames, (n,)."""

    @property
    @abstractmethod
    def targets(self) -> npt.NDArray[Any]:
        """Return what a pipeline is fitted on, (n,)."""

    @property
    @abstractmethod
    def strata(self) -> Codes:
        """Return groups of rows, (n,), of which every part of a division gets its share."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of the rows, their order, names and labels."""
        labelled = self.frame.assign(**{LABEL: self.labels})
        return hashlib.sha256(labelled.to_csv(index=False).encode()).hexdigest()


@dataclass(frozen=True)
class Dataset(LabelledRows):
    """Rows and their true classes; `codes` (n,) holds for each row the index of its class in `classes`."""

    task = "classification"

    classes: Classes
    codes: Codes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes as text."""
        return tuple(str(value) for value in self.classes)

    @property
    def labels(self) -> npt.NDArray[np.object_]:
        """Return the name of each row's class."""
        return np.array(self.class_names, dtype=object)[self.codes]

    @property
    def targets(self) -> Codes:
        """Return the codes: a pipeline learns these."""
        return self.codes

    @property
    def strata(self) -> Codes:
        """Return the codes: every part has some rows of each class."""
        return self.codes


@dataclass(frozen=True)
class RegressionDataset(LabelledRows):
    """Rows and the true number of each, `numbers` (n,)."""

    task = "regression"

    numbers: Numbers
    unit: str | None = field(default=None, kw_only=True)

    @property
    def labels(self) -> Numbers:
        """Return the numbers."""
        return self.numbers

    @property
    def targets(self) -> Numbers:
        """Return the numbers."""
        return self.numbers

    @property
    def strata(self) -> Codes:
        """Return up to ten groups of rows from the smallest to the largest numbers, of 20 rows or more."""
        groups = min(_MAX_STRATA, max(1, len(self.numbers) // _ROWS_PER_STRATUM))
        ranks = np.empty(len(self.numbers), dtype=np.int64)
        ranks[np.argsort(self.numbers, kind="stable")] = np.arange(len(self.numbers))
        return ranks * groups // len(self.numbers)

    @property
    def label_range(self) -> NumberRange:
        """Return what the numbers span."""
        return NumberRange(
            minimum=float(self.numbers.min()),
            maximum=float(self.numbers.max()),
            mean=float(self.numbers.mean()),
            standard_deviation=float(self.numbers.std()),
            unit=self.unit,
        )


AnyDataset = Dataset | RegressionDataset


def describe_column(name: str, kind: FeatureType, values: pd.Series, unit: str | None = None) -> Feature:
    """Return the schema of one column: the range or the categories seen, and a typical value as example.

    Nullable, since the pipeline imputes whatever is missing (see `model.training.pipelines`).
    """
    seen = values.dropna()
    if seen.empty:
        raise DataError(f"column {name!r} is empty in every row; leave it out")
    return Feature(name=name, type=kind, unit=unit, nullable=True, **ENCODINGS[kind].describe(seen))


def check_model_name(name: str) -> None:
    """Refuse a name that is not fit for pages, addresses and file names; raises DataError."""
    if not _MODEL_NAME.fullmatch(name):
        raise DataError(
            f"{name[:100]!r} cannot be the name of a model, which is that of its file unless --name gives another; "
            "use 1 to 100 letters, digits, spaces and . , _ + - ( )"
        )


def check_feature_names(names: tuple[str, ...]) -> None:
    """Refuse names that frames could not tell apart from their own columns; raises DataError."""
    for position, name in enumerate(names):
        if not name:
            raise DataError(f"column {position + 1} has no name")
        if name in names[:position]:
            raise DataError(f"column {name!r} occurs twice; rename one")
        if name in {PREDICTION, LABEL} or name.startswith(PROBABILITY_PREFIX):
            raise DataError(
                f"column {name!r} has a reserved name ({PREDICTION}, {LABEL} and {PROBABILITY_PREFIX}* "
                "are added to the rows that are logged); rename it"
            )


def check_classes(target: str, class_names: tuple[str, ...], codes: Codes, hint: str = "") -> None:
    """Refuse a target that cannot be learned and tested; raises DataError, which ends with the hint."""
    if len(class_names) < 2:
        only = f" (only {class_names[0]!r})" if class_names else ""
        raise DataError(f"column {target!r} has fewer than 2 classes{only}; there is nothing to predict")
    counts = np.bincount(codes, minlength=len(class_names))
    rare = [place for place in np.argsort(counts, kind="stable") if counts[place] < MIN_ROWS_PER_CLASS]
    if rare:
        named = ", ".join(f"class {class_names[place]!r} has {counts[place]} rows" for place in rare[:5])
        more = f" and {len(rare) - 5} more are rare" if len(rare) > 5 else ""
        raise DataError(
            f"column {target!r}: {named}{more}; each class needs at least {MIN_ROWS_PER_CLASS} to be trained on "
            f"and tested; add rows, put classes together or remove these rows{hint}"
        )


def check_numbers(target: str, numbers: Numbers, lines: Sequence[int]) -> None:
    """Refuse a numeric target that cannot be learned and tested; raises DataError that names the line, (n,) of them."""
    if len(numbers) < MIN_ROWS_OF_NUMBERS:
        raise DataError(
            f"column {target!r}: {len(numbers)} rows; a number needs at least {MIN_ROWS_OF_NUMBERS} rows to be "
            "trained on and tested"
        )
    # a deviation that is lost in the rounding of the numbers is none
    if float(numbers.std()) <= 1e-12 * float(np.abs(numbers).max()):
        raise DataError(f"column {target!r} is {numbers[0]:g} in every row; there is nothing to predict")
    low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
    distances = np.abs(numbers - middle)
    farthest = int(distances.argmax())
    if high > low and distances[farthest] > _ABSURD * (high - low):
        raise DataError(
            f"column {target!r}, line {lines[farthest]}: {numbers[farthest]:g} is far from the others, half "
            f"of which lie from {low:g} to {high:g}; it would dominate all error measures: correct it, remove the row, "
            "or predict a logarithm"
        )
