"""The panels of the dashboard that depend on what a model predicts: classes or numbers."""

from collections.abc import Iterator

from evidently_workspace.panels import LABEL_DELAY, Panel, Series, estimated, held_panel, line_panel, series, written
from model.artifact.manifest import PREDICTION, ClassifierManifest, RegressorManifest

SCORES = {"accuracy": "Accuracy", "F1": "F1Score"}
MAX_CLASSES = 12
"""Classes that have a line; each report has all."""


class ClassificationPanels:
    """The panels of one classifier that no other kind of model has."""

    def __init__(self, manifest: ClassifierManifest) -> None:
        self._manifest = manifest

    @property
    def _has_probabilities(self) -> bool:
        return self._manifest.concept_threshold is not None

    @property
    def newest_scores(self) -> list[Series]:
        """The scores of the newest window."""
        return _scores("accuracy", "F1")

    def predictions(self) -> Panel:
        """Return the panel of the predictions."""
        names = self._manifest.class_names[:MAX_CLASSES]
        some = "" if len(names) == len(self._manifest.class_names) else f" The first {len(names)} classes."
        lines = [series(name, "UniqueValueCount", column=PREDICTION, label=name, value_type="share") for name in names]
        return line_panel("Predicted classes", f"Share of each class among the predictions.{some}", lines)

    def performance(self) -> Iterator[Panel]:
        """Return the panels of what is right and wrong."""
        test = self._manifest.quality.accuracy
        yield line_panel(
            "Accuracy, true and estimated",
            f"True: of the labels that arrived in a window. Estimated: of all its predictions, with the interval of "
            f"95 %; it cannot see concept drift. On the test set: {test:.3f}.",
            estimated("accuracy", "Accuracy", "accuracy")[: None if self._has_probabilities else 1],
            "full",
        )
        if self._has_probabilities:
            yield held_panel({"accuracy": "accuracy", "f1": "F1", "roc_auc": "ROC AUC"})
        names = self._manifest.class_names[:MAX_CLASSES]
        yield line_panel("F1 of each class", LABEL_DELAY, [series(name, "F1ByLabel", label=name) for name in names])
        if not self._has_probabilities:  # no errors are expected
            return
        yield line_panel(
            "Observed and expected errors",
            "If the errors move away from those that the probabilities let expect, the relation between inputs and "
            "labels has changed.",
            [series(f"{kind} error", "ConceptDrift", label=f"{kind}_error") for kind in ("observed", "expected")],
        )


def _scores(*names: str) -> list[Series]:
    return [series(name, SCORES[name]) for name in names]


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
