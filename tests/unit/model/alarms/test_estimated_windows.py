"""Estimates of many windows at once are those of each window alone."""

import numpy as np
import pandas as pd
import pytest

from model.alarms.window_values import Model, Name, measure_windows
from model.artifact.manifest import PREDICTION, Calibration
from model.statistics.estimation import intervals, window_moments
from model.training.fit_estimates import fit_class_estimates

HOUR = 3_600


def test_the_windows_of_a_backtest_are_estimated_as_snapshots_are():
    rng = np.random.default_rng(0)
    chance = rng.random(400)
    both = np.column_stack([1 - chance, chance])
    labels, answers = (rng.random(400) < chance).astype(np.intp), both.argmax(axis=1)
    rows = pd.DataFrame({"probability_no": 1 - chance, "probability_yes": chance})
    rows[PREDICTION] = np.array(["no", "yes"], dtype=object)[answers]
    seconds = np.sort(rng.integers(0, 5 * HOUR, 400)).astype(np.float64)
    estimates = fit_class_estimates(both, labels, answers)
    calibration = Calibration(probabilities=(0.0, 1.0), calibrated=(0.1, 0.9), rows=400)
    mixed = rng.permutation(400)

    windows = measure_windows(
        rows.iloc[mixed], seconds[mixed], HOUR, Model((), {}, calibration, rows), estimates=estimates
    )

    assert len(windows.starts) == 5
    for place, start in enumerate(windows.starts):
        alone = rows[(seconds >= start) & (seconds < start + HOUR)]
        found = intervals([window_moments(alone, ("no", "yes"), estimates)], estimates, HOUR)
        for name, one in found.items():
            for end, values in zip(("", "_low", "_high"), one, strict=True):
                value = windows.values[Name(f"estimated_{name}{end}", None)][place]
                assert value == pytest.approx(values[0])
