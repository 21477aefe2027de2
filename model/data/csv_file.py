"""A CSV file as a data set: the type of each column, and the classes or numbers of the target."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from model.artifact.manifest import Feature, FeatureType, Task
from model.data.cells import MISSING_WORDS, PLAIN, ColumnCells, Reading, column_cells, decimal_evidence
from model.data.column_types import (
    MIXED,
    OTHER,
    Verdict,
    asked_numbers,
    column_values,
    infer_plain_type,
    infer_type,
    most_frequent,
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
from model.data.encoding import encoding_of, missing_words
from model.data.schema_file import ColumnOverride, SchemaFile, segment_fields
from model.data.target import TaskVerdict, classes_of, codes_among, infer_task, numbers_of, target_reading
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
    reading: Reading = PLAIN
    missing_words: tuple[str, ...] | None = None
    other: str | None = None

    def feature(self) -> Feature:
        """Return the schema of a column that is kept."""
        assert self.type is not None  # noqa: S101 - for the type checker: callers ask kept columns only
        assert self.values is not None  # noqa: S101 - as above
        described = describe_column(self.name, self.type, self.values, self.override.unit or self.reading.unit)
        more = {
            "description": self.override.description,
            "notation": self.reading.notation,
            "missing": self.missing_words,
            "other": self.other,
        }
        return described.model_copy(update=more)


@dataclass(frozen=True)
class CsvColumns:
    """A file's columns as they were taken, before anything is asked of the target."""

    text: CsvText
    target: ColumnCells
    asked: Task | None
    columns: tuple[Column, ...]
    schema: SchemaFile
    decimal: str | None = None
    times: RowTimes | None = None
    without_target: int = 0

    @property
    def kept(self) -> tuple[Column, ...]:
        """Return the columns to learn from."""
        return tuple(column for column in self.columns if column.type is not None)

    @property
    def dropped(self) -> tuple[Column, ...]:
        """Return the columns that are left out."""
        return tuple(column for column in self.columns if column.type is None)

    @property
    def metadata(self) -> tuple[str, ...]:
        """Return the columns that a row may bring along: those that are left out, and those that the schema names.

        The target is one of them, so that a row of the file is taken as it is.
        """
        names = [column.name for column in self.dropped] + [self.target.name]
        return tuple(dict.fromkeys([*names, *self.schema.metadata]))

    @property
    def only_sent(self) -> tuple[str, ...]:
        """Return the metadata that the schema names and the file does not have."""
        return tuple(name for name in self.schema.metadata if name not in self.text.header)

    @property
    def task(self) -> TaskVerdict:
        """Return the task that was asked for, or else the one that suits the target, and why."""
        if self.asked:
            return TaskVerdict(self.asked, "as asked")
        return infer_task(self.target, self.decimal, self.text.likely_decimal)

    def dataset(self, known: Classes | None = None, name: str | None = None) -> AnyDataset:
        """Return the rows to learn from; raises DataError where columns or target do not allow it.

        With `known` classes, in their order, no other may occur. The name is that of the file if none is given.
        """
        if not self.kept:
            reasons = "; ".join(f"{column.name!r}: {column.why}" for column in self.dropped)
            raise DataError(f"{self.text.path} has no column to learn from besides the target ({reasons or 'none'})")
        check_feature_names(tuple(column.name for column in self.kept))
        target, name = self.target, name or self.text.path.stem
        check_model_name(name)
        rows: dict[str, Any] = {
            "name": name,
            "source": self.text.path.name,
            "target": target.name,
            "features": tuple(column.feature() for column in self.kept),
            "frame": pd.DataFrame({column.name: column.values for column in self.kept}),
            "times": self.times,
            "metadata": self.metadata,
            "dropped": {column.name: column.why for column in self.dropped},
        }
        rows |= segment_fields(self.schema, {one.name: one.type for one in self.columns}, self.text, self.task.task)
        if known is None and self.task.task == "regression":
            reading = target_reading(target, self.decimal, self.text.likely_decimal)
            numbers = numbers_of(target, reading)
            check_numbers(target.name, numbers, self.text.lines)
            return RegressionDataset(**rows, numbers=numbers, unit=reading.unit)
        classes, codes = classes_of(target) if known is None else (known, codes_among(target, known))
        numeric = mostly_numbers(target, self.decimal, self.text.likely_decimal) is not None
        hint = "; to predict the number itself: --task regression" if numeric else ""
        check_classes(target.name, tuple(str(value) for value in classes), codes, hint)
        return Dataset(**rows, classes=classes, codes=codes)


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
    every_target: bool = False,
) -> CsvColumns:
    """Return what each column of a CSV file is: as `schema` says, or inferred where it says nothing.

    With `only`, these columns are kept in this order, whatever inference thinks of their use, and no others. A `task`
    that is given holds, else that of the schema, else it is inferred. The `time` column is not a feature. Rows without
    a target are left out, or refused if `every_target` must be there. Raises DataError that names the columns and,
    where it helps, the lines.
    """
    schema = schema or SchemaFile()
    text = read_csv_text(path, target, separator)
    if target not in text.header:
        raise DataError(f"{path} has no column {target!r}; it has: {', '.join(text.header)}")
    schema.check(text.header, target)
    words = MISSING_WORDS | {word.strip().lower() for word in schema.missing}
    rows = text.rows
    text = _with_target(text, target, words, refuse=every_target)
    cells = dict(zip(text.header, text.columns, strict=True))
    times = None if time is None else _read_time(path, text, cells, time, target)
    if target in (only or ()):
        raise DataError(f"the model takes {target!r} as a column, so it cannot be the target")
    names = [name for name in text.header if name != target]
    if only is not None:
        names = [*only, *(name for name in names if name not in only)]
        lacking = [name for name in only if name not in cells]
        if lacking:
            raise DataError(f"{path} lacks columns that the model takes: {', '.join(map(repr, lacking))}")
    reader = _ColumnReader(text, schema, words, None if only is None else frozenset(only), time and time.name)
    return CsvColumns(
        text,
        column_cells(target, cells[target], text.lines, words),
        task or schema.task,
        reader.columns(names, cells),
        schema,
        reader.decimal,
        times,
        rows - text.rows,
    )


