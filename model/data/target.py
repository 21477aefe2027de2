"""The target column: its task, its classes or its numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.artifact.manifest import Task
from model.data.column_types import Cell, column_values, mostly_numbers, parse_number
from model.data.dataset import Classes, Codes, Numbers
from model.errors import DataError

MAX_CLASSES = 100
_MAX_FRACTIONS = 20  # more different numbers that are not all whole are measured, not counted or coded
_TRUTHS = {"true", "false"}


class TaskVerdict(NamedTuple):
    """The task that a target sets, and why."""

    task: Task
    why: str


def infer_task(cells: Sequence[Cell], *, decimal_comma: bool) -> TaskVerdict:
    """Return whether the filled cells of a target are classes or numbers.

    They are numbers where there are more different ones than classes may be, or more than 20 that are not all whole.
    """
    numbers = mostly_numbers(cells, decimal_comma=decimal_comma) if cells else None
    if numbers is None:
        return TaskVerdict("classification", f"{len({cell.text for cell in cells})} different values")
    if len(numbers) > MAX_CLASSES:
        return TaskVerdict("regression", f"{len(numbers)} different numbers; for classes: --task classification")
    if len(numbers) > _MAX_FRACTIONS and not all(number.is_integer() for number in numbers):
        return TaskVerdict("regression", f"{len(numbers)} different fractions; for classes: --task classification")
    return TaskVerdict("classification", f"{len(numbers)} different numbers; to predict a number: --task regression")


def numbers_of(target: str, labels: Sequence[Cell], *, decimal_comma: bool) -> Numbers:
    """Return the numbers of the labels, (rows,); raises DataError that names the first line that has none."""
    return column_values(target, labels, "number", decimal_comma=decimal_comma).to_numpy(dtype=np.float64)


def filled_labels(target: str, cells: Sequence[str], lines: Sequence[int], missing_words: frozenset[str]) -> list[Cell]:
    """Return the target's cells with their lines; raises DataError where one is missing."""
    blank = [(cell, line) for cell, line in zip(cells, lines, strict=True) if cell.lower() in missing_words]
    if blank:
        shown = f"{blank[0][0]!r} " if blank[0][0] else ""
        raise DataError(
            f"the target {target!r} is missing in {len(blank)} rows, first {shown}on line {blank[0][1]}; "
            "fill or remove them"
        )
    return [Cell(cell, line) for cell, line in zip(cells, lines, strict=True)]


def classes_of(target: str, labels: Sequence[Cell]) -> tuple[Classes, Codes]:
    """Return the classes, as booleans, integers or text, and the place of each label's class among them."""
    texts = {label.text for label in labels}
    if len(texts) > MAX_CLASSES:
        numeric = all(parse_number(text) is not None for text in texts)
        hint = "; to predict the number itself: --task regression" if numeric else ""
        raise DataError(f"the target {target!r} has {len(texts)} different values; at most {MAX_CLASSES} classes{hint}")
    if all(text.lower() in _TRUTHS for text in texts):
        flags = [label.text.lower() == "true" for label in labels]
        present = tuple(sorted(set(flags)))
        return present, np.array([present.index(flag) for flag in flags], dtype=np.int64)
    if all(_is_plain_integer(text) for text in texts):
        integers = tuple(sorted(int(text) for text in texts))
        return integers, np.array([integers.index(int(label.text)) for label in labels], dtype=np.int64)
    names = tuple(sorted(texts))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[label.text] for label in labels], dtype=np.int64)


def codes_among(target: str, labels: Sequence[Cell], known: Classes) -> Codes:
    """Return the place of each label among the known classes; raises DataError for any other."""
    boolean, integer = isinstance(known[0], bool), isinstance(known[0], int)
    places = {str(value).lower() if boolean else str(value): place for place, value in enumerate(known)}
    codes = []
    for label in labels:
        text = label.text.lower() if boolean else label.text
        if text not in places and integer and (number := parse_number(text)) is not None:
            text = f"{number:g}"  # an integer that was written as 1.0
        if text not in places:
            raise DataError(
                f"column {target!r}, line {label.line}: {label.text!r} is none of the model's classes: "
                f"{', '.join(map(str, known[:20]))}"
            )
        codes.append(places[text])
    return np.array(codes, dtype=np.int64)


def _is_plain_integer(text: str) -> bool:
    """Whether the text is an integer whose name would be the same text ("01" and "1.0" stay text)."""
    try:
        return str(int(text)) == text
    except ValueError:
        return False
