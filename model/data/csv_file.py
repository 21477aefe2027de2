"""A CSV file as a data set: the type of each column, and the classes or numbers of the target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from model.artifact.manifest import Feature, FeatureType, Task
from model.data.column_types import (
    MISSING_WORDS,
    MIXED,
    Cell,
    Verdict,
    column_values,
    infer_type,
    mostly_numbers,
    reason_to_drop,
)
from model.data.csv_text import Cells, CsvText, read_csv_text, unnamed
from model.data.dataset import (
    AnyDataset,
    Classes,
    Dataset,
    RegressionDataset,
    RowTimes,
    check_classes,
    check_feature_names,
    check_model_name,
    check_numbers,
    describe_column,
)
from model.data.schema_file import ColumnOverride, SchemaFile
from model.data.target import TaskVerdict, classes_of, codes_among, filled_labels, infer_task, numbers_of
from model.data.time_column import read_times, zone_of
from model.errors import DataError

_UNNAMED = "Unnamed: 0"  # what pandas calls an index column that it wrote without a name


@dataclass(frozen=True)
class Column:
    """One column of a file: what it was taken for and why; `values` (rows,) is None where it is dropped."""

    name: str
    type: FeatureType | None
    why: str
    missing: int
    distinct: int
    example: str
    values: pd.Series | None
    override: ColumnOverride

    def feature(self) -> Feature:
        """Return the schema of a column that is kept."""
        assert self.type is not None  # noqa: S101 - for the type checker: callers ask kept columns only
        assert self.values is not None  # noqa: S101 - as above
        described = describe_column(self.name, self.type, self.values, self.override.unit)
        return described.model_copy(update={"description": self.override.description})


@dataclass(frozen=True)
class CsvColumns:
    """A file's columns as they were taken, before anything is asked of the target."""

    text: CsvText
    target: str
    target_cells: Cells
    asked: Task | None
    missing_words: frozenset[str]
    columns: tuple[Column, ...]
    times: RowTimes | None = None

    @property
    def kept(self) -> tuple[Column, ...]:
        """Return the columns to learn from."""
        return tuple(column for column in self.columns if column.type is not None)

    @property
    def dropped(self) -> tuple[Column, ...]:
        """Return the columns that are left out."""
        return tuple(column for column in self.columns if column.type is None)

    @property
    def task(self) -> TaskVerdict:
        """Return the task that was asked for, or else the one that suits the target, and why."""
        if self.asked:
            return TaskVerdict(self.asked, "as asked")
        cells = _shared_cells(self.text, self.target_cells, self.missing_words)
        filled = [cell for cell in cells if cell is not None]
        return infer_task(filled, decimal_comma=self.text.has_decimal_comma)

    def dataset(self, known: Classes | None = None, name: str | None = None) -> AnyDataset:
        """Return the rows to learn from; raises DataError where columns or target do not allow it.

        With `known` classes, in their order, no other may occur. The name is that of the file if none is given.
        """
        if not self.kept:
            reasons = "; ".join(f"{column.name!r}: {column.why}" for column in self.dropped)
            raise DataError(f"{self.text.path} has no column to learn from besides the target ({reasons or 'none'})")
        check_feature_names(tuple(column.name for column in self.kept))
        labels = filled_labels(self.target, self.target_cells, self.text.lines, self.missing_words)
        name = name or self.text.path.stem
        check_model_name(name)
        rows: dict[str, Any] = {
            "name": name,
            "source": self.text.path.name,
            "target": self.target,
            "times": self.times,
        }
        features = tuple(column.feature() for column in self.kept)
        frame = pd.DataFrame({column.name: column.values for column in self.kept})
        if known is None and self.task.task == "regression":
            numbers = numbers_of(self.target, labels, decimal_comma=self.text.has_decimal_comma)
            check_numbers(self.target, numbers, self.text.lines)
            return RegressionDataset(**rows, features=features, frame=frame, numbers=numbers)
        classes, codes = (
            classes_of(self.target, labels) if known is None else (known, codes_among(self.target, labels, known))
        )
        hint = "; to predict the number itself: --task regression" if self._could_be_numbers(labels) else ""
        check_classes(self.target, tuple(str(value) for value in classes), codes, hint)
        return Dataset(**rows, features=features, frame=frame, classes=classes, codes=codes)

    def _could_be_numbers(self, labels: Sequence[Cell]) -> bool:
        return mostly_numbers(labels, decimal_comma=self.text.has_decimal_comma) is not None