def _with_target(text: CsvText, target: str, words: Collection[str], *, refuse: bool) -> CsvText:
    """Return the rows that have a target; raises DataError where there is none, or where that is to be refused."""
    cells = text.columns[text.header.index(target)]
    missing = {cell for cell in set(cells) if cell.lower() in words}
    gone = [place for place, cell in enumerate(cells) if cell in missing] if missing else []
    if gone and (refuse or len(gone) == text.rows):
        shown = f"{cells[gone[0]]!r} " if cells[gone[0]] else ""
        raise DataError(
            f"the target {target!r} is missing in {len(gone)} rows, first {shown}on line {text.lines[gone[0]]}; "
            "fill or remove them"
        )
    return text.without(gone)


class KnownRows(NamedTuple):
    """Rows for a model that exists already, in the columns of its features, and when each happened.

    `labels` (rows,) are texts or numbers, missing where the file has none; None where it has no target.
    """

    frame: pd.DataFrame
    labels: pd.Series | None
    times: RowTimes
    text: CsvText


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
    return KnownRows(frame, labels, times, text)


def _known_values(feature: Feature, text: CsvText, texts: Cells) -> pd.Series:
    column = column_cells(feature.name, texts, text.lines, missing_words(feature))
    if feature.type == "category":  # of new ones there may be any number
        return encoding_of(feature).column(column.cells)
    notation = feature.notation or ("comma" if _has_decimal_comma(text, column) else None)
    return column_values(column, feature.type, Reading(notation))


def _has_decimal_comma(text: CsvText, column: ColumnCells) -> bool:
    """Whether the numbers of another file than that of training are written with a decimal comma."""
    return text.likely_decimal != "." and decimal_evidence(column.counts) == ","


def _known_labels(target: str, text: CsvText, cells: Cells, known: Classes | None) -> pd.Series:
    column = column_cells(target, cells, text.lines, MISSING_WORDS)
    if known is None:
        return column_values(column, "number", target_reading(column, None, text.likely_decimal))
    codes = iter(codes_among(column, known))
    return pd.Series([None if cell is None else str(known[next(codes)]) for cell in column.cells], dtype=object)


def _read_time(path: Path, text: CsvText, cells: Mapping[str, Cells], time: TimeColumn, target: str) -> RowTimes:
    if time.name not in cells:
        raise DataError(f"{path} has no column {time.name!r}; it has: {', '.join(text.header)}")
    if time.name == target:
        raise DataError(f"column {target!r} cannot be both the target and the time")
    times = read_times(time.name, cells[time.name], text.lines, zone_of(time.zone))
    return RowTimes(time.name, time.zone, times.seconds)


