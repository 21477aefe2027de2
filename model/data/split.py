"""Dividing the rows into a training, a test and a reference part."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from model.data.dataset import Codes
from model.errors import DataError

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Shares:
    """What part of the rows goes where; each is above 0 and together they make 1."""

    train: float = 0.5
    test: float = 0.2
    reference: float = 0.3

    def __post_init__(self) -> None:
        """Refuse shares that do not divide the rows."""
        parts = (self.train, self.test, self.reference)
        if min(parts) <= 0 or abs(sum(parts) - 1) > 1e-9:
            raise DataError(f"the shares {parts} must each be above 0 and add up to 1")


@dataclass(frozen=True)
class Split:
    """Positions of the rows of each part, ascending; the parts share no row and together hold every row."""

    train: Positions
    test: Positions
    reference: Positions


def split_held_out(strata: Codes, seed: int, reference_share: float = 0.6) -> Split:
    """Divide rows that a model was not fitted on into test and reference, with each stratum alike in both.

    `strata` (n,) are the classes, or groups of small and large numbers. Raises DataError when one is too small.
    """
    try:
        test, reference = train_test_split(
            np.arange(len(strata)), test_size=reference_share, stratify=strata, random_state=seed
        )
    except ValueError as error:
        raise DataError(f"the rows cannot be divided with every class in each part: {error}") from error
    return Split(np.array([], dtype=np.intp), np.sort(test), np.sort(reference))


def split_in_time(times: npt.NDArray[np.float64], strata: Codes, shares: Shares) -> Split:
    """Divide rows in the order of `times` (n,): the earliest train, later ones test, the latest are the reference.

    Raises DataError where a class, or a group of small or large numbers, is missing from the training rows.
    """
    order = np.argsort(times, kind="stable")
    bounds = np.round(np.cumsum([shares.train, shares.test]) * len(order)).astype(int)
    train, test, reference = np.split(order, bounds)
    if min(len(train), len(test), len(reference)) == 0:
        raise DataError(f"{len(order)} rows are too few to divide in the order of time")
    lacking = np.setdiff1d(strata, strata[train])
    if len(lacking):
        raise DataError(
            f"{len(lacking)} classes or groups of numbers are in later rows only, so the earlier rows cannot train a "
            "model of them; give a longer history, or divide the rows with --split random"
        )
    return Split(np.sort(train), np.sort(test), np.sort(reference))


def split_rows(strata: Codes, shares: Shares, seed: int) -> Split:
    """Divide rows at random with each stratum in the same proportion in every part.

    `strata` (n,) are the classes, or groups of small and large numbers. Raises DataError when one is too small.
    """
    try:
        train, held_out = train_test_split(
            np.arange(len(strata)), train_size=shares.train, stratify=strata, random_state=seed
        )
        test_share = shares.test / (shares.test + shares.reference)
        test, reference = train_test_split(
            held_out, train_size=test_share, stratify=strata[held_out], random_state=seed
        )
    except ValueError as error:
        raise DataError(f"the rows cannot be divided with every class in each part: {error}") from error
    return Split(np.sort(train), np.sort(test), np.sort(reference))
