"""The YAML file in which a person says what the columns of a CSV file are."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StrictStr, field_validator

from model.artifact.manifest import FeatureType, Task
from model.data.cells import SEGMENT_PREFIX, segment_value
from model.data.column_types import MAX_CATEGORIES_ON_REQUEST
from model.data.csv_text import CsvText
from model.data.yaml_file import read_yaml
from model.errors import DataError

MAX_SEGMENTS = 20
"""Columns that rows may be divided by: each adds up to eleven values to every figure of a window."""
DecimalMark = Literal[".", ","]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnOverride(_Strict):
    """What the file says about one column; a type that is given is not inferred, and the column is kept."""

    type: FeatureType | None = None
    unit: StrictStr | None = None
    description: StrictStr | None = None
    missing: tuple[StrictStr, ...] | None = Field(None, description="Instead of all other texts for a missing value.")
    decimal: DecimalMark | None = None
    categories: int | None = Field(None, ge=2, le=MAX_CATEGORIES_ON_REQUEST, description="The rarer ones are 'other'.")


class SchemaFile(_Strict):
    """What the file says about the columns; those that it does not name are inferred."""

    target: StrictStr | None = None
    task: Task | None = None
    columns: dict[StrictStr, ColumnOverride] = Field(default_factory=dict)
    drop: tuple[StrictStr, ...] = ()
    metadata: tuple[StrictStr, ...] = Field((), description="Logged with a row, and never given to the model.")
    segments: tuple[StrictStr, ...] = Field(
        (), max_length=MAX_SEGMENTS, description="Performance and drift are shown for each of their values too."
    )
    fairness: tuple[StrictStr, ...] = Field(
        (), max_length=MAX_SEGMENTS, description="Rates of predictions are compared between their values."
    )
    missing: tuple[StrictStr, ...] = Field((), description="More texts that stand for a missing value, in any case.")
    decimal: DecimalMark | None = Field(None, description="What stands before the fraction of a number.")

    @field_validator("columns", mode="before")
    @classmethod
    def _type_alone(cls, columns: Any) -> Any:
        """Let `age: number` stand for `age: {type: number}`."""
        if not isinstance(columns, dict):
            return columns
        return {
            name: {"type": override} if isinstance(override, str) else override or {}
            for name, override in columns.items()
        }

    def check(self, header: Sequence[str], target: str) -> None:
        """Raise DataError where it names a column that the file does not have, or one column twice."""
        if self.target not in {None, target}:
            raise DataError(f"the schema is for the target {self.target!r}, not {target!r}")
        for name in (*self.columns, *self.drop):
            if name not in header:
                raise DataError(
                    f"the schema names a column {name!r}, which the file does not have; correct the name or remove it"
                )
            if name == target:
                raise DataError(f"the schema names {name!r}, which is the target, among the columns; remove it there")
        both = [name for name in self.drop if name in self.columns]
        if both:
            raise DataError(
                f"the schema both drops and describes the column {both[0]!r}; remove it from one of the two"
            )
        for name in self.metadata:
            if not name or name in self.columns:
                raise DataError(
                    f"the schema names {name!r} under metadata and under columns; remove it from one of the two"
                )
        self._check_segments(header, target)

    def _check_segments(self, header: Sequence[str], target: str) -> None:
        """Raise DataError for a column that rows cannot be divided by; types that are inferred are checked later."""
        for key, names in (("segments", self.segments), ("fairness", self.fairness)):
            for place, name in enumerate(names):
                if name in names[:place]:
                    raise DataError(f"the schema names {name!r} twice under {key}; remove one")
                if name == target:
                    raise DataError(f"the schema names {name!r}, which is the target, under {key}; remove it there")
                if name not in header and name not in self.metadata:
                    raise DataError(
                        f"the schema names a column {name!r} under {key}, which is neither in the file nor under "
                        "metadata; correct the name or remove it"
                    )
                if (override := self.columns.get(name)) is not None and override.type == "number":
                    raise number_segment(key, name)


def number_segment(key: str, name: str) -> DataError:
    """Return the error for a column of numbers under segments or fairness."""
    return DataError(
        f"the schema names {name!r} under {key}, but it is a number; name a category, a boolean or metadata, or say "
        f"under columns that {name!r} is a category"
    )


def segment_fields(
    schema: SchemaFile, types: Mapping[str, FeatureType | None], text: CsvText, task: Task
) -> dict[str, Any]:
    """Return the fields of rows that say how they are divided; columns without a type are metadata.

    Raises DataError for a column of numbers, and for fairness where numbers are predicted.
    """
    if schema.fairness and task == "regression":
        raise DataError("fairness compares how often classes are predicted, and the target is a number; remove it")
    for key, names in (("segments", schema.segments), ("fairness", schema.fairness)):
        for name in names:
            if types.get(name) == "number":
                raise number_segment(key, name)
    of_metadata = [name for name in (*schema.segments, *schema.fairness) if types.get(name) is None]
    kept = segment_values({name: f"{SEGMENT_PREFIX}{name}" for name in of_metadata}, text)
    if taken := [name for name in kept if types.get(name) is not None]:
        raise DataError(f"column {taken[0]!r} has the name that a segment has in logged rows; rename it")
    return {"segments": schema.segments, "fairness": schema.fairness, "segment_values": pd.DataFrame(kept)}


def segment_values(columns: Mapping[str, str], text: CsvText) -> dict[str, pd.Series]:
    """Return the metadata by which rows are divided, by the columns of frames that hold it; what a file lacks is not.

    `columns` has the columns of the frames by those of the file.
    """
    cells = dict(zip(text.header, text.columns, strict=True))
    return {
        column: pd.Series([segment_value(cell) for cell in cells[name]], dtype=object)
        for name, column in columns.items()
        if name in cells
    }


def read_schema(path: Path) -> SchemaFile:
    """Return what a file says about the columns; raises DataError that names the line or the key."""
    return read_yaml(path, SchemaFile)


def write_schema(
    path: Path,
    target: str,
    kept: Sequence[tuple[str, ColumnOverride]],
    dropped: Sequence[tuple[str, str]],
    missing: Sequence[str] = (),
    *,
    task: Task = "classification",
    decimal: str | None = None,
    metadata: Sequence[str] = (),
    segments: Sequence[str] = (),
    fairness: Sequence[str] = (),
) -> None:
    """Write a schema to be edited, with the reason of each dropped column; raises DataError.

    A file that is there is not overwritten: someone may have edited it.
    """
    lines = ["# What each column is: number, category or boolean; unit and description are shown to callers."]
    lines += ["# Move a column between columns and drop as you see fit.", f"target: {_text(target)}"]
    lines += [f"task: {task}  # classification or regression", "columns:"]
    for name, override in kept:
        given = {key: value for key, value in override.model_dump().items() if value is not None}
        inner = ", ".join(f"{key}: {value if key == 'type' else _value(value)}" for key, value in given.items())
        lines.append(f"  {_text(name)}: {{{inner}}}")
    lines += ["drop:"] + [f"  - {_text(name)}  # {why}" for name, why in dropped] if dropped else ["drop: []"]
    lines.append(f"metadata: [{', '.join(map(_text, metadata))}]  # logged with a row, and never given to the model")
    lines.append(f"segments: [{', '.join(map(_text, segments))}]  # performance and drift for each of their values too")
    lines.append(f"fairness: [{', '.join(map(_text, fairness))}]  # rates are compared between their values")
    lines.append(f"missing: [{', '.join(map(_text, missing))}]  # more texts that stand for a missing value")
    if decimal is not None:
        lines.append(f"decimal: {_text(decimal)}")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError:
        raise DataError(f"{path} exists and is not overwritten; name another file or remove it") from None
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def _value(value: Any) -> str:
    return _text(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: str) -> str:
    """Return a text as YAML takes it: bare where it can be nothing else, or as a string of JSON, which YAML reads."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
