"""The smallest changes that are worth an alarm, and how a value of many windows is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.alarms.policy import AlarmPolicy
from model.alarms.window_values import Model, Name
from model.artifact.manifest import LABEL, PREDICTION, ErrorCalibration, Manifest, RegressorManifest
from model.artifact.traffic import LEVELS
from model.statistics.bounds import SMALLEST_EFFECT
from model.statistics.lasting import LevelStatistic

Numbers = npt.NDArray[np.float64]

MAX_JENSENSHANNON = sqrt(log(2))
"""The largest distance, in nats."""
_DISTANCES = frozenset({"data_drift", "prediction_drift", "target_drift"})
UNSEEN_SHARES = frozenset({"out_of_range_share", "new_category_share"})
"""The shares of values that training has not seen."""
_SHARES = frozenset({"missing_share", "stuck_share"}) | UNSEEN_SHARES
_Z = frozenset({"concept_z", "concept_size_z", "concept_bias_z"})
SMALLEST_Z = 1.0
"""A z that is less than one standard deviation beyond the usual one says nothing."""


_DIRECTIONS: dict[str, Literal["both", "above", "below"]] = {"accuracy": "below"}
_DIRECTIONS |= dict.fromkeys(("concept_gap", "random_label_share", "concept_size_gap", "mean_absolute_error"), "above")
_NO_LONGER_GATHERED = "flipped_share"  # bad days raise it, too; older alarms have it


@dataclass(frozen=True)
class Statistic:
    """One statistic of many windows: where it is in a snapshot's values, its direction and scale.

    No alarm is worth less than `smallest_effect` beyond the usual, however steady the history. No value goes beyond
    `bound`: a share not beyond 1.
    """

    name: str
    column: str | None
    values: Numbers
    smallest_effect: float
    above: bool = True
    logarithmic: bool = True
    bound: float | None = None


@dataclass(frozen=True)
class SmallestEffects:
    """The smallest changes that are worth an alarm: of the drift of each column, of attributions, of concept gaps.

    `error` is that of a mean absolute error, in the unit of the target; 0 for a classifier. `bounded` are the columns
    whose drift is a Jensen-Shannon distance.
    """

    drift: Mapping[str, float]
    attribution: float
    concept_gap: float
    error: float = 0.0
    bounded: frozenset[str] = frozenset()

    def statistic(self, name: Name, values: Numbers) -> Statistic | None:
        """Return a value of many windows as a statistic; None for one that no alarm looks at by itself."""
        key = name.name
        if key in _DISTANCES:
            column = {"prediction_drift": PREDICTION, "target_drift": LABEL}.get(key, name.column or "")
            effect = self.drift.get(column)
            bound = MAX_JENSENSHANNON if column in self.bounded else None
            return None if effect is None else Statistic(key, column, values, effect, bound=bound)
        if key in _SHARES:
            return Statistic(key, name.column, values, SMALLEST_EFFECT, bound=1.0)
        if key in _Z:
            return Statistic(key, None, values, SMALLEST_Z, logarithmic=False)
        low: dict[str, Any] = {"above": False, "logarithmic": False, "bound": 0.0}
        return {
            "accuracy": Statistic(key, None, values, SMALLEST_EFFECT, **low),
            "recall_by_class": Statistic(key, name.column, values, SMALLEST_EFFECT, **low),
            "segment_accuracy": Statistic(key, name.column, values, SMALLEST_EFFECT, **low),
            "mean_absolute_error": Statistic(key, None, values, self.error),
            "segment_mean_absolute_error": Statistic(key, name.column, values, self.error),
            "attribution_distance": Statistic(key, None, values, self.attribution),
            "attribution_ndcg": Statistic(key, None, values, SMALLEST_EFFECT, **low),
        }.get(key)

    def level(self, name: Name, values: Numbers, rows: Numbers) -> LevelStatistic | None:
        """Return a value of many windows as one that several of them are gathered by; None for any other."""
        if name.name not in LEVELS or name.name == _NO_LONGER_GATHERED:
            return None
        deviation = self.error / SMALLEST_EFFECT if self.error else 1.0
        gaps = ("concept_gap", "random_label_share", "concept_size_gap", "observed_bias")
        effects = dict.fromkeys(gaps, self.concept_gap)
        effects["mean"] = self.drift.get(name.column or "", 0.0)
        effects["prediction_mean"] = self.drift.get(PREDICTION, 0.0) * deviation
        effects["label_mean"] = self.drift.get(LABEL, 0.0) * deviation
        effect = effects.get(name.name, SMALLEST_EFFECT * deviation)
        return LevelStatistic(name.name, name.column, values, rows, effect, _DIRECTIONS.get(name.name, "both"))


def smallest_effects(model: Model, policy: AlarmPolicy) -> SmallestEffects:
    """Return the smallest changes of a model's statistics that are worth an alarm."""
    numbers = isinstance(model.calibration, ErrorCalibration)
    deviation = float(model.reference[LABEL].std()) if numbers else 1.0
    return SmallestEffects(
        {column: policy.drift_floors[method] for column, method in model.methods.items()},
        policy.attribution_floor,
        policy.concept_gap_floor * deviation,
        SMALLEST_EFFECT * deviation if numbers else 0.0,
        frozenset(column for column, method in model.methods.items() if method == "jensenshannon"),
    )


def effects_of(manifest: Manifest) -> SmallestEffects:
    """Return the same, as a manifest records them."""
    attribution, concept = manifest.attribution_threshold, manifest.concept_threshold
    return SmallestEffects(
        {threshold.column: threshold.floor for threshold in manifest.thresholds},
        attribution.floor if attribution is not None else 0.0,
        concept.gap_floor if concept is not None else 0.0,
        SMALLEST_EFFECT * manifest.label_range.standard_deviation if isinstance(manifest, RegressorManifest) else 0.0,
        frozenset(threshold.column for threshold in manifest.thresholds if threshold.method == "jensenshannon"),
    )
