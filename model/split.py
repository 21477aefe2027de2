"""Dividing the rows: some to train on, some to test, some to compare later windows with (the reference)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from model.dataset import Codes
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


def split_held_out(codes: Codes, seed: int, reference_share: float = 0.6) -> Split:
    """Divide rows that a model was not fitted on into test and reference, with each class alike in both.

    Raises DataError when a class is too small for that.
    """
    try:
        test, reference = train_test_split(
            np.arange(len(codes)), test_size=reference_share, stratify=codes, random_state=seed
        )
    except ValueError as error:
        raise DataError(f"the rows cannot be divided with every class in each part: {error}") from error
    return Split(np.array([], dtype=np.intp), np.sort(test), np.sort(reference))


def split_rows(codes: Codes, shares: Shares, seed: int) -> Split:
    """Divide rows at random with each class in the same proportion in every part.

    Raises DataError when a class is too small for that.
    """
    try:
        train, held_out = train_test_split(
            np.arange(len(codes)), train_size=shares.train, stratify=codes, random_state=seed
        )
        test_share = shares.test / (shares.test + shares.reference)
        test, reference = train_test_split(held_out, train_size=test_share, stratify=codes[held_out], random_state=seed)
    except ValueError as error:
        raise DataError(f"the rows cannot be divided with every class in each part: {error}") from error
    return Split(np.sort(train), np.sort(test), np.sort(reference))
