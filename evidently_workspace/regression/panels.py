"""The dashboard panels of a regressor: its predictions, labels, errors and scores."""

from collections.abc import Iterator

from evidently_workspace.panels import (
    BY_LABEL,
    LABEL_DELAY,
    Panel,
    Series,
    estimate_panels,
    line_panel,
    series,
    text_panel,
)
from evidently_workspace.panels import on_test_set as scores_on_test_set
from model.artifact.manifest import LABEL, PREDICTION, RegressorManifest

CONCEPT = "NumberConceptDrift"


class RegressionPanels:
    """The panels of one regressor that no other kind of model has."""

    def __init__(self, manifest: RegressorManifest) -> None:
        self._manifest = manifest
        self._in_unit = f", in {manifest.label_range.unit}" if manifest.label_range.unit else ""

    @property
    def newest_scores(self) -> list[Series]:
        """The scores of the newest window."""
        return [series("mean absolute error", "MAE"), series("R2", "R2Score")]

    def predictions(self) -> Panel:
        """Return the panel of the predictions."""
        return line_panel("Predicted numbers", self._distribution_text("predictions"), _distribution(PREDICTION))

    def labels(self) -> Panel:
        """Return the panel of the labels that arrived."""
        return line_panel("Numbers of the labels", self._distribution_text("labels"), _distribution(LABEL))

    def concept(self) -> Iterator[Panel]:
        """Return the panels of concept drift."""
        yield text_panel(
            "Concept drift: labels that arrived",
            "The observed error beside the error that training found for predictions of the same size. Both may rise "
            "and fall with the inputs. If the observed error moves away from the expected error, the relation between "
            "inputs and labels has changed since training. The size of the errors and their bias (in one direction) "
            "are measured separately, because a shift of all labels hardly changes the size. " + LABEL_DELAY,
        )
        yield line_panel(
            "Observed and expected absolute error", f"Mean of |prediction - label|{self._in_unit}.", _both("error")
        )
        yield line_panel("Observed and expected bias", f"Mean of prediction - label{self._in_unit}.", _both("bias"))
        gaps = [series(f"gap of the {part}", CONCEPT, label=f"{part}_gap") for part in ("size", "bias")]
        yield line_panel("Concept gap", "Observed minus expected; for the bias, in either direction.", gaps)
        z = [series(f"z of the {part}", CONCEPT, label=f"{part}_z") for part in ("size", "bias")]
        yield line_panel("Concept z", "The gaps in standard deviations. Each report shows the threshold.", z)

    def performance(self) -> Iterator[Panel]:
        """Return the panels of the scores."""
        yield text_panel("Performance: labels that arrived", LABEL_DELAY)
        quality = self._manifest.quality
        errors = {
            "mean absolute error": quality.mean_absolute_error,
            "root mean squared error": quality.root_mean_squared_error,
        }
        lines = [series("mean absolute error", "MAE"), series("root mean squared error", "RMSE")]
        title = "Mean absolute error, root mean squared error"
        yield line_panel(title, f"Of prediction - label{self._in_unit}. {_on_test_set(errors)}", lines, "full")
        names = {"mae": "mean absolute error", "rmse": "root mean squared error"}
        yield from estimate_panels("Mean absolute error", "mae", "MAE", names)
        r2 = None if quality.r2 is None else _on_test_set(quality.r2)
        share = "Share of the variance of the labels that is explained; 0 is as good as always predicting their mean."
        yield line_panel("R2", " ".join(filter(None, (share, r2))), [series("R2", "R2Score")])
        bias = f"Mean of prediction - label: above 0 if predictions are too high. {_on_test_set(quality.mean_error)}"
        yield line_panel("Mean error (bias)", bias, [series("mean error", "MeanError")])
        largest = series("largest absolute error", "AbsMaxError")
        yield line_panel("Largest absolute error", _on_test_set(quality.largest_absolute_error), [largest])
        if self._manifest.has_percentage_errors:
            percent = [series("mean absolute percentage error", "MAPE")]
            yield line_panel("Mean absolute percentage error", "In percent of the labels.", percent)

    def version_score(self) -> Panel:
        """Return the panel of the score of each version."""
        score = series(BY_LABEL, "VersionScore", score="mean_absolute_error")
        return line_panel("Mean absolute error of each version", None, [score])

    def _distribution_text(self, what: str) -> str:
        known = self._manifest.label_range
        return (
            f"Mean of the {what}, and the numbers that 5 %, half and 95 % of them lie below{self._in_unit}. Labels "
            f"in the training data: mean {known.mean:.4g}, from {known.minimum:.4g} to {known.maximum:.4g}."
        )


def _distribution(column: str) -> list[Series]:
    quantiles = {"5 % lie below": 0.05, "half lie below": 0.5, "95 % lie below": 0.95}
    return [
        series("mean", "MeanValue", column=column),
        *(series(legend, "QuantileValue", column=column, label=str(share)) for legend, share in quantiles.items()),
    ]


def _on_test_set(scores: float | dict[str, float]) -> str:
    return scores_on_test_set(scores, ".4g")  # errors may be of any size


def _both(what: str) -> list[Series]:
    return [series(f"{kind} {what}", CONCEPT, label=f"{kind}_{what}") for kind in ("observed", "expected")]
