"""How often segments fail by chance, all of a window together: what the false alarm rate promises."""

import math

import numpy as np
import pytest

from model.artifact.manifest import ClassifierManifest, NumberRange, RegressorManifest
from model.statistics.bounds import segment_bound, summary_of

RATE = 0.1
"""Segments share half of it."""
WINDOWS, SEGMENTS, LABELS, REFERENCE = 400, 6, 40, 120
SHARE = RATE / 2
HIGHEST = SHARE + 3 * math.sqrt(SHARE * (1 - SHARE) / WINDOWS)
CLASSIFIER = ClassifierManifest.model_construct(false_alarm_rate=RATE)
RANGE = NumberRange.model_construct(standard_deviation=1.0)
REGRESSOR = RegressorManifest.model_construct(false_alarm_rate=RATE, label_range=RANGE)


def answers(rng: np.random.Generator, *size: int, worse: bool = False) -> np.ndarray:
    return (rng.random(size) < (0.5 if worse else 0.85)).astype(np.float64)


def errors(rng: np.random.Generator, *size: int, worse: bool = False) -> np.ndarray:
    return np.abs(rng.normal(0, 2.0 if worse else 1.0, size))


def failing_windows(manifest, draw, *, worse: bool = False, shared_by: int = SEGMENTS) -> float:
    """Return the share of windows in which a segment fails; each has a reference of its own, as it is drawn too."""
    rng, failed = np.random.default_rng(0), 0
    for _ in range(WINDOWS if not worse else 100):
        reference = draw(rng, SEGMENTS, REFERENCE)
        window = draw(rng, SEGMENTS, LABELS)
        if worse:
            window[0] = draw(rng, LABELS, worse=True)
        limits = np.array(
            [
                segment_bound(LABELS, summary_of(one), summary_of(reference.ravel()), manifest, shared_by)[1]
                for one in reference
            ]
        )
        scores = window.mean(axis=1)
        failed += bool((scores < limits).any() if manifest is CLASSIFIER else (scores > limits).any())
    return failed / (WINDOWS if not worse else 100)


@pytest.mark.parametrize(("manifest", "draw"), [(CLASSIFIER, answers), (REGRESSOR, errors)])
def test_all_segments_of_a_window_together_keep_their_half_of_the_rate(manifest, draw) -> None:
    assert failing_windows(manifest, draw) <= HIGHEST
    assert failing_windows(manifest, draw, worse=True) > 0.8


def test_segments_that_did_not_share_the_rate_would_break_it() -> None:
    assert failing_windows(CLASSIFIER, answers, shared_by=1) > 1.5 * HIGHEST
