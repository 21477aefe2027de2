"""The rows of a CSV or Parquet file, read piece by piece, and each of them as the call that logs it takes it."""

import codecs
import csv
import hashlib
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from model.artifact.manifest import AnswerColumns, Feature, NumberNotation
from model.data.cells import MISSING_WORDS, KnownClasses, cell_value, parse_number, read_number
from model.data.csv_text import find_separator
from model.data.encoding import MAX_CATEGORY_LENGTH, encoding_of, missing_words
from model.errors import DataError

OWN_ID = re.compile(r"[A-Za-z0-9._~:@/+=-]{1,128}")
PARQUET = b"PAR1"
_NOTATIONS: tuple[NumberNotation, ...] = ("point", "comma")
_PIECE = 1 << 20
_ROWS_AT_ONCE = 2_000
_TRUTHS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}


class Card(BaseModel):
    """The part of a model's card that says what its rows and answers are."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    features: tuple[Feature, ...]
    target: str
    metadata: tuple[str, ...] = ()
    task: Literal["classification", "regression"]
    classes: tuple[bool | int | str, ...] | None = None
    answer_columns: AnswerColumns | None = None


class FileRow(NamedTuple):
    """One row of a file: its place from 1, the line that it ends on, and its cells by column, or what is wrong."""

    number: int
    line: int
    cells: Mapping[str, Any] | str


class BadRowError(Exception):
    """A row cannot be sent; the message says why."""


@dataclass(frozen=True)
class TableFile:
    """A file to send: its size, the hash of its content, and how its text is encoded, None for Parquet."""

    path: Path
    size: int
    sha256: str
    encoding: str | None

    @classmethod
    def of(cls, path: Path) -> "TableFile":
        """Read through a file once; raises OSError, and DataError where it is no table."""
        digest, size, utf8 = hashlib.sha256(), 0, codecs.getincrementaldecoder("utf-8")()
        start, is_utf8 = b"", True
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                start = start or piece[:4]
                digest.update(piece)
                size += len(piece)
                try:
                    utf8.decode(piece)
                except UnicodeDecodeError:
                    is_utf8 = False
        if not size:
            raise DataError(f"{path} is empty")
        if start == PARQUET:
            return cls(path, size, digest.hexdigest(), None)
        if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")):
            raise DataError(f"{path} is packed, or a spreadsheet; save it as CSV or Parquet")
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return cls(path, size, digest.hexdigest(), "utf-16")
        # every byte means something in Latin-1, which differs from Windows-1252 only in control characters
        return cls(path, size, digest.hexdigest(), "utf-8-sig" if is_utf8 else "latin-1")

    def header(self, prediction: str) -> tuple[str, ...]:
        """Return the names of the columns, of which one holds the predictions; raises DataError."""
        if self.encoding is None:
            return tuple(self._parquet().schema_arrow.names)
        return tuple(next(self._records(prediction))[1])

    def rows(self, columns: tuple[str, ...], prediction: str, advance: Callable[[int], object]) -> Iterator[FileRow]:
        """Yield the rows with these columns; ``advance`` gets the bytes that are done."""
        if self.encoding is None:
            yield from self._parquet_rows(columns, advance)
        else:
            yield from self._csv_rows(columns, prediction, advance)

    def _csv_rows(
        self, columns: tuple[str, ...], prediction: str, advance: Callable[[int], object]
    ) -> Iterator[FileRow]:
        records = self._records(prediction, advance)
        _, header = next(records)
        places = {name: header.index(name) for name in columns}
        for number, (line, record) in enumerate(records, start=1):
            if isinstance(record, str):
                yield FileRow(number, line, record)
            elif len(record) != len(header):
                yield FileRow(number, line, f"{len(record)} cells where the header has {len(header)}")
            else:
                yield FileRow(number, line, {name: record[place] for name, place in places.items()})

    def _records(
        self, prediction: str, advance: Callable[[int], object] = lambda _bytes: None
    ) -> Iterator[tuple[int, Any]]:
        """Yield the line that each record ends on, and its cells, or what is wrong with it; the header comes first."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            sample = file.read(_PIECE)
            separator = find_separator(sample, prediction)
            file.seek(0)
            reader = csv.reader(_counted(file, advance), delimiter=separator, skipinitialspace=True, strict=True)
            header: tuple[str, ...] = ()
            line = 0
            while True:
                try:
                    record = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if not header:
                        raise DataError(f"{self.path}, line {reader.line_num}: {error}") from error
                    lines = f"lines {line + 1:,} to {reader.line_num:,}" if reader.line_num > line + 1 else "the line"
                    line = reader.line_num
                    yield line, f"{lines}: {error}; is a quote not closed?"
                    continue
                line = reader.line_num
                if not any(cell.strip() for cell in record):
                    continue  # a blank line
                if header:
                    yield line, record
                    continue
                header = tuple(name.strip() for name in record)
                if doubles := [name for place, name in enumerate(header) if name in header[:place]]:
                    raise DataError(f"{self.path}: column {doubles[0]!r} occurs twice; rename one")
                yield line, header

    def _parquet(self) -> Any:
        import pyarrow as pa  # noqa: PLC0415 - takes a second, and CSV needs none of it
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        try:
            return pq.ParquetFile(self.path)
        except pa.ArrowException as error:
            raise DataError(f"{self.path} is a damaged Parquet file: {error}") from error

    def _parquet_rows(self, columns: tuple[str, ...], advance: Callable[[int], object]) -> Iterator[FileRow]:
        table, number = self._parquet(), 0
        each = self.size / max(table.metadata.num_rows, 1)
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
            for cells in batch.to_pylist():
                number += 1
                yield FileRow(number, number, cells)
            advance(round(each * batch.num_rows))


