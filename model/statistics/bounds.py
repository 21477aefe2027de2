"""Predictive bounds: how far a share, or a mean error, of a window may stray by chance."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom
from scipy.stats import f as f_distribution

from model.artifact.manifest import ClassifierManifest, Manifest, RegressorManifest
from model.data.encoding import encoding_of
from model.statistics.windows import Numbers

SMALLEST_EFFECT = 0.05
"""A change of a share by less than this is never worth an alarm, however certain it is; nor one of a mean absolute
error by less than this part of the standard deviation of the labels."""

MIN_ROWS_OF_SPREAD = 30


def highest_share(hits: int, rows: int, window_rows: int, alarm_rate: float) -> float:
    """Return the largest share that a window may have, given `hits` of `rows` in the reference.

    A window of `window_rows` exceeds it with probability at most `alarm_rate` while nothing changed. With
    a Jeffreys prior the share is Beta(hits + 1/2, rows - hits + 1/2), so the window's count is
    Beta-binomial; its upper quantile allows for the chance in the reference and in the window. The bound
    is at least the reference share plus SMALLEST_EFFECT. Source: posterior predictive of a binomial
    count, e.g. Gelman et al., Bayesian Data Analysis, 3rd ed., sections 2.4 and 2.8.
    """
    count = betabinom.ppf(1 - alarm_rate, window_rows, hits + 0.5, rows - hits + 0.5)
    return max(float(count) / window_rows, hits / rows + SMALLEST_EFFECT)


def commonest_values(values: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Return how often the most common of some numbers occurs, and how many occur at least half as often."""
    _, counts = np.unique(values, return_counts=True)
    return int(counts.max()), int((2 * counts >= counts.max()).sum())


def highest_stuck_share(hits: int, alike: int, rows: int, window_rows: int, alarm_rate: float) -> float:
    """Return the largest share that one number may have in a window; a column with more of it is stuck.

    In the reference the most common number has `hits` of `rows`, and `alike` numbers occur nearly as often: in a window
    each of them may be the most common, so they share the rate of `highest_share`. Nothing is called stuck before the
    most common number has half of what it left to others.
    """
    if not window_rows:
        return 1.0
    return max(highest_share(hits, rows, window_rows, alarm_rate / alike), (1 + hits / rows) / 2)


def lowest_share(hits: int, rows: int, window_rows: int, alarm_rate: float) -> float:
    """Return the smallest share that a window may have, given `hits` of `rows` on held-out data.

    The mirror image of `highest_share`: at most the held-out share minus SMALLEST_EFFECT.
    """
    count = betabinom.ppf(alarm_rate, window_rows, hits + 0.5, rows - hits + 0.5)
    return min(float(count) / window_rows, hits / rows - SMALLEST_EFFECT)


def highest_mean(mean: float, deviation: float, rows: int, window_rows: int, alarm_rate: float) -> float:
    """Return the largest mean that absolute errors of a window may have.

    `mean` and `deviation` (their standard deviation) were seen on `rows` held-out rows. Absolute errors are skewed to
    the right, so a normal bound would alarm too often. They are taken to be Gamma distributed with shape
    k = (mean / deviation)^2: then the mean of a window over that of the held-out rows follows an F distribution with
    2 k window_rows and 2 k rows degrees of freedom (sums of Gammas are Gammas, e.g. Johnson, Kotz and Balakrishnan,
    Continuous Univariate Distributions 1, chapter 17), which allows for the chance in both. Seen in simulations at a
    rate of 1 in 1,000: 0.6 to 1.3 in 1,000 for the errors of a normal distribution, 0.8 to 2.4 for those of a Laplace
    distribution, 3 to 12 with tails as heavy as a t distribution's with 3 degrees of freedom.
    """
    if deviation <= 0 or mean <= 0:
        return mean
    shape = (mean / deviation) ** 2
    return mean * float(f_distribution.ppf(1 - alarm_rate, 2 * shape * window_rows, 2 * shape * rows))


def quality_alarm_rate(manifest: Manifest) -> float:
    """Return the false alarm rate of each share of data quality; all of them together have the model's.

    There are up to three shares for each feature: of missing values, of values outside what training has seen, where it
    has a recorded range, and of the most common value, where it is a number.
    """
    encodings = [(encoding_of(feature), feature) for feature in manifest.features]
    shares = sum(1 + encoding.has_range(feature) + encoding.is_number for encoding, feature in encodings)
    return manifest.false_alarm_rate / shares


