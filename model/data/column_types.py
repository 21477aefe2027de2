"""The type of a CSV column: number, category, boolean, or dropped, with the reason."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from model.artifact.manifest import FeatureType
from model.data.encoding import LARGEST_NUMBER
from model.errors import DataError

MAX_SHOWN = 100
"""Characters of a cell that an error repeats."""
MAX_CATEGORIES = 200
"""More different texts than this are identifiers or free text, from which one-hot columns learn nothing."""
MAX_CATEGORIES_ON_REQUEST = 1_000
"""Each category is a column of the encoded rows, which are held in memory."""
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "#n/a", "?"})
"""Cells, in any case, that stand for a missing value."""

MIXED = "not all are numbers"

_MOSTLY = 0.9  # a column with more than this share of numbers was meant to hold numbers
_NEARLY_UNIQUE = 0.5
_MIN_UNIQUE = 20  # fewer different values say nothing about what a column is
_LARGEST_EXACT = 2**53  # integers beyond it share their float with others
_BOOLEANS = {"true": "True", "false": "False"}
_BOOLEANS_ON_REQUEST = _BOOLEANS | dict.fromkeys(("1", "1.0", "yes", "y", "t"), "True")
_BOOLEANS_ON_REQUEST |= dict.fromkeys(("0", "0.0", "no", "n", "f"), "False")
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([ T]\d{1,2}:\d{2}.*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)?(,\d+)?([eE][+-]?\d+)?")
_LEADING_ZERO = re.compile(r"0\d+")
_INTEGER = re.compile(r"[+-]?\d+")
_IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|uuid|guid|key)$|[a-z]I[Dd]$", re.IGNORECASE)


class Cell(NamedTuple):
    """A cell that is not missing, and the line of the file that it, or the first one with its text, ends on."""

    text: str
    line: int


class Verdict(NamedTuple):
    """What a column was taken for, and why."""

    type: FeatureType
    why: str


def infer_type(name: str, cells: Sequence[Cell], *, decimal_comma: bool) -> Verdict:
    """Return the type of a column with at least one filled cell.

    Raises DataError that names the line where nearly all cells are numbers and one is not.
    """
    texts = _texts(cells)
    if all(text.lower() in _BOOLEANS for text in texts):
        return Verdict("boolean", "true and false")
    if any(map(_LEADING_ZERO.fullmatch, texts)) and all(map(_INTEGER.fullmatch, texts)):
        return Verdict("category", "codes with leading zeros")
    comma = decimal_comma and _has_decimal_comma(cells)
    words = {text for text in texts if parse_number(text, decimal_comma=comma) is None}
    others = [cell for cell in cells if cell.text in words] if words else []
    if not others:
        return Verdict("number", "numbers with a decimal comma" if comma else "numbers")
    if len(others) < (1 - _MOSTLY) * len(cells):
        raise DataError(
            f"column {name!r}, line {others[0].line}: {others[0].text[:MAX_SHOWN]!r} is not a finite number, as nearly "
            "all others in the column are; correct it, or leave it blank if it is missing"
        )
    if len(others) == len(cells):
        return Verdict("category", "texts")
    return Verdict("category", f"{MIXED}: {others[0].text[:30]!r} on line {others[0].line}")


def mostly_numbers(cells: Sequence[Cell], *, decimal_comma: bool) -> tuple[float, ...] | None:
    """Return the different numbers in a column, ascending, None where it was not meant to hold numbers.

    As in `infer_type`, codes with leading zeros are none, and a few cells of something else are a mistake.
    """
    comma, texts = decimal_comma and _has_decimal_comma(cells), _texts(cells)
    if any(map(_LEADING_ZERO.fullmatch, texts)):
        return None
    numbers = {text: parse_number(text, decimal_comma=comma) for text in texts}
    found = sum(numbers[cell.text] is not None for cell in cells)
    different = {number for number in numbers.values() if number is not None}
    return tuple(sorted(different)) if found > _MOSTLY * len(cells) else None


def reason_to_drop(name: str, cells: Sequence[Cell], kind: FeatureType, rows: int) -> str | None:
    """Return why nothing that holds for other rows can be learned from a column, None where it can.

    `cells` are the filled ones of `rows`.
    """
    texts = _texts(cells)
    if len(texts) == 1 and (len(cells) == rows or kind == "number"):
        return f"constant: {cells[0].text[:30]!r} in every row"
    if kind == "number":
        return _identifying_numbers(name, cells, rows)
    if kind == "category":
        dates = set(filter(_DATE.fullmatch, texts))
        if dates and sum(cell.text in dates for cell in cells) >= _MOSTLY * len(cells):
            return "dates, which never come again; derive numbers from them, such as an age in days"
        if len(texts) > MAX_CATEGORIES:
            return f"{len(texts)} different texts: an identifier or free text"
        if len(texts) >= _MIN_UNIQUE and len(texts) > _NEARLY_UNIQUE * len(cells):
            return f"nearly every text is another one ({len(texts)} in {len(cells)} rows): an identifier or free text"
    return None


def _identifying_numbers(name: str, cells: Sequence[Cell], rows: int) -> str | None:
    texts = _texts(cells)
    integers = [int(text) for text in texts if _INTEGER.fullmatch(text) and len(text) < 400]
    if len(integers) < len(texts):
        return None
    if max(map(abs, integers)) > _LARGEST_EXACT:
        return "integers beyond 2^53, which numbers cannot tell apart: an identifier"
    unique = len(set(integers)) == rows and rows >= _MIN_UNIQUE
    if unique and min(integers) in {0, 1} and max(integers) - min(integers) == rows - 1:
        return "counts the rows: an index"
    if unique and (_IDENTIFIER_NAME.search(name) or not name):
        return "another integer in every row, and its name: an identifier"
    return None


def column_values(name: str, cells: Sequence[Cell | None], kind: FeatureType, *, decimal_comma: bool) -> pd.Series:
    """Return a column's values, (rows,): float64, or text with None; booleans are "True" and "False".

    A cell that is None is missing. Raises DataError that names the first line that is not of this type.
    """
    filled = [cell for cell in cells if cell is not None]
    if kind == "number":
        comma = decimal_comma and _has_decimal_comma(filled)
        numbers = {text: _number(name, cell, comma) for text, cell in _first_cells(filled).items()}
        return pd.Series([math.nan if cell is None else numbers[cell.text] for cell in cells], dtype="float64")
    if kind == "boolean":
        flags = {text: _boolean(name, cell) for text, cell in _first_cells(filled).items()}
        return pd.Series([None if cell is None else flags[cell.text] for cell in cells], dtype=object)
    texts = _texts(filled)
    if len(texts) > MAX_CATEGORIES_ON_REQUEST:
        raise DataError(
            f"column {name!r} has {len(texts)} different texts; at most {MAX_CATEGORIES_ON_REQUEST} are categories; "
            "drop it"
        )
    return pd.Series([None if cell is None else cell.text for cell in cells], dtype=object)


def parse_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """Return a finite number that float32 can hold, as models compute in it; None where the text is none."""
    if decimal_comma:
        if not _DECIMAL_COMMA.fullmatch(text):
            return None
        text = text.replace(".", "").replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST_NUMBER and "_" not in text else None


def _texts(cells: Sequence[Cell]) -> set[str]:
    """Return the different texts of cells. There are far fewer than cells, so whatever takes time looks at these."""
    return {cell.text for cell in cells}


def _first_cells(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Return the first cell with each text, in order."""
    first: dict[str, Cell] = {}
    for cell in cells:
        if cell.text not in first:
            first[cell.text] = cell
    return first


def _has_decimal_comma(cells: Sequence[Cell]) -> bool:
    with_comma = [text for text in _texts(cells) if "," in text]
    return bool(with_comma) and all(map(_DECIMAL_COMMA.fullmatch, with_comma))


def _number(name: str, cell: Cell, comma: bool) -> float:
    value = parse_number(cell.text, decimal_comma=comma)
    if value is None:
        raise DataError(f"column {name!r}, line {cell.line}: {cell.text[:MAX_SHOWN]!r} {_why_no_number(cell.text)}")
    return value


def _why_no_number(text: str) -> str:
    try:
        finite = math.isfinite(float(text)) and "_" not in text
    except ValueError:
        finite = False
    return f"is too large: numbers go up to {LARGEST_NUMBER:.1e}" if finite else "is not a finite number"


def _boolean(name: str, cell: Cell) -> str:
    value = _BOOLEANS_ON_REQUEST.get(cell.text.lower())
    if value is None:
        raise DataError(f"column {name!r}, line {cell.line}: {cell.text[:MAX_SHOWN]!r} is neither true nor false")
    return value
