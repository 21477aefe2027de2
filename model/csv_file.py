"""Reading a CSV file into a data set: column types are inferred, and what is wrong is named with its line."""

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from model.dataset import Classes, Codes, Dataset, check_classes, check_feature_names, describe_column
from model.errors import DataError
from model.manifest import Feature, FeatureType

if TYPE_CHECKING:
    from _csv import Reader as _Reader  # known to type checkers, hidden at run time

MOST_CATEGORIES = 200
"""More different texts than this are identifiers or free text, from which one-hot columns learn nothing."""
MOST_CLASSES = 100
_MOSTLY = 0.9  # a column with more than this share of numbers was meant to hold numbers
_BOOLEANS = {"true": "True", "false": "False"}

Cells = list[str]


def load_csv(path: Path, target: str) -> Dataset:
    """Return the rows of a CSV file (UTF-8, comma, header line) with `target` as the class.

    Blank cells are missing values. Columns of true/false become booleans, columns of numbers numbers, others
    categories. Raises DataError that names the column and, where it helps, the line.
    """
    header, lines, columns = _read_columns(path)
    if target not in header:
        raise DataError(f"{path} has no column {target!r}; it has: {', '.join(header)}")
    names = tuple(name for name in header if name != target)
    if not names:
        raise DataError(f"{path} has no column besides the target {target!r}; there is nothing to learn from")
    check_feature_names(names)
    classes, codes = _classes(target, columns[target], lines)
    class_names = tuple(str(value) for value in classes)
    check_classes(target, class_names, codes)
    read = [_feature(name, columns[name], lines) for name in names]
    return Dataset(
        name=path.stem,
        source=path.name,
        target=target,
        features=tuple(feature for feature, _ in read),
        classes=classes,
        frame=pd.DataFrame({feature.name: values for feature, values in read}),
        codes=codes,
    )


def _read_columns(path: Path) -> tuple[Cells, list[int], dict[str, Cells]]:
    """Return the header, the line number of each row, and the cells of each column, stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise DataError(f"{path} is empty; it needs a header line")
            rows, lines = _read_rows(path, reader, len(header))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    doubles = [name for position, name in enumerate(header) if name in header[:position]]
    if doubles:
        raise DataError(f"{path}: column {doubles[0]!r} occurs twice; rename one")
    if not rows:
        raise DataError(f"{path} has a header line and no rows")
    return (
        header,
        lines,
        {name: list(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)},
    )


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


def _feature(name: str, cells: Cells, lines: list[int]) -> tuple[Feature, pd.Series]:
    kind = _column_type(name, cells, lines)
    values: pd.Series
    if kind == "number":
        values = pd.Series([float(cell) if cell else math.nan for cell in cells], dtype="float64")
    elif kind == "boolean":
        values = pd.Series([_BOOLEANS[cell.lower()] if cell else None for cell in cells], dtype=object)
    else:
        values = pd.Series([cell or None for cell in cells], dtype=object)
        if values.nunique() > MOST_CATEGORIES:
            raise DataError(
                f"column {name!r} has {values.nunique()} different texts (at most {MOST_CATEGORIES} are "
                "taken as categories); it looks like an identifier or free text; remove it"
            )
    return describe_column(name, kind, values), values


def _column_type(name: str, cells: Cells, lines: list[int]) -> FeatureType:
    filled = [(cell, line) for cell, line in zip(cells, lines, strict=True) if cell]
    if not filled:
        raise DataError(f"column {name!r} is empty in every row; remove it")
    if all(cell.lower() in _BOOLEANS for cell, _ in filled):
        return "boolean"
    others = [(cell, line) for cell, line in filled if not _is_number(cell)]
    if not others:
        return "number"
    if len(others) < (1 - _MOSTLY) * len(filled):
        cell, line = others[0]
        raise DataError(
            f"column {name!r}, line {line}: {cell!r} is not a finite number, as nearly all others in the "
            "column are; correct it, or leave it blank if it is missing"
        )
    return "category"


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _classes(target: str, cells: Cells, lines: list[int]) -> tuple[Classes, Codes]:
    blank = [line for cell, line in zip(cells, lines, strict=True) if not cell]
    if blank:
        raise DataError(
            f"the target {target!r} is blank in {len(blank)} rows, first on line {blank[0]}; fill or remove them"
        )
    texts = set(cells)
    if len(texts) > MOST_CLASSES:
        raise DataError(f"the target {target!r} has {len(texts)} different values; at most {MOST_CLASSES} classes")
    if all(text.lower() in _BOOLEANS for text in texts):
        flags = [cell.lower() == "true" for cell in cells]
        present = tuple(sorted(set(flags)))
        return present, np.array([present.index(flag) for flag in flags], dtype=np.int64)
    if all(_is_plain_integer(text) for text in texts):
        integers = tuple(sorted(int(text) for text in texts))
        return integers, np.array([integers.index(int(cell)) for cell in cells], dtype=np.int64)
    names = tuple(sorted(texts))
    return names, np.array([names.index(cell) for cell in cells], dtype=np.int64)


def _is_plain_integer(text: str) -> bool:
    """Whether the text is an integer whose name would be the same text ("01" and "1.0" stay text)."""
    try:
        return str(int(text)) == text
    except ValueError:
        return False
