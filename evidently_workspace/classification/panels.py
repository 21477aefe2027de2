"""The dashboard panels of a classifier: its predictions, scores and errors."""

from collections.abc import Iterator

from evidently_workspace.panels import LABEL_DELAY, Panel, Series, estimated, held_panel, line_panel, series
from model.artifact.manifest import PREDICTION, ClassifierManifest

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
