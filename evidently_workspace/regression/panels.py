"""The dashboard panels of a regressor: its predictions, scores and errors."""

from collections.abc import Iterator

from evidently_workspace.panels import LABEL_DELAY, Panel, Series, estimated, held_panel, line_panel, series, written
from model.artifact.manifest import PREDICTION, RegressorManifest

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

    def performance(self) -> Iterator[Panel]:
        """Return the panels of what is right and wrong."""
        test = self._manifest.quality.mean_absolute_error
        yield line_panel(
            "Mean absolute error, true and estimated",
            f"True: of the labels that arrived in a window. Estimated: of all its predictions, with the interval of "
            f"95 %; it cannot see concept drift{self._in_unit}. On the test set: {written(test)}.",
            estimated("mae", "MAE", "mean absolute error"),
            "full",
        )
        yield held_panel({"mae": "mean absolute error", "rmse": "root mean squared error"})
        yield line_panel("Mean error (bias)", f"Above 0 if predictions are too high. {LABEL_DELAY}", _both("bias"))
        yield line_panel(
            "Observed and expected errors",
            "If the errors move away from those that training found for such predictions, the relation between inputs "
            "and labels has changed.",
            _both("error"),
        )

    def _distribution_text(self, what: str) -> str:
        known = self._manifest.label_range
        return (
            f"Mean of the {what}, and the numbers that 5 %, half and 95 % of them lie below{self._in_unit}. Labels "
            f"in the training data: mean {written(known.mean)}, from {written(known.minimum)} to "
            f"{written(known.maximum)}."
        )


def _distribution(column: str) -> list[Series]:
    quantiles = {"5 % lie below": 0.05, "half lie below": 0.5, "95 % lie below": 0.95}
    return [
        series("mean", "MeanValue", column=column),
        *(series(legend, "QuantileValue", column=column, label=str(share)) for legend, share in quantiles.items()),
    ]


def _both(what: str) -> list[Series]:
    return [series(f"{kind} {what}", CONCEPT, label=f"{kind}_{what}") for kind in ("observed", "expected")]
