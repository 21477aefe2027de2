"""Owns the request types that follow from the model's schema: what a row is, and what Swagger UI shows of it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from model.manifest import Feature, Manifest, Value

LONGEST_CATEGORY = 1000


class Row(BaseModel):
    """One row of features; its fields are made from the model's schema by `row_type`.

    Values are strict: the text "5.1" is no number, and true is none either.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def cells(self) -> list[Value]:
        """Return the values in the order of the schema."""
        return list(self.__dict__.values())


def row_type(manifest: Manifest) -> type[Row]:
    """Build the type of one row. A field's alias is the feature's name, which may be any text."""
    fields: dict[str, Any] = {f"feature_{number}": _field(feature) for number, feature in enumerate(manifest.features)}
    example = {feature.name: feature.example for feature in manifest.features}
    return create_model(
        "Row",
        __base__=Row,
        __doc__=f"One row for the model {manifest.name}, version {manifest.version}.",
        __cls_kwargs__={"json_schema_extra": {"examples": [example]}},
        **fields,
    )


def _field(feature: Feature) -> Any:
    details: dict[str, Any] = {
        "alias": feature.name,
        "description": _describe(feature),
        "examples": [feature.example],
    }
    kind: Any
    if feature.type == "number":
        kind = Annotated[float, Field(allow_inf_nan=False)]
        details["json_schema_extra"] = {
            "x-unit": feature.unit,
            "x-observed": [feature.minimum, feature.maximum],
        }
    elif feature.type == "boolean":
        kind = bool
    else:
        kind = Annotated[str, Field(max_length=LONGEST_CATEGORY)]
        details["json_schema_extra"] = {"x-observed": list(feature.categories or ())}
    if feature.nullable:
        kind = kind | None
    return (kind, Field(**details))


def _describe(feature: Feature) -> str:
    """Say what the training data had; other values are accepted, and watched."""
    parts = [feature.description] if feature.description else []
    if feature.unit:
        parts.append(f"in {feature.unit}")
    if feature.type == "number" and feature.minimum is not None and feature.maximum is not None:
        parts.append(f"{feature.minimum:g} to {feature.maximum:g} in training")
    if feature.categories:
        shown = ", ".join(feature.categories[:10])
        more = len(feature.categories) - 10
        parts.append(f"one of {shown}{f' and {more} more' if more > 0 else ''} in training")
    parts.append("null if missing" if feature.nullable else "required")
    return "; ".join(parts)
