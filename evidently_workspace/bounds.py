"""How far a share may stray by chance: Beta-binomial predictive bounds."""

from scipy.stats import betabinom

SMALLEST_EFFECT = 0.05
"""A change of a share by less than this is never worth an alarm, however certain it is."""


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


def lowest_share(hits: int, rows: int, window_rows: int, alarm_rate: float) -> float:
    """Return the smallest share that a window may have, given `hits` of `rows` on held-out data.

    The mirror image of `highest_share`: at most the held-out share minus SMALLEST_EFFECT.
    """
    count = betabinom.ppf(alarm_rate, window_rows, hits + 0.5, rows - hits + 0.5)
    return min(float(count) / window_rows, hits / rows - SMALLEST_EFFECT)