class TimeColumn(NamedTuple):
    """The column that says when each row happened, and the time zone of times without an offset."""

    name: str
    zone: str = "UTC"


def load_csv(path: Path, target: str, schema: SchemaFile | None = None) -> AnyDataset:
    """Return the rows of a CSV file with `target` as the label; raises DataError that names column and line."""
    return read_columns(path, target, schema).dataset()


def read_columns(
    path: Path,
    target: str,
    schema: SchemaFile | None = None,
    *,
    separator: str | None = None,
    only: Sequence[str] | None = None,
    task: Task | None = None,
    time: TimeColumn | None = None,
) -> CsvColumns:
    """Return what each column of a CSV file is: as `schema` says, or inferred where it says nothing.

    With `only`, these columns are kept in this order, whatever inference thinks of their use, and no others. A `task`
    that is given holds, else that of the schema, else it is inferred. The `time` column is not a feature. Raises
    DataError that names the column and, where it helps, the line.
    """
    schema = schema or SchemaFile()
    text = read_csv_text(path, target, separator)
    if target not in text.header:
        raise DataError(f"{path} has no column {target!r}; it has: {', '.join(text.header)}")
    schema.check(text.header, target)
    cells = dict(zip(text.header, text.columns, strict=True))
    words = MISSING_WORDS | {word.lower() for word in schema.missing}
    times = None if time is None else _read_time(path, text, cells, time, target)
    taken = _ColumnReader(text, schema, words, None if only is None else frozenset(only), time and time.name)
    if target in (only or ()):
        raise DataError(f"the model takes {target!r} as a column, so it cannot be the target")
    names = [name for name in text.header if name != target]
    if only is not None:
        names = [*only, *(name for name in names if name not in only)]
        lacking = [name for name in only if name not in cells]
        if lacking:
            raise DataError(f"{path} lacks columns that the model takes: {', '.join(map(repr, lacking))}")
    columns = tuple(taken.column(name, cells[name]) for name in names)
    return CsvColumns(text, target, cells[target], task or schema.task, words, columns, times)


class KnownRows(NamedTuple):
    """Rows for a model that exists already, in the columns of its features, and when each happened.

    `labels` (rows,) are texts or numbers, missing where the file has none; None where it has no target.
    """

    frame: pd.DataFrame
    labels: pd.Series | None
    times: RowTimes


def read_known_rows(
    path: Path, features: Sequence[Feature], target: str, time: TimeColumn, known: Classes | None, *, needs_labels: bool
) -> KnownRows:
    """Return the rows of a file whose columns are those of a model; other columns are left out.

    What a column is follows from the model and not from the file: these rows may be few, and a column may be stuck or
    empty. `known` are the classes of the target; without them it is a number. Where the file has no target, there are
    no labels, unless it `needs_labels`. Raises DataError that names the column and, where it helps, the line.
    """
    text = read_csv_text(path, target)
    cells = dict(zip(text.header, text.columns, strict=True))
    if needs_labels and target not in cells:
        raise DataError(f"{path} has no column {target!r}; it has: {', '.join(text.header)}")
    lacking = [feature.name for feature in features if feature.name not in cells]
    if lacking:
        raise DataError(f"{path} lacks columns that the model takes: {', '.join(map(repr, lacking))}")
    if target in {feature.name for feature in features}:
        raise DataError(f"the model takes {target!r} as a column, so it cannot be the target")
    times = _read_time(path, text, cells, time, target)
    frame = pd.DataFrame({feature.name: _known_values(feature, text, cells[feature.name]) for feature in features})
    labels = _known_labels(target, text, cells[target], known) if target in cells else None
    return KnownRows(frame, labels, times)


def _filled(text: CsvText, cells: Cells) -> list[Cell | None]:
    return _shared_cells(text, cells, MISSING_WORDS)