@dataclass
class _ColumnReader:
    """How the columns of one file are taken."""

    text: CsvText
    schema: SchemaFile
    missing_words: frozenset[str]
    only: frozenset[str] | None
    time: str | None = None
    decimal: str | None = None

    def columns(self, names: Sequence[str], cells: Mapping[str, Cells]) -> tuple[Column, ...]:
        """Return what each column is; raises DataError with all that is wrong in them."""
        found = [column_cells(name, cells[name], self.text.lines, self._words(name)) for name in names]
        self.decimal = self.schema.decimal or _decimal_of(found)
        columns, errors = [], []
        for column in found:
            try:
                columns.append(self._column(column))
            except DataError as error:
                errors.append(str(error))
        if errors:
            raise DataError("\n".join(errors))
        return tuple(columns)

    def _words(self, name: str, more: Collection[str] = ()) -> frozenset[str]:
        """Return the texts that mean a missing value in a column, in lower case; a blank cell always does."""
        own = self.schema.columns[name].missing if name in self.schema.columns else None
        return (
            self.missing_words.union(more) if own is None else frozenset({"", *(word.strip().lower() for word in own)})
        )

    def _column(self, column: ColumnCells) -> Column:
        override = self.schema.columns.get(column.name, ColumnOverride())
        verdict = self._verdict(column, override)
        if not isinstance(verdict, Verdict):
            return self._described(column, None, verdict, override)
        filled = column.without(verdict.missing)
        words = self._words(column.name, verdict.missing)
        grouped = None
        if verdict.type == "category" and self.only is None:
            grouped = most_frequent(filled, override.categories, asked=override.type is not None)
        why = verdict.why
        if grouped is not None:
            why += (
                f"; the {len(grouped)} commonest of {len(filled.counts):,}, and {OTHER!r}: 'categories' sets how many"
            )
        return replace(
            self._described(filled, verdict.type, why, override),
            values=column_values(filled, verdict.type, verdict.reading, grouped),
            reading=verdict.reading,
            missing_words=None if words == MISSING_WORDS else tuple(sorted(words)),
            other=None if grouped is None else OTHER,
        )

    def _described(self, column: ColumnCells, kind: FeatureType | None, why: str, override: ColumnOverride) -> Column:
        example = next((cell for cell in column.cells if cell is not None), "")
        missing = column.rows - column.filled
        return Column(column.name, kind, why, missing, len(column.counts), example, None, override)

    def _verdict(self, column: ColumnCells, override: ColumnOverride) -> Verdict | str:
        """Return what the column is, or why it is left out."""
        name = column.name
        if reason := self._not_wanted(name):
            return reason
        if not column.filled:
            if self.only is not None or override.type:
                raise DataError(f"column {name!r} is empty in every row")
            return "empty in every row"
        decimal = override.decimal or self.decimal
        if override.type and override.type != "number":
            return Verdict(override.type, "the schema says so")
        infer = asked_numbers if override.type else infer_type
        if self.only is not None and not override.type:
            return infer_plain_type(column, decimal, self.text.likely_decimal)
        verdict = infer(column, decimal, self.text.likely_decimal, with_marks=override.missing is None)
        if override.type:
            return verdict
        return self._reason_to_drop(column, verdict) or verdict

    def _not_wanted(self, name: str) -> str | None:
        if name == self.time:
            return "the time of each row"
        if name in self.schema.metadata:
            return "metadata, as the schema says"
        if name in self.schema.drop:
            return "the schema drops it"
        return "the model does not take it" if self.only is not None and name not in self.only else None

    def _reason_to_drop(self, column: ColumnCells, verdict: Verdict) -> str | None:
        place = self.text.header.index(column.name) + 1
        nameless = column.name == unnamed(place)
        kept = column.without(verdict.missing)
        reason = reason_to_drop(kept, verdict, nameless=nameless or column.name == _UNNAMED)
        if nameless and not reason:
            raise DataError(
                f"column {place} has no name; give it one, or call it {column.name!r} in the schema, under 'columns' "
                "with its type or under 'drop'"
            )
        return f"{reason}; {verdict.why}" if reason and verdict.why.startswith(MIXED) else reason


def _decimal_of(columns: Sequence[ColumnCells]) -> str | None:
    """Return the mark before fractions that the numbers of a file show, None where they show none, or both."""
    found = {mark for column in columns if (mark := decimal_evidence(column.counts)) is not None}
    return found.pop() if len(found) == 1 else None
