"""The dashboard panels of a regressor: its predictions, labels, errors and scores."""

from collections.abc import Iterator

from evidently_workspace.panels import LABEL_DELAY, Panel, Series, line_panel, series, text_panel
from evidently_workspace.panels import on_test_set as scored_on_test_set
from model.artifact.manifest import LABEL, PREDICTION, RegressorManifest

CONCEPT = "NumberConceptDrift"


class RegressionPanels:
    """What the dashboard shows of one model of numbers, and of no other kind of model."""

    version_score = ("Mean absolute error of each version", "mean_absolute_error")
    """Title and name of the score that is shown of each version."""

    def __init__(self, manifest: RegressorManifest) -> None:
        self._manifest = manifest
        self._in_unit = f", in {manifest.label_range.unit}" if manifest.label_range.unit else ""

    @property
    def newest_scores(self) -> list[Series]:
        """The scores of the newest window."""
        return [series("mean absolute error", "MAE"), series("R2", "R2Score")]

    def predictions(self) -> Panel:
        """Return the panel of what was predicted."""
        return line_panel("Predicted numbers", self._where("predictions"), _spread(PREDICTION))

    def labels(self) -> Panel:
        """Return the panel of the labels that arrived."""
        return line_panel("Numbers of the labels", self._where("labels"), _spread(LABEL))

    def concept(self) -> Iterator[Panel]:
        """Return the panels of concept drift."""
        yield text_panel(
            "Concept drift: labels that arrived",
            "Errors beside those that training lets expect for predictions of the same size. Together they may rise "
            "and fall with the inputs; when the observed error leaves the expected one, labels follow from the inputs "
            "in another way than in training. The size of the errors and their bias (to one side) are looked at apart, "
            "as a shift of all labels hardly changes the size. " + LABEL_DELAY,
        )
        yield line_panel(
            "Observed and expected absolute error", f"Mean of |prediction - label|{self._in_unit}.", _both("error")
        )
        yield line_panel("Observed and expected bias", f"Mean of prediction - label{self._in_unit}.", _both("bias"))
        gaps = [series(f"gap of the {part}", CONCEPT, label=f"{part}_gap") for part in ("size", "bias")]
        yield line_panel("Concept gap", "Observed minus expected; the bias to either side.", gaps)
        z = [series(f"z of the {part}", CONCEPT, label=f"{part}_z") for part in ("size", "bias")]
        yield line_panel("Concept z", "The gaps in standard deviations; the threshold is in each report.", z)

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
        r2 = None if quality.r2 is None else _on_test_set(quality.r2)
        share = "Share of the variance of the labels that is explained; 0 is as good as always saying their mean."
        yield line_panel("R2", " ".join(filter(None, (share, r2))), [series("R2", "R2Score")])
        bias = f"Mean of prediction - label: above 0 where the model says too much. {_on_test_set(quality.mean_error)}"
        yield line_panel("Mean error (bias)", bias, [series("mean error", "MeanError")])
        largest = series("largest absolute error", "AbsMaxError")
        yield line_panel("Largest absolute error", _on_test_set(quality.largest_absolute_error), [largest])
        if self._manifest.has_percentage_errors:
            percent = [series("mean absolute percentage error", "MAPE")]
            yield line_panel("Mean absolute percentage error", "In percent of the labels.", percent)

    def _where(self, what: str) -> str:
        known = self._manifest.label_range
        return (
            f"Mean of the {what}, and the numbers that 5 %, half and 95 % of them lie below{self._in_unit}. Labels "
            f"known at training: mean {known.mean:.4g}, from {known.minimum:.4g} to {known.maximum:.4g}."
        )


def _spread(column: str) -> list[Series]:
    quantiles = {"5 % lie below": 0.05, "half lie below": 0.5, "95 % lie below": 0.95}
    return [
        series("mean", "MeanValue", column=column),
        *(series(legend, "QuantileValue", column=column, label=str(share)) for legend, share in quantiles.items()),
    ]


def _on_test_set(scored: float | dict[str, float]) -> str:
    return scored_on_test_set(scored, ".4g")  # errors may be of any size


def _both(what: str) -> list[Series]:
    return [series(f"{kind} {what}", CONCEPT, label=f"{kind}_{what}") for kind in ("observed", "expected")]
