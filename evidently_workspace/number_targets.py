"""What the target of a model of numbers allows to be said. Imports no Evidently."""

from model.manifest import RegressorManifest

AWAY_FROM_ZERO = 0.05


def has_percentages(manifest: RegressorManifest) -> bool:
    """Whether a percentage error says something: where no label is near zero, nor below, at training."""
    return manifest.label_range.minimum >= least_label(manifest) > 0


def least_label(manifest: RegressorManifest) -> float:
    """Return the smallest label that a percentage may be taken of: a twentieth of the mean label at training."""
    return AWAY_FROM_ZERO * manifest.label_range.mean