def _counted(lines: Any, advance: Callable[[int], object]) -> Iterator[str]:
    """Yield the lines of a file, and say from time to time how many characters they had."""
    done = 0
    for line in lines:
        done += len(line)
        if done >= _PIECE // 8:
            advance(done)
            done = 0
        yield line
    advance(done)


@dataclass(frozen=True)
class Layout:
    """Which column of a file holds what, for one model."""

    card: Card
    answers: AnswerColumns
    label: str | None
    id: str | None
    metadata: tuple[str, ...]

    @classmethod
    def of(
        cls, card: Card, header: tuple[str, ...], answers: AnswerColumns, label: str | None, own: str | None
    ) -> "Layout":
        """Find the columns in a header; raises DataError that names those that are not there."""
        needed = [one.name for one in card.features] + [*answers.names, *filter(None, (label, own))]
        if lacking := [name for name in needed if name not in header]:
            shown = ", ".join(map(repr, lacking[:10]))
            raise DataError(f"the file has no column {shown}; it has: {', '.join(header[:50])}")
        if card.task == "regression" and answers.probabilities:
            raise DataError("the model predicts a number, which has no probabilities; leave out --probability")
        _check_classes(card, answers)
        found = label or (card.target if card.target in header else None)
        used = {*needed, found}
        return cls(card, answers, found, own, tuple(one for one in card.metadata if one in header and one not in used))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that are read."""
        names = [one.name for one in self.card.features] + [*self.answers.names, *self.metadata]
        return tuple(dict.fromkeys([*names, *filter(None, (self.label, self.id))]))


def _check_classes(card: Card, answers: AnswerColumns) -> None:
    if not answers.probabilities or card.classes is None:
        return
    known = KnownClasses(card.classes)
    unknown = [name for name in answers.probabilities if known.place(name) is None]
    if unknown or (len(answers.probabilities) < len(card.classes) and len(card.classes) > 2):
        raise DataError(f"--probability must name a column for each class: {', '.join(map(str, card.classes))}")


class RowReader:
    """Makes of each row of a file what the call that logs predictions takes."""

    def __init__(self, layout: Layout, prefix: str) -> None:
        self._layout, self._prefix = layout, prefix
        card = layout.card
        self._read: list[tuple[str, Callable[[Any], Any]]] = [(one.name, _reading(one)) for one in card.features]
        self._names = None if card.classes is None else [str(one) for one in card.classes]
        known = KnownClasses(card.classes or ("",))
        places = {known.place(name): column for name, column in layout.answers.probabilities.items()}
        self._shares = [places.get(place) for place in range(len(self._names or ()))] if places else []
        self.left_out = 0
        """Texts of metadata so far that were too long to ride along."""

    def prediction(self, row: FileRow) -> dict[str, Any]:
        """Return one item of the call's body; raises BadRowError."""
        cells, layout = row.cells, self._layout
        if isinstance(cells, str):
            raise BadRowError(cells)
        features = {name: read(cells[name]) for name, read in self._read}
        for name in layout.metadata:
            self._add_metadata(features, name, cells[name])
        sent: dict[str, Any] = {"features": features, "prediction_id": self._id(row, cells)}
        sent["prediction"] = self._answer(cells, layout.answers.prediction)
        if self._shares and (shares := self._probabilities(cells)) is not None:
            sent["probabilities"] = shares
        if layout.label is not None and (label := self._label(cells, layout.label)) is not None:
            sent["label"] = label
        return sent

    def _id(self, row: FileRow, cells: Mapping[str, Any]) -> str:
        column = self._layout.id
        if column is None:
            return f"{self._prefix}-{row.number}"
        text = _text(cells[column])
        if text is None or not OWN_ID.fullmatch(text):
            raise BadRowError(
                f"column {column!r}: {str(text or '')[:50]!r} cannot be an id; it has 1 to 128 letters, digits and "
                "._~:@/+=-"
            )
        return text

    def _answer(self, cells: Mapping[str, Any], column: str) -> Any:
        answer = self._label(cells, column)
        if answer is None:
            raise BadRowError(f"column {column!r}: the prediction is missing")
        return answer

    def _label(self, cells: Mapping[str, Any], column: str) -> Any:
        if self._names is not None:
            return cell_value(text) if (text := _text(cells[column])) is not None else None
        return _answered_number(column, cells[column])

    def _probabilities(self, cells: Mapping[str, Any]) -> dict[str, float] | None:
        """Return the probability of each class, None where the row has none."""
        names = self._names or []
        found = [None if column is None else _answered_number(column, cells[column]) for column in self._shares]
        if all(share is None for share in found):
            return None
        if len(found) == 2 and None in self._shares:  # of two classes, one says it all
            place = self._shares.index(None)
            other = found[1 - place]
            found[place] = None if other is None else 1 - other
        for share, column in zip(found, self._shares, strict=True):
            if share is None:
                raise BadRowError(f"column {column!r}: the probability is missing")
        return {name: share for name, share in zip(names, found, strict=True) if share is not None}

    def _add_metadata(self, features: dict[str, Any], name: str, cell: Any) -> None:
        value = _plain(cell)
        if isinstance(value, str) and len(value) > MAX_CATEGORY_LENGTH:
            self.left_out += 1
            return
        features[name] = value


