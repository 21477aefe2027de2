"""The target column: its task, its classes or its numbers."""

import re
from typing import NamedTuple

import numpy as np

from model.artifact.manifest import Task
from model.data.cells import PLAIN, Ambiguity, ColumnCells, KnownClasses, Reading, number_reading, parse_number
from model.data.column_types import column_values, mostly_numbers
from model.data.dataset import MIN_ROWS_PER_CLASS, Classes, Codes, Numbers
from model.errors import DataError

MAX_CLASSES = 100
_MAX_FRACTIONS = 20  # more different numbers that are not all whole are measured, not counted or coded
_MAX_RARE_NUMBERS, _RARE_SHARE = 10, 1 / 3  # more of them, of which so many are rare, are measured too
_TRUTHS = {"true", "false"}
_WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")


class TaskVerdict(NamedTuple):
    """The task that a target sets, and why."""

    task: Task
    why: str


def infer_task(target: ColumnCells, decimal: str | None, guess: str | None) -> TaskVerdict:
    """Return whether the filled cells of a target are classes or numbers.

    They are numbers where there are more different ones than classes may be, more than 20 that are not all whole, or
    more than 10 of which a third or more are in too few rows to be learned as classes.
    """
    numbers = mostly_numbers(target, decimal, guess) if target.counts else None
    if numbers is None:
        return TaskVerdict("classification", f"{len(target.counts)} different values")
    if len(numbers) > MAX_CLASSES:
        return TaskVerdict("regression", f"{len(numbers)} different numbers; for classes: --task classification")
    if len(numbers) > _MAX_FRACTIONS and not all(number.is_integer() for number in numbers):
        return TaskVerdict("regression", f"{len(numbers)} different fractions; for classes: --task classification")
    rare = sum(rows < MIN_ROWS_PER_CLASS for rows in target.counts.values())
    if len(numbers) > _MAX_RARE_NUMBERS and rare >= _RARE_SHARE * len(target.counts):
        few = f"{rare} of them in fewer than {MIN_ROWS_PER_CLASS} rows"
        return TaskVerdict("regression", f"{len(numbers)} different numbers, {few}; for classes: --task classification")
    return TaskVerdict("classification", f"{len(numbers)} different numbers; to predict a number: --task regression")


def target_reading(target: ColumnCells, decimal: str | None, guess: str | None) -> Reading:
    """Return how the numbers of a target are written; raises DataError where they may be others."""
    readable = [
        text for text in target.counts if any(parse_number(text, one) is not None for one in ("point", "comma"))
    ]
    reading = number_reading(readable, decimal, guess=guess) if readable else None
    if isinstance(reading, Ambiguity):
        hint = "" if "units" in reading.why else '; say which in the schema: decimal: "." or decimal: ","'
        raise DataError(f"the target {target.name!r}: {reading.why}{hint}")
    return reading if reading is not None and reading.notation != "time" else PLAIN


def numbers_of(target: ColumnCells, reading: Reading) -> Numbers:
    """Return the numbers of the labels, (rows,); raises DataError that names the lines that have none."""
    return column_values(target, "number", reading).to_numpy(dtype=np.float64)


def classes_of(target: ColumnCells) -> tuple[Classes, Codes]:
    """Return the classes, as booleans, integers or text, and the place of each label's class among them.

    Whole numbers that are written as 1.0 are integers.
    """
    texts = target.counts
    if len(texts) > MAX_CLASSES:
        numeric = mostly_numbers(target, None, ".") is not None
        hint = "; to predict the number itself: --task regression" if numeric else ""
        raise DataError(
            f"the target {target.name!r} has {len(texts)} different values; at most {MAX_CLASSES} classes{hint}"
        )
    if all(text.lower() in _TRUTHS for text in texts):
        named: dict[str, bool | int | str] = {text: text.lower() == "true" for text in texts}
    elif all(_is_plain_integer(text) for text in texts):
        named = {text: int(text.partition(".")[0]) for text in texts}
    else:
        named = dict(zip(texts, texts, strict=True))
    classes = tuple(sorted(set(named.values())))
    places = {text: classes.index(value) for text, value in named.items()}
    return classes, np.array([places[text] for text in target.cells if text is not None], dtype=np.int64)  # type: ignore[return-value] # as above


def codes_among(target: ColumnCells, known: Classes) -> Codes:
    """Return the place of each label among the known classes; raises DataError for any other."""
    classes = KnownClasses(known)
    places = {text: classes.place(text) for text in target.counts}
    if wrong := {text for text, place in places.items() if place is None}:
        first, _, more = target.where(wrong).partition("; ")
        raise DataError(
            f"column {target.name!r}, {first} is none of the model's classes: {', '.join(map(str, known[:20]))}"
            + (f"; the same in {more}" if more else "")
        )
    return np.array([places[text] for text in target.cells if text is not None], dtype=np.int64)


def _is_plain_integer(text: str) -> bool:
    """Whether the text is an integer, perhaps written as 1.0, whose name is the same text ("01" stays text)."""
    match = _WHOLE.fullmatch(text)
    try:
        return match is not None and str(int(match[1])) == match[1]
    except ValueError:
        return False
