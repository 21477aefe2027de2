"""The type of a CSV column: number, category, boolean, or dropped, with the reason."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from model.artifact.manifest import FeatureType
from model.data.cells import (
    LARGEST_NUMBER,
    MAX_SHOWN,
    MISSING_AMONG_NUMBERS,
    PLAIN,
    Ambiguity,
    ColumnCells,
    Reading,
    number_reading,
    parse_number,
)
from model.data.encoding import MAX_CATEGORY_LENGTH
from model.errors import DataError

MAX_CATEGORIES = 200
"""Of more different texts, the commonest are categories, and one category stands for all others."""
MAX_CATEGORIES_ON_REQUEST = 1_000
"""Each category is a column of the encoded rows, which are held in memory."""
OTHER = "other"
"""The category of the rarer texts of a column that has more than `MAX_CATEGORIES`."""

MIXED = "not all are numbers"

_MOSTLY = 0.9  # a column with more than this share of numbers was meant to hold numbers
_HALF = 0.5  # beside this share of numbers, marks such as "-" are missing numbers
_NEARLY_UNIQUE = 0.5
_SELDOM = 0.2  # where the commonest texts hold fewer rows than this, the rest says nothing
_MIN_UNIQUE = 20  # fewer different values say nothing about what a column is
_MIN_ORDERED = 100  # whole numbers that rise from row to row for so long are counted
_LARGEST_EXACT = 2**53  # integers beyond it share their float with others
_BOOLEANS = {"true": "True", "false": "False"}
_BOOLEANS_ON_REQUEST = _BOOLEANS | dict.fromkeys(("1", "1.0", "yes", "y", "t"), "True")
_BOOLEANS_ON_REQUEST |= dict.fromkeys(("0", "0.0", "no", "n", "f"), "False")
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})"
    rf"|\d{{1,2}}[-/ ]{_MONTHS}[-/ ,]+\d{{2,4}}|{_MONTHS} \d{{1,2}},? \d{{4}})([ T]+\d{{1,2}}:\d{{2}}.*)?",
    re.IGNORECASE,
)
_COMPACT_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_LEADING_ZERO = re.compile(r"0\d+")
_INTEGER = re.compile(r"[+-]?\d+(\.0+)?")
_IDENTIFIER_NAME = re.compile(r"(^|[\W_])(id|uuid|guid|key)$|^id[\W_]|[a-z]I[Dd]$", re.IGNORECASE)
_NUMBER_NAME = re.compile(r"(^|[\W_]|[a-z](?=[A-Z]))(number|num|nr|no)$", re.IGNORECASE)
_DERIVE = (
    "derive what comes again, such as hour, weekday, month or an age in days, in a column of its own, and send that too"
)
_KEEP = "to keep it, give its type in the schema"


class Verdict(NamedTuple):
    """What a column was taken for, and why; how its numbers are read, and what else means a missing value in it."""

    type: FeatureType
    why: str
    reading: Reading = PLAIN
    missing: tuple[str, ...] = ()


def infer_type(column: ColumnCells, decimal: str | None, guess: str | None, *, with_marks: bool = True) -> Verdict:
    """Return the type of a column with at least one filled cell.

    `decimal` is the mark before fractions that is known, and `guess` the one to take where nothing tells; `with_marks`
    says whether marks such as "-" may mean a missing number. Raises
    DataError that names the lines where nearly all cells are numbers and some are not, or where the numbers may be
    others.
    """
    texts = column.counts
    if all(text.lower() in _BOOLEANS for text in texts):
        return Verdict("boolean", "true and false")
    if any(_LEADING_ZERO.fullmatch(text) for text in texts) and all(_is_integer(text) for text in texts):
        return Verdict("category", "codes with leading zeros")
    marks = _missing_marks(column) if with_marks else {}
    rest = [text for text in texts if text not in marks]
    if rest and sum(marks.values()) <= _HALF * column.filled:
        reading = number_reading(rest, decimal, guess=guess)
        if isinstance(reading, Ambiguity):
            raise DataError(f"column {column.name!r}: {reading.why}; {_how_to_decide(reading)}")
        if reading is not None:
            return _numbers(reading, marks)
        _refuse_odd_cells(column, [text for text in rest if _reads_as_number(text)], marks)
    others = [text for text in texts if parse_number(text) is None]
    if len(others) == len(texts):
        return Verdict("category", "texts")
    if not others:  # plain numbers that the mark that is known does not read
        raise DataError(
            f"column {column.name!r} has no numbers with the decimal mark {decimal!r}: {column.where(rest, 1)}; leave "
            "decimal out of the schema, or name the column's own mark under columns"
        )
    line = next(line for cell, line in zip(column.cells, column.lines, strict=True) if cell == others[0])
    return Verdict("category", f"{MIXED}: {others[0][:30]!r} on line {line}")


def infer_plain_type(column: ColumnCells, decimal: str | None, guess: str | None) -> Verdict:
    """Return the type of a column as other programs take it, where only plain numbers and decimal commas are numbers.

    A model that was fitted elsewhere has seen amounts, percentages and the like as texts, unless its schema says more.
    """
    texts = column.counts
    plain = all(parse_number(text) is not None for text in texts)
    comma = not plain and guess != "." and all(parse_number(text, "comma") is not None for text in texts)
    if comma or plain or not any(_reads_as_number(text) for text in texts):
        return infer_type(column, "," if comma else decimal, guess, with_marks=False)
    _refuse_odd_cells(column, [text for text in texts if parse_number(text) is not None], {})
    return Verdict("category", "texts, as other programs read them; if the model takes numbers, say so in the schema")


def asked_numbers(column: ColumnCells, decimal: str | None, guess: str | None, *, with_marks: bool = True) -> Verdict:
    """Return how the numbers are written of a column that the schema calls numbers; DataError if they may be others."""
    marks = _missing_marks(column) if with_marks else {}
    readable = [text for text in column.counts if text not in marks and _reads_as_number(text)]
    reading = number_reading(readable, decimal, guess=guess) if readable else None
    if isinstance(reading, Ambiguity) and "units" not in reading.why:
        raise DataError(f"column {column.name!r}: {reading.why}; {_how_to_decide(reading)}")
    found = reading if isinstance(reading, Reading) else Reading("comma" if (decimal or guess) == "," else "point")
    verdict = _numbers(found if isinstance(reading, Reading) or readable else Reading(), marks)
    return verdict._replace(why="the schema says so" + verdict.why.removeprefix("numbers"))


def _missing_marks(column: ColumnCells) -> dict[str, int]:
    return {text: count for text, count in column.counts.items() if text.lower() in MISSING_AMONG_NUMBERS}


def _how_to_decide(ambiguity: Ambiguity) -> str:
    if "units" in ambiguity.why:
        return (
            "convert them to one unit, or give the column a type in the schema: number takes them as they are written"
        )
    return 'say in the schema which mark stands before fractions: decimal: "." or decimal: ","'


def _numbers(reading: Reading, marks: Mapping[str, int]) -> Verdict:
    if not marks:
        return Verdict("number", reading.why, reading)
    named = ", ".join(repr(text) for text in list(marks)[:3]) + (", …" if len(marks) > 3 else "")
    count = sum(marks.values())
    why = f"{reading.why}; {named} in {count:,} cells means missing"
    return Verdict("number", why, reading, tuple(sorted({text.lower() for text in marks})))


def _reads_as_number(text: str) -> bool:
    return any(parse_number(text, notation) is not None for notation in (None, "point", "comma", "time"))


def _refuse_odd_cells(column: ColumnCells, numbers: Collection[str], marks: Mapping[str, int]) -> None:
    """Raise DataError where so many cells are numbers that the others are mistakes."""
    known = sum(column.counts[text] for text in numbers)
    odd = set(column.counts) - set(numbers) - set(marks)
    if known <= _MOSTLY * (column.filled - sum(marks.values())) or not odd:
        return
    shown = column.where(odd)
    first, _, more = shown.partition("; ")
    raise DataError(
        f"column {column.name!r}, {first} is not a finite number, as nearly all others in the column are; correct it, "
        "or leave it blank if it is missing, or name it under 'missing' in the schema, "
        "or call the column a category there" + (f"; the same in {more}" if more else "")
    )


def mostly_numbers(column: ColumnCells, decimal: str | None, guess: str | None) -> tuple[float, ...] | None:
    """Return the different numbers in a column, ascending, None where it was not meant to hold numbers.

    As in `infer_type`, codes with leading zeros are none, and a few cells of something else are a mistake.
    """
    if any(_LEADING_ZERO.fullmatch(text) for text in column.counts):
        return None
    reading = number_reading(list(column.counts), decimal, guess=guess)
    notation = reading.notation if isinstance(reading, Reading) else None
    if isinstance(reading, Ambiguity):
        notation = "point"  # whichever it is, there are as many of them
    found = {text: number for text in column.counts if (number := parse_number(text, notation)) is not None}
    if notation == "time" or sum(column.counts[text] for text in found) <= _MOSTLY * column.filled:
        return None
    return tuple(sorted(set(found.values())))


def reason_to_drop(column: ColumnCells, verdict: Verdict, *, nameless: bool) -> str | None:
    """Return why nothing that holds for other rows can be learned from a column, None where it can."""
    texts, kind = column.counts, verdict.type
    if len(texts) == 1 and (column.filled == column.rows or kind == "number"):
        return f"constant: {next(iter(texts))[:30]!r} in every row"
    if kind == "number":
        return _identifying_numbers(column, nameless=nameless)
    if kind != "category":
        return None
    if sum(count for text, count in texts.items() if _DATE.fullmatch(text)) >= _MOSTLY * column.filled:
        return f"dates, which never come again; {_DERIVE}"
    return _identifying_texts(column, nameless=nameless)


def _identifying_texts(column: ColumnCells, *, nameless: bool) -> str | None:
    texts, filled = column.counts, column.filled
    many, nearly_unique = len(texts) > MAX_CATEGORIES, len(texts) > _NEARLY_UNIQUE * filled
    why = None
    if any(len(text) > MAX_CATEGORY_LENGTH for text in texts):
        why = f"texts of more than {MAX_CATEGORY_LENGTH:,} characters: free text"
    elif nearly_unique and many:
        why = f"{len(texts)} different texts in {filled} rows: an identifier or free text; {_KEEP}"
    elif nearly_unique and len(texts) >= _MIN_UNIQUE:
        why = f"nearly every text is another one ({len(texts)} in {filled} rows): an identifier or free text; {_KEEP}"
    elif many and not nameless and _IDENTIFIER_NAME.search(column.name):
        why = f"{len(texts)} different texts, and its name: an identifier; {_KEEP}"
    elif many and sum(sorted(texts.values())[-MAX_CATEGORIES:]) < _SELDOM * filled:
        why = f"{len(texts)} different texts, none of them common: an identifier or free text; {_KEEP}"
    return why


def _is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and len(text) < 400


def _identifying_numbers(column: ColumnCells, *, nameless: bool) -> str | None:
    texts = column.counts
    if not all(_is_integer(text) for text in texts):
        return None
    numbers = {text: int(text.partition(".")[0]) for text in texts}
    if max(map(abs, numbers.values())) > _LARGEST_EXACT:
        return "integers beyond 2^53, which numbers cannot tell apart: an identifier"
    in_order = [numbers[cell] for cell in column.cells if cell is not None]
    different, low, high = len(set(in_order)), min(in_order), max(in_order)
    if different < _MIN_UNIQUE:
        return None
    if different == column.rows and (_counts_lines(column, numbers) or (low in {0, 1} and high - low == different - 1)):
        return "counts the rows: an index"
    if nameless:
        return _nameless_index(in_order)
    return _identifying_integers(column.name, in_order, different)


def _counts_lines(column: ColumnCells, numbers: Mapping[str, int]) -> bool:
    """Say whether the numbers are those of the lines below the header, counted from 0 or 1."""
    cells = zip(column.cells, column.lines, strict=True)
    return {line - numbers[cell] for cell, line in cells if cell is not None} in ({1}, {2})


def _identifying_integers(name: str, in_order: Sequence[int], different: int) -> str | None:
    """Return why whole numbers tell rows apart: by their name, or by their order."""
    if all(_COMPACT_DATE.fullmatch(str(number)) for number in set(in_order)):
        return f"dates, which never come again; {_DERIVE}"
    least = 1.0
    if _IDENTIFIER_NAME.search(name):
        least = _NEARLY_UNIQUE
    elif _NUMBER_NAME.search(name):
        least = _MOSTLY
    if least < 1 and different > least * len(in_order):
        share = "every" if different == len(in_order) else "nearly every"
        return f"another integer in {share} row, and its name: an identifier; {_KEEP}"
    if different == len(in_order) >= _MIN_ORDERED and _counts_up(in_order):
        return f"integers that go up from row to row, as a counter does: an identifier; {_KEEP}"
    return None


def _nameless_index(rising: Sequence[int]) -> str | None:
    """Return why whole numbers without a name are an index: all different, or counted again and again."""
    if len(set(rising)) == len(rising):
        return "another integer in every row, and its name: an identifier"
    ups = sum(later - earlier == 1 for earlier, later in pairwise(rising))
    if ups > _MOSTLY * (len(rising) - 1):
        return "counts the rows of several parts and has no name: an index"
    return None


def _counts_up(rising: Sequence[int]) -> bool:
    steps = np.diff(np.array(rising, dtype=np.float64))
    dense = abs(rising[-1] - rising[0]) <= 10 * len(rising)
    return dense and (bool((steps > 0).all()) or bool((steps < 0).all()))


def most_frequent(column: ColumnCells, most: int | None, *, asked: bool) -> frozenset[str] | None:
    """Return the texts that are categories of their own, None where all of them are.

    Without a number, up to 200 are, or up to 1,000 in a column that was `asked` to be a category.
    """
    limit = most or (MAX_CATEGORIES_ON_REQUEST if asked else MAX_CATEGORIES)
    if len(column.counts) <= limit:
        return None
    kept = (most or MAX_CATEGORIES) - 1
    ranked = sorted(column.counts, key=lambda text: (text == OTHER, -column.counts[text], text))
    return frozenset(text for text in ranked[:kept] if text != OTHER)


def column_values(
    column: ColumnCells, kind: FeatureType, reading: Reading = PLAIN, categories: Collection[str] | None = None
) -> pd.Series:
    """Return a column's values, (rows,): float64, or text with None; booleans are "True" and "False".

    Texts outside `categories`, if they are given, become `OTHER`. Raises DataError that names the lines that are not
    of this type.
    """
    known: Mapping[str, object]
    if kind == "number":
        numbers = {text: parse_number(text, reading.notation) for text in column.counts}
        if wrong := [text for text, number in numbers.items() if number is None]:
            raise _not_of_this_type(column, wrong, _why_no_number(_first(column, wrong)))
        return pd.Series([math.nan if cell is None else numbers[cell] for cell in column.cells], dtype="float64")
    if kind == "boolean":
        known = {text: _BOOLEANS_ON_REQUEST.get(text.lower()) for text in column.counts}
        if wrong := [text for text, flag in known.items() if flag is None]:
            raise _not_of_this_type(column, wrong, "is neither true nor false")
    elif categories is None:
        return pd.Series(column.cells, dtype=object)
    else:
        known = {text: text if text in categories else OTHER for text in column.counts}
    return pd.Series([None if cell is None else known[cell] for cell in column.cells], dtype=object)


def _first(column: ColumnCells, texts: Collection[str]) -> str:
    return next(cell for cell in column.cells if cell in texts and cell is not None)


def _not_of_this_type(column: ColumnCells, wrong: Collection[str], why: str) -> DataError:
    first, _, more = column.where(set(wrong)).partition("; ")
    return DataError(f"column {column.name!r}, {first} {why}" + (f"; the same in {more}" if more else ""))


def _why_no_number(text: str) -> str:
    try:
        finite = math.isfinite(float(text)) and "_" not in text
    except ValueError:
        finite = False
    return f"is too large: numbers go up to {LARGEST_NUMBER:.1e}" if finite else "is not a finite number"


__all__ = [
    "MAX_CATEGORIES",
    "MAX_CATEGORIES_ON_REQUEST",
    "MAX_SHOWN",
    "MIXED",
    "OTHER",
    "Verdict",
    "asked_numbers",
    "column_values",
    "infer_plain_type",
    "infer_type",
    "most_frequent",
    "mostly_numbers",
    "reason_to_drop",
]