def _reading(feature: Feature) -> Callable[[Any], Any]:
    """Return what reads the cells of a feature; what it cannot read is left to the API, which says what is wrong."""
    words = missing_words(feature)
    if encoding_of(feature).is_number:
        return partial(_number, words=words, notation=feature.notation)
    if feature.type == "boolean":
        return partial(_truth, words=words)
    return lambda cell: cell_value(text, words) if (text := _text(cell)) is not None else None


def _number(cell: Any, words: Collection[str], notation: NumberNotation | None = None) -> Any:
    if isinstance(cell, str):
        return read_number(cell, words, notation)
    if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
        return None if cell is None else _plain(cell)
    number = float(cell)
    return None if math.isnan(number) else number if math.isfinite(number) else str(number)


def _answered_number(column: str, cell: Any) -> float | None:
    """Return the number of an answer, None where it is missing; raises BadRowError."""
    found = _number(cell, MISSING_WORDS)
    if found is None or isinstance(found, float):
        return found
    text = str(found).strip()
    readings = {number for one in _NOTATIONS if (number := parse_number(text, one)) is not None}
    if len(readings) != 1:
        raise BadRowError(f"column {column!r}: {text[:50]!r} " + ("may be two numbers" if readings else "is no number"))
    return readings.pop()


def _truth(cell: Any, words: Collection[str]) -> Any:
    if isinstance(cell, bool) or cell is None:
        return cell
    text = cell_value(str(cell), words)
    return None if text is None else _TRUTHS.get(text.lower(), text)


def _text(cell: Any) -> str | None:
    """Return a cell as text, None where it is missing: a whole number has no fraction, as in a CSV file."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.strip() if isinstance(cell, str) else str(_plain(cell))


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it."""
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if cell is None or isinstance(cell, (str, bool, int)):
        return cell
    if isinstance(cell, (datetime, date, time)):
        return cell.isoformat()
    return float(cell) if isinstance(cell, Decimal) else str(cell)
