"""Which encoded columns come from which feature: found by trying, so that it holds for any preprocessing."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.errors import ExplanationError
from model.manifest import Feature, Value

Numbers = npt.NDArray[np.float64]

_TRIED_NUMBERS = 51
_UNSEEN = "a value never seen in training"


def trial_rows(features: tuple[Feature, ...]) -> list[pd.DataFrame]:
    """Return for each feature rows that differ in it alone, in three blocks of equal length around three base rows.

    The values tried are all categories, a new one, a gap where one is allowed, and numbers across the range.
    """
    tried = [_tried(feature) for feature in features]
    bases = [[feature.example for feature in features], *([values[place] for values in tried] for place in (0, 1))]
    frames = []
    for place, values in enumerate(tried):
        rows = [[*base[:place], value, *base[place + 1 :]] for base in bases for value in values]
        frame = pd.DataFrame(rows, columns=[feature.name for feature in features], dtype=object)
        for feature in features:
            if feature.type == "number":
                frame[feature.name] = frame[feature.name].astype("float64")
            else:
                frame[feature.name] = frame[feature.name].map(str, na_action="ignore")
        frames.append(frame)
    return frames


def column_owners(encoded: list[Numbers], features: tuple[Feature, ...]) -> list[npt.NDArray[np.intp]]:
    """Return for each feature the places of its columns among the encoded ones; raises ExplanationError.

    `encoded` are the encoded trial rows of each feature, (rows, columns).
    """
    varies = np.array([_varying(rows) for rows in encoded])
    shared = np.flatnonzero(varies.sum(axis=0) > 1)
    if len(shared):
        names = [features[place].name for place in np.flatnonzero(varies[:, shared[0]])]
        raise ExplanationError(
            f"an input of the model's last step mixes features ({', '.join(names[:5])}), so that its part cannot be "
            "given to one of them"
        )
    return [np.flatnonzero(row) for row in varies]


def _varying(rows: Numbers) -> npt.NDArray[np.bool_]:
    blocks = rows.reshape(3, -1, rows.shape[1])
    first = blocks[:, :1]
    same = (blocks == first) | (np.isnan(blocks) & np.isnan(first))
    return np.asarray(~same.all(axis=(0, 1)))


def _tried(feature: Feature) -> list[Value]:
    gap: list[Value] = [None] if feature.nullable else []
    if feature.type == "boolean":
        return [True, False, *gap]
    if feature.type == "category":
        return [*(feature.categories or ()), _UNSEEN, *gap]
    low, high = feature.minimum or 0.0, feature.maximum or 0.0
    return [low, high, *np.linspace(low, high, _TRIED_NUMBERS)[1:-1].tolist(), *gap]
