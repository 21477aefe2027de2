"""The text of a CSV file: its encoding, its separator, and its cells with their line numbers."""

import csv
import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader as _Reader  # known to type checkers, hidden at run time


SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

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
    def has_decimal_comma(self) -> bool:
        """Return whether a comma may stand in a number."""
        return self.separator != ","

    @property
    def reading(self) -> str:
        """Return in words how the file was read."""
        return f"{self.encoding}, {SEPARATORS[self.separator]}, {self.rows} rows"


def read_csv_text(path: Path, target: str, separator: str | None = None) -> CsvText:
    """Return the cells of a file with a header line; raises DataError that names the line.

    UTF-8 and UTF-16 are recognised by their bytes; any other text is read as Windows-1252. Of the known separators, the
    one is taken that shows the target in the header and the most lines as wide as the header.
    """
    text, encoding = _decode(path)
    separator = separator or _find_separator(text, target)
    reader = _reader(text, separator)
    try:
        names = [name.strip() for name in next(reader, [])]
        if not any(names):
            raise DataError(f"{path} is empty; it needs a header line")
        header = tuple(name or unnamed(place) for place, name in enumerate(names, start=1))
        with _without_collector():
            rows, lines = _read_rows(path, reader, len(header))
            columns = [list(map(str.strip, cells)) for cells in zip(*rows, strict=True)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; is a quote not closed?") from error
    _check_header(path, header)
    if not rows:
        raise DataError(f"{path} has a header line and no rows")
    return CsvText(path, encoding, separator, header, lines, columns)


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


def _find_separator(text: str, target: str) -> str:
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
        if record:
            yield record
        if reader.line_num >= _SAMPLED_RECORDS:
            return


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    doubles = [name for position, name in enumerate(header) if name in header[:position]]
    if doubles:
        raise DataError(f"{path}: column {doubles[0]!r} occurs twice; rename one")
    if all(_is_number(name) for name in header):
        raise DataError(f"{path}, line 1: only numbers; the first line must name the columns")


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
        rows.append(row)
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
