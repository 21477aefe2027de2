"""The cells of a table as text: which mean missing, how numbers are written, and which class a label means."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.artifact.manifest import NumberNotation, Value
from model.errors import PredictionError

Limit = float | npt.NDArray[np.float64]

LARGEST_NUMBER = 3.4028234663852886e38
"""Largest number in float32, in which models compute."""
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "#n/a", "?"})
"""Cells, in any case, that stand for a missing value, in files and in requests."""
MISSING_AMONG_NUMBERS = frozenset(
    {"-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "*", "none", "nil", "unknown", "unk", "missing", "<na>"}
    | {"not available", "not applicable", "no data", "undefined", "(blank)", "n.a.", "n.a", "n/d", "nd", "tbd", "-na-"}
    | {"#div/0!", "#value!", "#ref!", "#null!", "#num!"}
)
"""Cells, in any case, that stand for a missing value where nearly all others of a column are numbers."""

MAX_SHOWN = 100
"""Characters of a cell that an error repeats."""

_BLANKS = r"'\u2019 \u00a0\u2009\u202f"
_SIGNS = r"(?:[A-Z]{1,2})?[$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba\u20aa\u0e3f\u20a6\u20b1\u20b4]"
_CODES = "USD|EUR|GBP|JPY|CHF|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|SGD|HKD|TRY"
_CURRENCY = rf"(?:{_SIGNS}|(?:{_CODES})|kr\.?|z\u0142)"
_AMOUNT = re.compile(
    rf"(?P<open>\()?\s*(?P<minus>[+\u2212-])?\s*(?P<before>{_CURRENCY})?\s*(?P<sign>[+\u2212-])?\s*"
    rf"(?P<digits>[\d.,][\d.,{_BLANKS}]*(?:[eE][+-]?\d+)?)\s*(?P<after>{_CURRENCY}|%)?\s*(?P<close>\))?"
)
_GROUPED = r"\d{{1,3}}(?:(?P<mark>[{marks}])\d{{2,3}}(?:(?P=mark)\d{{2,3}})*(?<=(?P=mark)\d\d\d))?"
_NUMBER = {
    decimal: re.compile(
        rf"(?:{_GROUPED.format(marks=other + _BLANKS)}|\d+)?(?:{re.escape(decimal)}\d*)?(?:[eE][+-]?\d+)?"
    )
    for decimal, other in ((".", ","), (",", "."))
}
_TIME = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?:\s*([AaPp])\.?[Mm]\.?)?")


def cell_value(text: str, missing: Collection[str] = MISSING_WORDS) -> str | None:
    """Return a cell without its outer blanks, None where it stands for a missing value; `missing` in lower case."""
    text = text.strip()
    return None if text.lower() in missing else text


SEGMENT_PREFIX = "segment: "
"""How the column of a frame begins that holds metadata by which rows are divided; no feature has such a name."""
_WHOLE = re.compile(r"(-?\d+)\.0+")


def segment_value(value: Value) -> str | None:
    """Return metadata as the name of a segment, the same for a file and a request; None where it is missing.

    Blanks around it do not count, nor does how a whole number or a boolean is written: 3.0 is "3", true is "True".
    """
    text = cell_value(str(value)) if value is not None else None
    if text is None:
        return None
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        return whole[1]
    return text.capitalize() if text.lower() in {"true", "false"} else text


def read_text(value: object, missing: Collection[str]) -> object:
    """Return what a text in a request means, as the same text in a file; any other value as it is."""
    return cell_value(value, missing) if isinstance(value, str) else value


def read_number(value: object, missing: Collection[str], notation: NumberNotation | None) -> object:
    """Return the number that a text in a request means, None where it is missing; any other value as it is."""
    if not isinstance(value, str):
        return value
    text = cell_value(value, missing)
    if text is None:
        return None
    number = parse_number(text, notation)
    return value if number is None else number


@dataclass(frozen=True)
class ColumnCells:
    """The cells of one column, None where missing, the line of the file that each ends on, and how often each occurs.

    A file repeats its texts, so what a column is follows from the different ones.
    """

    name: str
    cells: Sequence[str | None]
    lines: Sequence[int]
    counts: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return len(self.cells)

    @property
    def filled(self) -> int:
        """Return how many cells are not missing."""
        return sum(self.counts.values())

    def where(self, texts: Collection[str], most: int = 10) -> str:
        """Return the first lines that hold one of the texts, in words, and how many more there are."""
        found = [(line, cell) for cell, line in zip(self.cells, self.lines, strict=True) if cell in texts]
        shown = [f"line {line}: {cell[:MAX_SHOWN]!r}" for line, cell in found[:most] if cell is not None]
        return "; ".join(shown) + (f"; and {len(found) - most:,} more" if len(found) > most else "")

    def without(self, words: Collection[str]) -> "ColumnCells":
        """Return the column with further texts, in lower case, as missing ones."""
        gone = {text for text in self.counts if text.lower() in words}
        if not gone:
            return self
        cells = [None if cell in gone else cell for cell in self.cells]
        counts = {text: count for text, count in self.counts.items() if text not in gone}
        return ColumnCells(self.name, cells, self.lines, counts)


def column_cells(name: str, texts: Sequence[str], lines: Sequence[int], missing: Collection[str]) -> ColumnCells:
    """Return a column of a file, whose cells have no outer blanks; `missing` are the words for a missing value."""
    everything = ColumnCells(name, texts, lines, Counter(texts))
    return everything.without(missing)


class Reading(NamedTuple):
    """How the numbers of a column are written: None where `float` reads them; their unit, and all that in words."""

    notation: NumberNotation | None = None
    unit: str | None = None
    why: str = "numbers"


PLAIN = Reading()
"""Numbers as `float` reads them."""


@dataclass(frozen=True)
class Ambiguity:
    """Why it cannot be told which numbers a column holds."""

    why: str


def parse_number(text: str, notation: NumberNotation | None = None) -> float | None:
    """Return a finite number that float32 can hold, as models compute in it; None where the text is none."""
    if notation == "time":
        return _hours(text)
    try:
        value = float(text) if notation != "comma" else _amount(text, ",")
    except ValueError:
        value = None if notation is None else _amount(text, ".")
    return value if value is not None and abs(value) <= LARGEST_NUMBER and "_" not in text else None


def _hours(text: str) -> float | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = int(match[1]), int(match[2]), float(match[3] or 0)
    if half := match[4]:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half in "pP" else 0)
    value = hours + minutes / 60 + seconds / 3600
    return value if value <= 24 else None


def _amount(text: str, decimal: str) -> float | None:
    match = _AMOUNT.fullmatch(text)
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    digits = match["digits"].strip()
    if not _NUMBER[decimal].fullmatch(digits) or not any(one.isdigit() for one in digits):
        return None
    plain = re.sub(rf"[{'.' if decimal == ',' else ','}{_BLANKS}]", "", digits).replace(decimal, ".")
    minus = bool(match["open"]) + (match["minus"] not in {None, "+"}) + (match["sign"] not in {None, "+"})
    return None if minus > 1 else (-1) ** minus * float(plain)


def number_reading(
    texts: Collection[str], decimal: str | None, *, guess: str | None = None
) -> Reading | Ambiguity | None:
    """Return how all of these texts are read as numbers, None where they are none.

    `decimal` is the mark that is known to stand before fractions, "." or ","; else it is what the texts themselves
    say, and `guess` where they may mean two things.
    """
    if all(parse_number(text) is not None and (decimal != "," or "." not in text) for text in texts):
        return Reading()
    if all(_hours(text) is not None for text in texts):
        return Reading("time", "h", "times of day, read as hours: 07:30 is 7.5")
    point, comma = ([parse_number(text, kind) for text in texts] for kind in ("point", "comma"))
    fits = {"point": None not in point and decimal != ",", "comma": None not in comma and decimal != "."}
    if not any(fits.values()):
        return None
    unit, mixed = _unit(texts)
    if mixed:
        return Ambiguity(f"its cells are in several units ({mixed})")
    notation: NumberNotation = "point" if fits["point"] else "comma"
    if all(fits.values()) and point != comma:
        if guess is None:
            example = next(text for text, one, other in zip(texts, point, comma, strict=True) if one != other)
            return Ambiguity(
                f"{example[:MAX_SHOWN]!r} may be {parse_number(example, 'point'):,g} or "
                f"{parse_number(example, 'comma'):,g}"
            )
        notation = "point" if guess == "." else "comma"
    return Reading(notation, unit, _reading_in_words(texts, notation, unit))


def decimal_evidence(texts: Collection[str]) -> str | None:
    """Return the mark before fractions, "." or ",", that the numbers of a column can only have; None for no sign."""
    texts = [text for text in texts if text.lower() not in MISSING_AMONG_NUMBERS]
    if not any("," in text or "." in text for text in texts):
        return None
    point, comma = (all(parse_number(text, kind) is not None for text in texts) for kind in ("point", "comma"))
    return None if point == comma else "." if point else ","


def _unit(texts: Collection[str]) -> tuple[str | None, str]:
    """Return the unit that the texts show, and the units where there are several."""
    found = {text: match["before"] or match["after"] or "" for text in texts if (match := _AMOUNT.fullmatch(text))}
    units = sorted({unit for unit in found.values() if unit})
    if "%" in units and any(not unit and parse_number(text, "point") != 0 for text, unit in found.items()):
        units.append("none")
    return (units[0] if units else None), ", ".join(units) if len(units) > 1 else ""


def _reading_in_words(texts: Collection[str], notation: NumberNotation, unit: str | None) -> str:
    kind = "percentages" if unit == "%" else f"amounts in {unit}" if unit else "numbers"
    if notation == "comma":
        return f"{kind} with a decimal comma"
    grouped = any(re.search(rf"\d[,{_BLANKS}]\d", text) for text in texts)
    return f"{kind} with marks between thousands" if grouped else kind


class KnownClasses:
    """The classes of a model, found by any text or value that means one of them: 1, 1.0 and "1" are one class."""

    def __init__(self, known: Sequence[bool | int | str]) -> None:
        boolean = isinstance(known[0], bool)
        self._places = {str(one).lower() if boolean else str(one): place for place, one in enumerate(known)}
        self._boolean = boolean
        numbers = [None if boolean else parse_number(str(one)) for one in known]
        self._numbers = {number: place for place, number in enumerate(numbers) if numbers.count(number) == 1}

    def place(self, label: str | float) -> int | None:
        """Return the place of the class that a label means, None where it is none of them."""
        if isinstance(label, bool):
            return self._places.get(str(label).lower() if self._boolean else str(label))
        text = str(label).strip()
        place = self._places.get(text.lower() if self._boolean else text)
        if place is not None or self._boolean:
            return place
        number = parse_number(text)
        return None if number is None else self._numbers.get(number)


def number_matrix(
    rows: Sequence[Sequence[Value]], low: Limit = -LARGEST_NUMBER, high: Limit = LARGEST_NUMBER
) -> npt.NDArray[np.float64]:
    """Return rows of numbers as a matrix with NaN for None; raises PredictionError.

    Numbers below ``low`` or above ``high``, of each column or of all, become the limit. By default that is the largest
    float32, in which the trees compare: no split tells apart what is beyond.
    """
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PredictionError(f"a number column holds something else: {error}") from error
    return np.minimum(np.maximum(matrix, low), high)  # a tenth of the time of np.clip for one row


MAX_LABEL = 200
"""Characters of a segment's name in the log, where longer ones are cut."""


def may_be_segment(name: str, columns: Sequence[str]) -> bool:
    """Whether a name may be that of a segment of one of these columns, as values and failed checks name it."""
    return any(name.startswith((f"{column}=", f"{column} (")) for column in columns)
