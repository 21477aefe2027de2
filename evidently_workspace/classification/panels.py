"""The dashboard panels of a classifier: its predictions, labels, errors and scores."""

from collections.abc import Iterator

from evidently_workspace.panels import (
    BY_LABEL,
    LABEL_DELAY,
    Panel,
    Series,
    estimate_panels,
    line_panel,
    on_test_set,
    series,
    text_panel,
)
from evidently_workspace.results import NO_PROBABILITIES
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest

SCORES = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "F1": "F1Score"}


class ClassificationPanels:
    """The panels of one classifier that no other kind of model has."""

    def __init__(self, manifest: ClassifierManifest) -> None:
        self._manifest = manifest

    @property
    def newest_scores(self) -> list[Series]:
        """The scores of the newest window."""
        return _scores("accuracy", "F1")

    def predictions(self) -> Panel:
        """Return the panel of the predictions."""
        return line_panel("Predicted classes", "Share of each class among the predictions.", self._shares(PREDICTION))

    def labels(self) -> Panel:
        """Return the panel of the labels that arrived."""
        return line_panel("Classes of the labels", "Share of each class among the labels.", self._shares(LABEL))

    def concept(self) -> Iterator[Panel]:
        """Return the panels of concept drift."""
        if self._manifest.concept_threshold is None:
            yield text_panel("Concept drift", f"Not computed for this model: {NO_PROBABILITIES}.")
            return
        yield text_panel(
            "Concept drift: labels that arrived",
            "The observed error beside the error that the model's calibrated probabilities predict on the same rows. "
            "Both may rise and fall with the inputs. If the observed error moves away from the expected error, the "
            "relation between inputs and labels has changed since training. " + LABEL_DELAY,
        )
        errors = [series(f"{kind} error", "ConceptDrift", label=f"{kind}_error") for kind in ("observed", "expected")]
        yield line_panel("Observed and expected error", None, errors, "full")
        yield line_panel("Concept gap", "Observed minus expected error.", [series("gap", "ConceptDrift", label="gap")])
        z = [series("z", "ConceptDrift", label="z")]
        yield line_panel("Concept z", "The gap in standard deviations. Each report shows the threshold.", z)

    def performance(self) -> Iterator[Panel]:
        """Return the panels of the scores."""
        yield text_panel("Performance: labels that arrived", LABEL_DELAY)
        quality, classes = self._manifest.quality, self._manifest.class_names
        # With two classes, the scores of a window are those of the last class.
        of = quality.per_class[classes[-1]] if len(classes) == 2 else quality
        scope = f"Precision, recall and F1 are those of class {classes[-1]}. " if len(classes) == 2 else ""
        known = {"accuracy": quality.accuracy, "precision": of.precision, "recall": of.recall, "F1": of.f1}
        yield line_panel("Accuracy, precision, recall, F1", scope + on_test_set(known), _scores(*SCORES), "full")
        names = {"accuracy": "accuracy", "f1": "F1", "roc_auc": "ROC AUC"}
        yield from estimate_panels("Accuracy", "accuracy", "Accuracy", names)
        yield from self._scores_of_classes()
        yield from self._scores_of_probabilities()

    def _scores_of_classes(self) -> Iterator[Panel]:
        classes, quality = self._manifest.class_names, self._manifest.quality.per_class
        for title, metric in (("F1", "F1ByLabel"), ("Precision", "PrecisionByLabel"), ("Recall", "RecallByLabel")):
            by_class = {name: getattr(quality[name], title.lower()) for name in classes}
            lines = [series(name, metric, label=name) for name in classes]
            yield line_panel(f"{title} of each class", on_test_set(by_class), lines)

    def _scores_of_probabilities(self) -> Iterator[Panel]:
        quality = self._manifest.quality
        if quality.log_loss is None:
            return
        roc_auc = None if quality.roc_auc is None else on_test_set(quality.roc_auc)
        yield line_panel("ROC AUC", roc_auc, [series("ROC AUC", "RocAuc")])
        yield line_panel("Log loss", on_test_set(quality.log_loss), [series("log loss", "LogLoss")])
        calibration = "Mean difference between a probability and how often it is right. Chance alone keeps it above 0."
        yield line_panel("Calibration error", calibration, [series("calibration error", "CalibrationError")])

    def version_score(self) -> Panel:
        """Return the panel of the score of each version."""
        return line_panel("Accuracy of each version", None, [series(BY_LABEL, "VersionScore", score="accuracy")])

    def _shares(self, column: str) -> list[Series]:
        return [
            series(name, "UniqueValueCount", column=column, label=name, value_type="share")
            for name in self._manifest.class_names
        ]


def _scores(*names: str) -> list[Series]:
    return [series(name, SCORES[name]) for name in names]
