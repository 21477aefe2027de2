"""The names of the estimators. Imports nothing heavy, so that a command lists them at once."""

from typing import Literal, get_args

EstimatorName = Literal["random_forest", "hist_gradient_boosting", "logistic_regression", "linear_regression"]
ESTIMATOR_NAMES: tuple[EstimatorName, ...] = get_args(EstimatorName)
DEFAULT_ESTIMATOR: EstimatorName = "random_forest"
