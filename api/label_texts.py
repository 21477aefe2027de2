"""Owns which labels the model that serves can be told of, and how each is written in the log."""

from collections.abc import Sequence

from api.answers import number_text
from api.errors import FieldError, UnknownClass
from model.manifest import ClassifierManifest, Manifest

LabelValue = str | int | bool | float
"""A class as in JSON, or a finite number; which of them, the request's type has looked at."""

MOST_LISTED = 20


def label_texts(labels: Sequence[LabelValue], manifest: Manifest) -> list[str]:
    """Return the labels as they are logged. Raises UnknownClass."""
    if isinstance(manifest, ClassifierManifest):
        return _class_names(labels, manifest)
    return [number_text(float(label)) for label in labels]


def _class_names(labels: Sequence[LabelValue], manifest: ClassifierManifest) -> list[str]:
    names, known = [str(label) for label in labels], set(manifest.class_names)
    errors = tuple(
        FieldError(f"labels[{place}].label", f"{label!r} is none of the classes {_listed(manifest)}", "unknown_class")
        for place, (label, name) in enumerate(zip(labels, names, strict=True))
        if name not in known
    )
    if errors:
        raise UnknownClass(f"{errors[0].field}: {errors[0].message}", errors)
    return names


def _listed(manifest: ClassifierManifest) -> str:
    names = manifest.class_names
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
