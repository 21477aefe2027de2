"""Labelled rows to learn from, in the one form that the rest of this package works on."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.errors import DataError
from model.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Feature, FeatureType, Value

MINIMUM_ROWS_PER_CLASS = 10
"""Fewer cannot be divided into train, test and reference with some of each class in every part."""

Classes = tuple[bool, ...] | tuple[int, ...] | tuple[str, ...]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Rows and their true classes.

    `frame` has one column per feature in order: numbers as float64, categories and booleans as text ("True",
    "False") with None where missing. `codes` (n,) holds for each row the index of its class in `classes`.
    """

    name: str
    source: str
    target: str
    features: tuple[Feature, ...]
    classes: Classes
    frame: pd.DataFrame
    codes: Codes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes as text."""
        return tuple(str(value) for value in self.classes)

    @property
    def labels(self) -> npt.NDArray[np.object_]:
        """Return the name of each row's class."""
        return np.array(self.class_names, dtype=object)[self.codes]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the rows, their order, names and classes."""
        labelled = self.frame.assign(**{LABEL: self.labels})
        return hashlib.sha256(labelled.to_csv(index=False).encode()).hexdigest()


def describe_column(name: str, kind: FeatureType, values: pd.Series, unit: str | None = None) -> Feature:
    """Return the schema of one column: the range or the categories seen, and a typical value as example.

    Nullable, since the pipeline imputes whatever is missing (see `model.pipeline`).
    """
    seen = values.dropna()
    if seen.empty:
        raise DataError(f"column {name!r} is empty in every row; leave it out")
    if kind == "number":
        typical: Value = float(seen.quantile(0.5, interpolation="nearest"))
        low, high = float(seen.min()), float(seen.max())
        return Feature(name=name, type=kind, unit=unit, minimum=low, maximum=high, nullable=True, example=typical)
    most_frequent = str(seen.mode().iloc[0])
    if kind == "boolean":
        return Feature(name=name, type=kind, unit=unit, nullable=True, example=most_frequent == "True")
    categories = tuple(sorted(str(value) for value in seen.unique()))
    return Feature(name=name, type=kind, unit=unit, categories=categories, nullable=True, example=most_frequent)


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


def check_classes(target: str, class_names: tuple[str, ...], codes: Codes) -> None:
    """Refuse a target that cannot be learned and tested; raises DataError."""
    if len(class_names) < 2:
        only = f" (only {class_names[0]!r})" if class_names else ""
        raise DataError(f"column {target!r} has fewer than 2 classes{only}; there is nothing to tell apart")
    counts = np.bincount(codes, minlength=len(class_names))
    rare = [place for place in np.argsort(counts, kind="stable") if counts[place] < MINIMUM_ROWS_PER_CLASS]
    if rare:
        named = ", ".join(f"class {class_names[place]!r} has {counts[place]} rows" for place in rare[:5])
        more = f" and {len(rare) - 5} more are rare" if len(rare) > 5 else ""
        raise DataError(
            f"column {target!r}: {named}{more}; each class needs at least {MINIMUM_ROWS_PER_CLASS} to be trained on "
            "and tested; add rows, put classes together or remove these rows"
        )
