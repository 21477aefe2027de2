"""The data sets that come with scikit-learn."""

import re
from functools import partial
from typing import Any, Literal, get_args, overload

import numpy as np
from sklearn import datasets as sklearn_datasets

from model.data.dataset import AnyDataset, Dataset, RegressionDataset, describe_column

BundledName = Literal["iris", "wine", "breast_cancer"]
BundledRegressionName = Literal["diabetes"]
BUNDLED_NAMES: tuple[str, ...] = get_args(BundledName) + get_args(BundledRegressionName)

_UNIT = re.compile(r"\s*\((?P<unit>[^)]*)\)\s*$")
_TARGETS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis", "diabetes": "progression"}


@overload
def load_bundled(name: BundledName) -> Dataset: ...
@overload
def load_bundled(name: BundledRegressionName) -> RegressionDataset: ...


def load_bundled(name: BundledName | BundledRegressionName) -> AnyDataset:
    """Return one of scikit-learn's data sets; feature names become identifiers, "(cm)" becomes a unit."""
    loaders = {
        "iris": sklearn_datasets.load_iris,
        "wine": sklearn_datasets.load_wine,
        "breast_cancer": sklearn_datasets.load_breast_cancer,
        # in the units they were measured in, which callers send
        "diabetes": partial(sklearn_datasets.load_diabetes, scaled=False),
    }
    raw: Any = loaders[name](as_frame=True)
    named = [feature_identifier(str(original)) for original in raw.data.columns]
    frame = raw.data.astype("float64").set_axis([identifier for identifier, _ in named], axis=1)
    features = tuple(describe_column(identifier, "number", frame[identifier], unit) for identifier, unit in named)
    source, target = f"scikit-learn: {name}", _TARGETS[name]
    if name == "diabetes":
        numbers = np.asarray(raw.target, dtype=np.float64)
        return RegressionDataset(
            name=name, source=source, target=target, features=features, frame=frame, numbers=numbers
        )
    return Dataset(
        name=name,
        source=source,
        target=target,
        features=features,
        classes=tuple(str(value) for value in raw.target_names),
        frame=frame,
        codes=np.asarray(raw.target, dtype=np.int64),
    )


def feature_identifier(original: str) -> tuple[str, str | None]:
    """Return a name fit for code and JSON, and the unit given in trailing parentheses if there is one."""
    match = _UNIT.search(original)
    unit = match["unit"] if match else None
    bare = original[: match.start()] if match else original
    identifier = re.sub(r"\W+", "_", bare, flags=re.ASCII).strip("_").lower()
    return (f"_{identifier}" if identifier[:1].isdigit() else identifier), unit
