"""The text of a CSV file: its encoding, its separator, and its cells with their line numbers."""

import csv
import gc
import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader as _Reader  # known to type checkers, hidden at run time


SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

MAX_COLUMNS = 5_000
"""Most columns that a file may have: each becomes a field of a request and a part of every snapshot."""
_SAMPLED_RECORDS = 200
_NOT_TEXT = {
    b"PK\x03\x04": "a spreadsheet or zip file",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
}

Cells = list[str]


@dataclass(frozen=True)
class CsvText:
    """Cells by column, stripped of outer blanks; `lines` (rows,) is where each row ends in the file."""

    path: Path
    encoding: str
    separator: str
    header: tuple[str, ...]
    lines: list[int]
    columns: list[Cells]

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return len(self.lines)

    @property
    def reading(self) -> str:
        """Return in words how the file was read."""
        return f"{self.encoding}, {SEPARATORS[self.separator]}, {self.rows} rows"

    @property
    def likely_decimal(self) -> str | None:
        """Return the mark that stands before fractions where the file does not tell: semicolons make room for commas.

        Tabs and bars say nothing.
        """
        return {",": ".", ";": ","}.get(self.separator)

    def without(self, rows: Collection[int]) -> "CsvText":
        """Return the file without the rows at these places."""
        gone = set(rows)
        if not gone:
            return self
        kept = [place for place in range(self.rows) if place not in gone]
        columns = [[cells[place] for place in kept] for cells in self.columns]
        return replace(self, lines=[self.lines[place] for place in kept], columns=columns)


def read_csv_text(path: Path, target: str, separator: str | None = None) -> CsvText:
    """Return the cells of a file with a header line; raises DataError that names the line.

    UTF-8 and UTF-16 are recognised by their bytes; any other text is read as Windows-1252. Of the known separators, the
    one is taken that shows the target in the header and the most lines as wide as the header.
    """
    text, encoding = _decode(path)
    separator = separator or find_separator(text, target)
    reader = _reader(text, separator)
    try:
        names = _first_record(reader)
        if not names:
            raise DataError(f"{path} is empty; it needs a header line")
        if len(names) > MAX_COLUMNS:
            raise DataError(
                f"{path} has {len(names):,} columns, and at most {MAX_COLUMNS:,} are taken; leave out those that the "
                "model does not need"
            )
        header = tuple(name or unnamed(place) for place, name in enumerate(names, start=1))
        with _without_collector():
            rows, lines = _read_rows(path, reader, len(header))
            columns = [list(cells) for cells in zip(*rows, strict=True)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; is a quote not closed?") from error
    _check_header(path, header)
    if not rows:
        raise DataError(f"{path} has a header line and no rows")
    _check_names(path, header, columns)
    return CsvText(path, encoding, separator, header, lines, columns)


def _first_record(reader: "_Reader") -> Cells:
    """Return the cells of the first line that is not blank, none where there is no such line."""
    for record in reader:
        names = [name.strip() for name in record]
        if any(names):
            return names
    return []


def unnamed(place: int) -> str:
    """Return what a column without a name is called; the first is at place 1."""
    return f"(column {place})"


def _decode(path: Path) -> tuple[str, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    for start, kind in _NOT_TEXT.items():
        if content.startswith(start):
            raise DataError(f"{path} is {kind}, not text; save it as CSV")
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return content.decode("utf-16"), "UTF-16"
        if b"\0" in content:
            raise DataError(f"{path} is not text (byte {content.index(0)} is zero); save it as CSV")
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        # every byte means something in Latin-1, which differs from Windows-1252 only in control characters
        try:
            return content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            return content.decode("latin-1"), "Latin-1"


def _reader(text: str, separator: str) -> "_Reader":
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)


def find_separator(text: str, target: str) -> str:
    """Return the separator of the first lines of a file, of which one names the target."""

    def rank(separator: str) -> tuple[bool, float, int]:
        records = list(_sample(_reader(text, separator)))
        if not records or len(records[0]) < 2:
            return (False, 0.0, 0)
        width = len(records[0])
        alike = sum(len(record) == width for record in records) / len(records)
        return (target in {name.strip() for name in records[0]}, alike, width)

    return max(SEPARATORS, key=rank)


def _sample(reader: "_Reader") -> Iterator[Cells]:
    """Yield the first records, up to one that cannot be read with this separator."""
    while True:
        try:
            record = next(reader)
        except (StopIteration, csv.Error):
            return
        if any(cell.strip() for cell in record):
            yield record
        if reader.line_num >= _SAMPLED_RECORDS:
            return


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    doubles = [name for position, name in enumerate(header) if name in header[:position]]
    if doubles:
        raise DataError(f"{path}: column {doubles[0]!r} occurs twice; rename one")
    if all(_is_number(name) for name in header):
        raise DataError(f"{path}, line 1: only numbers; the first line must name the columns")


_FREQUENT = 0.05  # of the cells of a column


def _check_names(path: Path, header: tuple[str, ...], columns: list[Cells]) -> None:
    """Raise DataError where the first line looks like a row: values of their own columns, or numbers, for names."""
    frequent = [
        name
        for name, cells in zip(header, columns, strict=True)
        # a column of ticks holds its own name, or nothing
        if not _is_number(name) and cells.count(name) > _FREQUENT * len(cells) and set(cells) - {"", name}
    ]
    numbers = [name for name in header if _is_number(name)]
    if not _are_counted(numbers) and 2 * (len(frequent) + len(numbers)) > len(header) and (frequent or numbers):
        found = f"{numbers[0]!r} is a number" if numbers else ""
        if frequent:
            times = columns[header.index(frequent[0])].count(frequent[0])
            found = f"{frequent[0]!r} is a value of its own column, {times:,} times"
        raise DataError(
            f"{path}: the first line looks like a row and not like the names of the columns: {found}; add a line above "
            "it that names the columns"
        )


def _are_counted(numbers: list[str]) -> bool:
    """Whether names are numbers that count on in equal steps, such as the years or hours of a wide table."""
    values = [float(number) for number in numbers]
    steps = {later - earlier for earlier, later in pairwise(values)}
    return len(values) > 1 and all(value.is_integer() for value in values) and len(steps) == 1 and steps != {0.0}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_rows(path: Path, reader: "_Reader", width: int) -> tuple[list[Cells], list[int]]:
    rows: list[Cells] = []
    lines: list[int] = []
    for row in reader:
        if not row:  # a blank line
            continue
        if len(row) != width:
            raise DataError(f"{path}, line {reader.line_num}: {len(row)} cells where the header has {width}")
        rows.append([cell.strip() for cell in row])
        lines.append(reader.line_num)
    return rows, lines


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector, which would look at all rows again and again: nothing in them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
