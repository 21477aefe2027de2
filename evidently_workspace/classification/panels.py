"""The dashboard panels of a classifier: its predictions, labels, errors and scores."""

from collections.abc import Iterator

from evidently_workspace.panels import LABEL_DELAY, Panel, Series, line_panel, on_test_set, series, text_panel
from model.artifact.manifest import LABEL, PREDICTION, ClassifierManifest

SCORES = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "F1": "F1Score"}


class ClassificationPanels:
    """What the dashboard shows of one classifier, and of no other kind of model."""

    version_score = ("Accuracy of each version", "accuracy")
    """Title and name of the score that is shown of each version."""

    def __init__(self, manifest: ClassifierManifest) -> None:
        self._manifest = manifest

    @property
    def newest_scores(self) -> list[Series]:
        """The scores of the newest window."""
        return _scores("accuracy", "F1")

    def predictions(self) -> Panel:
        """Return the panel of what was predicted."""
        return line_panel("Predicted classes", "Share of each class among the predictions.", self._shares(PREDICTION))

    def labels(self) -> Panel:
        """Return the panel of the labels that arrived."""
        return line_panel("Classes of the labels", "Share of each class among the labels.", self._shares(LABEL))

    def concept(self) -> Iterator[Panel]:
        """Return the panels of concept drift."""
        yield text_panel(
            "Concept drift: labels that arrived",
            "Errors beside those that the model's own calibrated probabilities let expect on the same rows. Together "
            "they may rise and fall with the inputs; when the observed error leaves the expected one, labels follow "
            "from the inputs in another way than in training. " + LABEL_DELAY,
        )
        errors = [series(f"{kind} error", "ConceptDrift", label=f"{kind}_error") for kind in ("observed", "expected")]
        yield line_panel("Observed and expected error", None, errors, "full")
        yield line_panel("Concept gap", "Observed minus expected error.", [series("gap", "ConceptDrift", label="gap")])
        z = [series("z", "ConceptDrift", label="z")]
        yield line_panel("Concept z", "The gap in standard deviations; the threshold is in each report.", z)

    def performance(self) -> Iterator[Panel]:
        """Return the panels of the scores."""
        yield text_panel("Performance: labels that arrived", LABEL_DELAY)
        quality, classes = self._manifest.quality, self._manifest.class_names
        # The window's scores of two classes are those of the last one, so these are too.
        scored = quality.per_class[classes[-1]] if len(classes) == 2 else quality
        scope = f"Precision, recall and F1 are those of class {classes[-1]}. " if len(classes) == 2 else ""
        known = {"accuracy": quality.accuracy, "precision": scored.precision, "recall": scored.recall, "F1": scored.f1}
        yield line_panel("Accuracy, precision, recall, F1", scope + on_test_set(known), _scores(*SCORES), "full")
        for title, metric in (("F1", "F1ByLabel"), ("Precision", "PrecisionByLabel"), ("Recall", "RecallByLabel")):
            by_class = {name: getattr(quality.per_class[name], title.lower()) for name in classes}
            lines = [series(name, metric, label=name) for name in classes]
            yield line_panel(f"{title} of each class", on_test_set(by_class), lines)
        roc_auc = None if quality.roc_auc is None else on_test_set(quality.roc_auc)
        yield line_panel("ROC AUC", roc_auc, [series("ROC AUC", "RocAuc")])
        yield line_panel("Log loss", on_test_set(quality.log_loss), [series("log loss", "LogLoss")])
        calibration = "Mean difference between a probability and how often it is right; above 0 even by chance."
        yield line_panel("Calibration error", calibration, [series("calibration error", "CalibrationError")])

    def _shares(self, column: str) -> list[Series]:
        return [
            series(name, "UniqueValueCount", column=column, label=name, value_type="share")
            for name in self._manifest.class_names
        ]


def _scores(*names: str) -> list[Series]:
    return [series(name, SCORES[name]) for name in names]
