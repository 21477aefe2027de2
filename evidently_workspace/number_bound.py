"""The mean absolute error above which a window is worse than held-out data explain. Imports no Evidently."""

import math

import numpy as np
import pandas as pd

from evidently_workspace.bounds import SMALLEST_EFFECT, highest_mean
from model.manifest import LABEL, PREDICTION, RegressorManifest


def highest_mean_absolute_error(labels: int, reference: pd.DataFrame, manifest: RegressorManifest) -> float:
    """Return the error above which a window with this many labels is worse than held-out data explain.

    Held-out data are the test set and the rows of the reference; see `bounds.highest_mean`, at the model's false alarm
    rate. It is at least SMALLEST_EFFECT standard deviations of the training labels above the held-out error.
    """
    quality = manifest.quality
    errors = (reference[PREDICTION] - reference[LABEL]).abs().to_numpy("float64")
    rows = quality.rows + len(errors)
    mean = (quality.rows * quality.mean_absolute_error + float(errors.sum())) / rows
    squares = (quality.rows * quality.root_mean_squared_error**2 + float(np.square(errors).sum())) / rows
    spread = math.sqrt(max(squares - mean**2, 0.0))
    bound = highest_mean(mean, spread, rows, labels, manifest.false_alarm_rate)
    return max(bound, mean + SMALLEST_EFFECT * manifest.label_range.standard_deviation)
