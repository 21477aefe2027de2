"""A model that is served elsewhere: rows of a file with its answers, and the artifact that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.alarms.policy import AlarmPolicy
from model.artifact.manifest import AnswerColumns, Manifest, Task
from model.data.cells import MISSING_WORDS, ColumnCells, KnownClasses, column_cells
from model.data.column_types import column_values, mostly_numbers
from model.data.csv_file import CsvColumns, TimeColumn, read_columns
from model.data.csv_text import CsvText
from model.data.dataset import AnyDataset, Classes, Dataset
from model.data.schema_file import SchemaFile
from model.data.split import split_held_out
from model.data.target import codes_among, target_reading
from model.errors import DataError
from model.serving.engines import PROBABILITY_TOLERANCE, Answers
from model.training.build_artifact import Candidate, Progress, build_artifact
from model.training.out_of_fold import OutOfFoldRows, logged_rows

_ROUNDING = 1e-6
_SHOWN = 10


@dataclass(frozen=True)
class WatchedRows:
    """Rows with the answers that a model gave elsewhere, and what a person should know about them."""

    dataset: AnyDataset
    answers: Answers
    columns: AnswerColumns
    notes: tuple[str, ...] = ()


def read_answered(
    path: Path,
    target: str,
    answers: AnswerColumns,
    schema: SchemaFile | None = None,
    *,
    separator: str | None = None,
    task: Task | None = None,
    time: TimeColumn | None = None,
    every_target: bool = False,
) -> CsvColumns:
    """Return what each column of a CSV file is, where some hold a model's answers; the others as `read_columns`.

    Raises DataError as that does, and where an answer's column is missing or is another thing as well.
    """
    schema = schema or SchemaFile()
    for name in answers.names:
        if name == target or (time is not None and name == time.name):
            raise DataError(f"column {name!r} cannot be both an answer of the model and the target or the time")
        if name in (*schema.segments, *schema.fairness):
            raise DataError(f"column {name!r} is an answer of the model, so rows cannot be divided by it")
        if answers.names.count(name) > 1:
            raise DataError(f"column {name!r} is named for two answers of the model; name one for each")
    # metadata is no feature, and need not be in the file: so what is wrong with an answer's column is said here
    hidden = schema.model_copy(update={"metadata": (*schema.metadata, *answers.names)})
    columns = read_columns(path, target, hidden, separator=separator, task=task, time=time, every_target=every_target)
    if lacking := [name for name in answers.names if name not in columns.text.header]:
        raise DataError(f"{path} has no column {lacking[0]!r}; it has: {', '.join(columns.text.header)}")
    why = {name: f"the model's probability of {one}" for one, name in answers.probabilities.items()}
    why[answers.prediction] = "the model's prediction"
    explained = tuple(replace(one, why=why.get(one.name, one.why)) for one in columns.columns)
    return replace(columns, columns=explained, schema=schema)


def watched_rows(columns: CsvColumns, answers: AnswerColumns, name: str | None = None) -> WatchedRows:
    """Return the rows to compare windows with; the model's name is that of the file if none is given.

    Raises DataError that names the column and the line where an answer is missing, or is none of this model's.
    """
    dataset = columns.dataset(name=name)
    kept = tuple(one for one in dataset.metadata if one not in answers.names)
    dataset = replace(dataset, metadata=kept)
    if isinstance(dataset, Dataset):
        return _classes(columns, answers, dataset)
    if answers.probabilities:
        raise DataError(
            f"the target {dataset.target!r} is a number, and a number has no probabilities; leave out --probability, "
            "or say that it is a class with --task classification"
        )
    predictions = _reader(columns).numbers(answers.prediction)
    if np.ptp(predictions) == 0:
        raise _constant(answers.prediction, f"{predictions[0]:g}")
    return WatchedRows(dataset, Answers(predictions), answers)


def watch_model(
    rows: WatchedRows,
    folder: Path,
    *,
    seed: int = 0,
    policy: AlarmPolicy | None = None,
    progress: Progress = lambda _step, _share: None,
) -> Manifest:
    """Write the artifact of a model that is served elsewhere, and return its manifest.

    Two fifths of the rows become the test rows, the rest the reference. Raises DataError if the rows cannot be divided,
    and ArtifactError if the folder cannot be written.
    """
    dataset, (values, chosen) = rows.dataset, rows.answers
    split = split_held_out(dataset.strata, seed)

    def part(positions: npt.NDArray[np.intp]) -> Any:
        of_part = Answers(values[positions], None if chosen is None else chosen[positions])
        return logged_rows(dataset, positions, of_part)

    test, reference = part(split.test), part(split.reference)
    scored = OutOfFoldRows(test.head(0), test, reference)
    candidate = Candidate(dataset, split, None, scored, "served elsewhere", rows.columns)
    rng = np.random.default_rng(seed)
    return build_artifact(candidate, folder, rng, seed=seed, policy=policy or AlarmPolicy(), progress=progress)


def known_answers(text: CsvText, columns: AnswerColumns, classes: Classes | None) -> Answers:
    """Return the answers that a file has, to the rows of a model of these classes, or of a number without them.

    Raises DataError that names the column and the line.
    """
    lacking = [name for name in columns.names if name not in text.header]
    if lacking:
        raise DataError(
            f"{text.path} has no column {lacking[0]!r}; the model is served elsewhere, so the file needs the columns "
            f"of its answers: {', '.join(columns.names)}"
        )
    reader = _AnswerReader(text, MISSING_WORDS, None)
    if classes is None:
        return Answers(reader.numbers(columns.prediction))
    return Answers(reader.probabilities(columns, classes), reader.codes(columns.prediction, classes))


def _classes(columns: CsvColumns, answers: AnswerColumns, dataset: Dataset) -> WatchedRows:
    reader = _reader(columns)
    try:
        chosen = reader.codes(answers.prediction, dataset.classes)
    except DataError as error:
        raise DataError(f"{error}; the classes are those of the column {dataset.target!r}") from error
    taken = set(np.unique(chosen).tolist())
    if len(taken) == 1:
        raise _constant(answers.prediction, repr(dataset.class_names[next(iter(taken))]))
    never = [name for place, name in enumerate(dataset.class_names) if place not in taken]
    notes = [f"The prediction is never {_listed(never)} in these rows."] if never else []
    probabilities = reader.probabilities(answers, dataset.classes)
    if not answers.probabilities:
        notes.append(
            "Without probabilities there is no concept drift, ROC AUC, log loss or calibration error; all else is "
            "measured. Name their columns with --probability CLASS=COLUMN."
        )
    named = {dataset.class_names[place]: column for place, column in _places(answers, dataset.classes).items()}
    columns_by_class = answers.model_copy(update={"probabilities": named})
    return WatchedRows(dataset, Answers(probabilities, chosen), columns_by_class, tuple(notes))


def _reader(columns: CsvColumns) -> "_AnswerReader":
    words = MISSING_WORDS | {word.strip().lower() for word in columns.schema.missing}
    return _AnswerReader(columns.text, words, columns.decimal)


@dataclass(frozen=True)
class _AnswerReader:
    """Reads the answers of a model from a file; each method raises DataError that names the column and the line."""

    text: CsvText
    missing: frozenset[str]
    decimal: str | None

    def codes(self, name: str, classes: Classes) -> npt.NDArray[np.int64]:
        """Return the place of each predicted class, (rows,)."""
        cells = self._filled(name)
        try:
            return codes_among(cells, classes)
        except DataError as error:
            numbers = mostly_numbers(cells, self.decimal, self.text.likely_decimal)
            whole = numbers is None or all(number.is_integer() for number in numbers)
            raise DataError(
                str(error) + ("" if whole else "; if the model predicts a number: --task regression")
            ) from error

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Return the numbers of a column, (rows,)."""
        cells = self._filled(name)
        reading = target_reading(cells, self.decimal, self.text.likely_decimal)
        return column_values(cells, "number", reading).to_numpy(dtype=np.float64)

    def probabilities(self, columns: AnswerColumns, classes: Classes) -> npt.NDArray[np.float64]:
        """Return the probability of each class, (rows, classes), each row adding up to 1; NaN where none are named."""
        places = _places(columns, classes)
        values = np.full((self.text.rows, len(classes)), 0.0 if places else np.nan)
        for place, column in places.items():
            values[:, place] = self.numbers(column)
            wrong = np.flatnonzero(np.abs(values[:, place] - 0.5) > 0.5 + _ROUNDING)
            if len(wrong):
                found = values[wrong[0], place]
                raise DataError(
                    f"{self._where(column, wrong)}: {found:g} is no probability, which lies between 0 and 1"
                )
        if len(places) == 1:
            (given,) = places
            values[:, 1 - given] = 1 - values[:, given]
        totals = values.sum(axis=1)
        wrong = np.flatnonzero(np.abs(totals - 1) > PROBABILITY_TOLERANCE)
        if len(wrong):
            where = self._where(", ".join(places.values()), wrong)
            raise DataError(f"{where}: the probabilities add up to {totals[wrong[0]]:g}, not to 1")
        held = values.clip(0.0, 1.0)
        return np.asarray(held / held.sum(axis=1, keepdims=True))

    def _filled(self, name: str) -> ColumnCells:
        """Return the cells of a column, each of which must be there."""
        text = self.text
        cells = column_cells(name, text.columns[text.header.index(name)], text.lines, self.missing)
        if missing := cells.rows - cells.filled:
            line = next(line for cell, line in zip(cells.cells, cells.lines, strict=True) if cell is None)
            raise DataError(
                f"column {name!r} is missing in {missing:,} rows, first on line {line}; fill or remove them"
            )
        return cells

    def _where(self, name: str, wrong: npt.NDArray[np.intp]) -> str:
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        return f"column {name!r}, line {self.text.lines[int(wrong[0])]}{more}"


def _places(answers: AnswerColumns, classes: Classes) -> dict[int, str]:
    """Return the column of each class's probability by the place of the class; of two classes one is enough."""
    known, names, found = KnownClasses(classes), [str(one) for one in classes], dict[int, str]()
    for given, column in answers.probabilities.items():
        place = known.place(given)
        if place is None:
            raise DataError(f"--probability names the class {given!r}; the classes are {_listed(names)}")
        if place in found:
            raise DataError(f"--probability names two columns for the class {names[place]!r}")
        found[place] = column
    lacking = [name for place, name in enumerate(names) if place not in found]
    if found and lacking and len(classes) > 2:
        raise DataError(f"--probability names no column for {_listed(lacking)}; name one for each class, or none")
    return found


def _constant(name: str, value: str) -> DataError:
    return DataError(
        f"column {name!r} is {value} in every row, so nothing can be compared with it; give rows with other "
        "predictions too"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