def _shared_cells(text: CsvText, texts: Cells, missing_words: frozenset[str]) -> list[Cell | None]:
    """Return the cells of a column, None where missing; those of equal text are one, with the line of the first.

    An object for each of millions of cells takes longer than the rest of reading, and nothing names a later line.
    """
    shared: dict[str, Cell | None] = {}
    for cell, line in zip(texts, text.lines, strict=True):
        if cell not in shared:
            shared[cell] = None if cell.lower() in missing_words else Cell(cell, line)
    return [shared[cell] for cell in texts]


def _known_values(feature: Feature, text: CsvText, cells: Cells) -> pd.Series:
    filled = _filled(text, cells)
    if feature.type == "category":  # of new ones there may be any number
        return pd.Series([None if cell is None else cell.text for cell in filled], dtype=object)
    return column_values(feature.name, filled, feature.type, decimal_comma=text.has_decimal_comma)


def _known_labels(target: str, text: CsvText, cells: Cells, known: Classes | None) -> pd.Series:
    filled = _filled(text, cells)
    if known is None:
        return column_values(target, filled, "number", decimal_comma=text.has_decimal_comma)
    codes = iter(codes_among(target, [cell for cell in filled if cell is not None], known))
    return pd.Series([None if cell is None else str(known[next(codes)]) for cell in filled], dtype=object)


def _read_time(path: Path, text: CsvText, cells: Mapping[str, Cells], time: TimeColumn, target: str) -> RowTimes:
    if time.name not in cells:
        raise DataError(f"{path} has no column {time.name!r}; it has: {', '.join(text.header)}")
    if time.name == target:
        raise DataError(f"column {target!r} cannot be both the target and the time")
    times = read_times(time.name, cells[time.name], text.lines, zone_of(time.zone))
    return RowTimes(time.name, time.zone, times.seconds)


@dataclass(frozen=True)
class _ColumnReader:
    """How the columns of one file are taken."""

    text: CsvText
    schema: SchemaFile
    missing_words: frozenset[str]
    only: frozenset[str] | None
    time: str | None = None

    def column(self, name: str, texts: Cells) -> Column:
        override = self.schema.columns.get(name, ColumnOverride())
        cells = _shared_cells(self.text, texts, self.missing_words)
        filled = [cell for cell in cells if cell is not None]
        verdict = self._verdict(name, filled, override)
        values = None
        if isinstance(verdict, Verdict):
            values = column_values(name, cells, verdict.type, decimal_comma=self.text.has_decimal_comma)
        return Column(
            name=name,
            type=verdict.type if isinstance(verdict, Verdict) else None,
            why=verdict.why if isinstance(verdict, Verdict) else verdict,
            missing=len(cells) - len(filled),
            distinct=len({cell.text for cell in filled}),
            example=filled[0].text if filled else "",
            values=values,
            override=override,
        )

    def _verdict(self, name: str, filled: list[Cell], override: ColumnOverride) -> Verdict | str:
        """Return what the column is, or why it is left out."""
        if name == self.time:
            return "the time of each row"
        if name in self.schema.drop:
            return "the schema drops it"
        if self.only is not None and name not in self.only:
            return "the model does not take it"
        if not filled:
            if self.only is not None or override.type:
                raise DataError(f"column {name!r} is empty in every row")
            return "empty in every row"
        if override.type:
            return Verdict(override.type, "the schema says so")
        verdict = infer_type(name, filled, decimal_comma=self.text.has_decimal_comma)
        return verdict if self.only is not None else self._reason_to_drop(name, filled, verdict) or verdict

    def _reason_to_drop(self, name: str, filled: list[Cell], verdict: Verdict) -> str | None:
        place = self.text.header.index(name) + 1
        nameless = name == unnamed(place)
        reason = reason_to_drop("" if nameless or name == _UNNAMED else name, filled, verdict.type, self.text.rows)
        if nameless and not reason:
            raise DataError(f"column {place} has no name; give it one")
        return f"{reason}; {verdict.why}" if reason and verdict.why.startswith(MIXED) else reason
