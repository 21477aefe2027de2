"""Owns what two models must have in common for one to take the other's place while requests are served."""

from model.manifest import ClassifierManifest, Feature, Manifest, RegressorManifest

MOST_NAMED = 5


def schema_differences(served: Manifest, other: Manifest) -> list[str]:
    """Say how the interface of the other model differs from that of the served one; empty where it does not.

    Ranges, categories, units, descriptions and examples may differ: they are what was seen in training, and nothing is
    refused because of them.
    """
    found: list[str] = []
    if served.task != other.task:
        found.append(f"it is a model for {other.task}, not for {served.task}")
    old, new = ({feature.name: _interface(feature) for feature in one.features} for one in (served, other))
    found += _named("it has no field", [name for name in old if name not in new])
    found += _named("it needs the new field", [name for name in new if name not in old])
    found += [f"{name} is {new[name]}, not {old[name]}" for name in old if name in new and old[name] != new[name]]
    if not found and served.feature_names != other.feature_names:
        found.append("its fields come in another order")
    return found + _label_differences(served, other)


def _label_differences(served: Manifest, other: Manifest) -> list[str]:
    if isinstance(served, ClassifierManifest) and isinstance(other, ClassifierManifest):
        old_classes, new_classes = (", ".join(repr(one) for one in model.classes) for model in (served, other))
        return [] if old_classes == new_classes else [f"its classes are {_cut(new_classes)}, not {_cut(old_classes)}"]
    if isinstance(served, RegressorManifest) and isinstance(other, RegressorManifest):
        old_unit, new_unit = served.label_range.unit, other.label_range.unit
        # where one of them names no unit, nothing says that the numbers are others
        if old_unit and new_unit and old_unit != new_unit:
            return [f"its labels are in {new_unit}, not in {old_unit}"]
    return []  # the same, or of two tasks, which is said already


def _interface(feature: Feature) -> str:
    return f"a {feature.type} that {'may' if feature.nullable else 'must not'} be null"


def _named(text: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"{text}{'s' if len(names) > 1 else ''} {', '.join(names[:MOST_NAMED])}{more}"]


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