def lowest_accuracy(labels: int, right: npt.NDArray[np.bool_], manifest: ClassifierManifest) -> float:
    """Return the accuracy below which a window with this many labels is worse than held-out data explain.

    Held-out data are the test set and the reference, for whose rows `right` (rows,) says whether the prediction is the
    label; see `lowest_share`, at half of the model's false alarm rate: the recalls have the other half. Where rows are
    divided into segments, these have half of both.
    """
    correct, rows = manifest.quality.correct + int(right.sum()), manifest.quality.rows + len(right)
    return lowest_share(correct, rows, labels, _whole_rate(manifest) / 2)


def lowest_recall(labels: int, name: str, right_of_class: npt.NDArray[np.bool_], manifest: ClassifierManifest) -> float:
    """Return the recall of a class below which a window with so many labels of it is worse than held-out data explain.

    Held-out data are as for `lowest_accuracy`, but of this class alone. The classes share half of the model's false
    alarm rate. Measured: without the recalls, and accuracy alone at the whole rate, a model that got all digits 3 wrong
    failed in 13 % of windows of 200 digits; with them it fails in all but 0.3 %. Of windows in control no more fail.
    """
    known = manifest.quality.per_class[name]
    hits, rows = round(known.recall * known.rows) + int(right_of_class.sum()), known.rows + len(right_of_class)
    if rows == 0:
        return 0.0
    return lowest_share(hits, rows, labels, _whole_rate(manifest) / 2 / len(manifest.classes))


def highest_mean_absolute_error(labels: int, errors: Numbers, manifest: RegressorManifest) -> float:
    """Return the error above which a window with this many labels is worse than held-out data explain.

    Held-out data are the test set and the reference, whose `errors` (rows,) are prediction - label; see `highest_mean`,
    at the model's false alarm rate. The bound is at least SMALLEST_EFFECT standard deviations of the training labels
    above the held-out error.
    """
    quality, absolute = manifest.quality, np.abs(errors)
    rows = quality.rows + len(absolute)
    mean = (quality.rows * quality.mean_absolute_error + float(absolute.sum())) / rows
    squares = (quality.rows * quality.root_mean_squared_error**2 + float(np.square(absolute).sum())) / rows
    deviation = math.sqrt(max(squares - mean**2, 0.0))
    bound = highest_mean(mean, deviation, rows, labels, _whole_rate(manifest))
    return max(bound, mean + SMALLEST_EFFECT * manifest.label_range.standard_deviation)


def _whole_rate(manifest: Manifest) -> float:
    """Return the false alarm rate of the scores of all rows: half of the model's where segments have the other."""
    return manifest.false_alarm_rate / (2 if manifest.segments else 1)


class ScoreSummary(NamedTuple):
    """What some scores say: their number, mean and standard deviation, NaN where there are none."""

    rows: int
    mean: float
    deviation: float


def summary_of(scores: Numbers) -> ScoreSummary:
    """Return what some scores, (rows,), say."""
    return ScoreSummary(len(scores), *((float(scores.mean()), float(scores.std())) if len(scores) else (math.nan,) * 2))


def segment_bound(
    labels: int, of_segment: ScoreSummary, of_all: ScoreSummary, manifest: Manifest, segments: int
) -> tuple[float, float]:
    """Return the usual score of a segment, and the one beyond which a window with so many labels of it is worse.

    Scores of the reference are 1 or 0 for a right or wrong prediction, or absolute errors; so the bound is the lowest
    accuracy or the highest mean absolute error. A segment is compared with its own rows of the reference, be they few,
    as that widens the bound; one that the reference lacks with all rows. All segments of the window that have labels
    enough share half of the model's false alarm rate.
    """
    rate = manifest.false_alarm_rate / 2 / max(1, segments)
    known = of_segment if of_segment.rows else of_all
    if not known.rows:
        return math.nan, math.nan
    usual = known.mean
    if isinstance(manifest, ClassifierManifest):
        return usual, lowest_share(round(usual * known.rows), known.rows, labels, rate)
    # the spread of few errors says little: theirs is then as wide, for their mean, as that of all
    spread = known if known.rows >= MIN_ROWS_OF_SPREAD else of_all
    deviation = usual * spread.deviation / spread.mean if spread.mean > 0 else 0.0
    bound = highest_mean(usual, deviation, known.rows, labels, rate)
    return usual, max(bound, usual + SMALLEST_EFFECT * manifest.label_range.standard_deviation)
