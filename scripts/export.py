"""The command that writes logged predictions into a file: python -m scripts.export --from … --to … --out FILE."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from api.installed_models import find_models
from api.prediction_log.database import Database, missing_file
from api.prediction_log.export import PAGE_ROWS, LoggedPrediction, count_logged, read_logged
from api.prediction_log.reader import read_held_span
from api.prediction_log.records import SOLE_MODEL
from api.serving.model_archive import ModelArchive
from api.settings import Settings
from api.wiring import build_archive, build_database, places_of
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Manifest
from model.artifact.store import read_manifest
from model.data.encoding import boolean_features, number_features
from model.errors import ArtifactError, DataError
from scripts.command_line import add_model, add_span, check_span, status_of
from scripts.past_rows import holding, in_utc

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd
    import pyarrow as pa

PREDICTION_ID, LOGGED_AT, MODEL_VERSION, LABEL_ARRIVED_AT = (
    "prediction_id",
    "logged_at",
    "model_version",
    "label_arrived_at",
)
MAX_CELLS = 250_000
"""Cells in memory at once: a page of a wide table has fewer rows."""
Write = Callable[["pa.RecordBatch"], None]


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.export") -> int:
    """Write the file; 1 where the log has no such rows, 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    check_span(parser, options)
    if options.out.suffix not in WRITERS:
        parser.error(f"--out: {options.out.name} must end with {' or '.join(WRITERS)}")
    return status_of(lambda: _export(options, Settings()))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write the predictions of a period, with the labels that have come so far, into a Parquet or CSV "
        "file: one row a prediction, each feature under its own name. The VIGIE_ settings name the log and the model.",
    )
    add_span(parser, required=True)
    add_model(parser)
    parser.add_argument("--labelled", action="store_true", help="leave out predictions that have no label yet")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the .parquet or .csv file to write, or to replace",
    )
    return parser


def _export(options: argparse.Namespace, settings: Settings) -> int:
    with closing(
        LogExport.open(settings, options.start, options.end, labelled=options.labelled, model=options.model)
    ) as export:
        if not export.rows:
            print(export.why_empty(), file=sys.stderr)
            return 1
        bar = Progress(*Progress.get_default_columns()[:3], TimeRemainingColumn(), console=Console(stderr=True))
        with bar, written_whole(options.out) as part, WRITERS[options.out.suffix](part, export.schema()) as write:
            task = bar.add_task("rows", total=export.rows)
            for batch in export.batches():
                write(batch)
                bar.advance(task, batch.num_rows)
    print(f"{export.written:,} rows of {len(export.columns)} columns: {options.out}")
    return 0


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the file: its name, the name of its Arrow type, and its value in a logged prediction."""

    name: str
    kind: str
    value: Callable[[LoggedPrediction], Any]


class LogExport:
    """The predictions that a log has from one moment to another, as a table.

    ``manifests`` are of the versions that made them, the serving one last; a version whose manifest is gone has its
    features found by reading its rows.
    """

    def __init__(
        self,
        database: Database,
        manifests: Sequence[Manifest],
        start: datetime,
        end: datetime,
        *,
        labelled: bool,
        model_id: int = SOLE_MODEL,
    ) -> None:
        self._database, self._start, self._end, self._labelled = database, start, end, labelled
        self._model_id = model_id
        counts = count_logged(database, start, end, labelled=labelled, model_id=model_id)
        self.rows = sum(counts.values())
        """How many rows there are; more may come while they are read."""
        self.written = 0
        known = {manifest.version for manifest in manifests}
        newest = manifests[-1]
        used = [one for one in manifests if one.version in counts or one is newest]
        self.columns = export_columns(used)
        if missing := counts.keys() - known:
            self.columns = export_columns(used, self._other_names(missing))

    @classmethod
    def open(
        cls, settings: Settings, start: datetime, end: datetime, *, labelled: bool = False, model: str | None = None
    ) -> "LogExport":
        """Return the export of a model's rows in the log that the settings name; without a name of the default model.

        Raises LogUnavailable, NoSuchModel, ArtifactError and DataError.
        """
        if (file := missing_file(settings.database_url.get_secret_value())) is not None:
            raise DataError(f"there is no prediction log at {file}; VIGIE_DATABASE_URL names another one")
        installation = find_models(settings)
        chosen = installation.choose(model)
        database = build_database(settings)
        database.migrate()
        model_id = places_of(installation, database)[chosen.name].model_id
        manifests = [*_archived(build_archive(chosen.settings, model_id)), read_manifest(chosen.folder)]
        return cls(database, manifests, start, end, labelled=labelled, model_id=model_id)

    def close(self) -> None:
        """Close the log."""
        self._database.dispose()

    def schema(self) -> "pa.Schema":
        """Return the names and types of the columns."""
        import pyarrow as pa  # noqa: PLC0415 - it takes a second; --help needs none

        types = {
            "text": pa.string(),
            "number": pa.float64(),
            "whole": pa.int64(),
            "boolean": pa.bool_(),
            "time": pa.timestamp("us", tz="UTC"),
        }
        return pa.schema([(column.name, types[column.kind]) for column in self.columns])

    def batches(self) -> Iterator["pa.RecordBatch"]:
        """Yield the rows in the order of time, some thousands at once. Raises LogUnavailable."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        schema = self.schema()
        for page in self._pages():
            values = [[column.value(row) for row in page] for column in self.columns]
            arrays = [pa.array(cells, kind) for cells, kind in zip(values, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            self.written += len(page)

    def frame(self) -> "pd.DataFrame":
        """Return all rows. Raises LogUnavailable."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        frame: pd.DataFrame = pa.Table.from_batches(self.batches(), self.schema()).to_pandas()
        return frame

    def why_empty(self) -> str:
        """Say what the log has instead of such rows. Raises LogUnavailable."""
        rows = "labelled rows" if self._labelled else "rows"
        held = holding(read_held_span(self._database, self._model_id))
        return f"the log has no {rows} from {in_utc(self._start)} to {in_utc(self._end)}; {held}"

    def _pages(self) -> Iterator[list[LoggedPrediction]]:
        page_rows = max(100, min(PAGE_ROWS, MAX_CELLS // len(self.columns)))
        return read_logged(
            self._database,
            self._start,
            self._end,
            labelled=self._labelled,
            page_rows=page_rows,
            model_id=self._model_id,
        )

    def _other_names(self, versions: Iterable[str]) -> list[str]:
        """Return the names of the features of versions whose manifest is gone."""
        unknown = frozenset(versions)
        names: dict[str, None] = {}
        for page in self._pages():
            for row in page:
                if row.model_version in unknown:
                    names.update(dict.fromkeys(row.features))
        return list(names)


def export_columns(manifests: Sequence[Manifest], other_names: Sequence[str] = ()) -> list[Column]:
    """Return the columns of the versions' predictions: features, what rode along with them, answers and labels.

    A feature of two types is text. One that has the name of another column gets a trailing underscore.
    """
    answers = _answer_columns(manifests)
    head = [
        Column(PREDICTION_ID, "text", lambda row: row.prediction_id),
        Column(LOGGED_AT, "time", lambda row: row.logged_at),
        Column(MODEL_VERSION, "text", lambda row: row.model_version),
    ]
    taken = {column.name for column in (*head, *answers)}
    features = []
    for name, kind in _feature_kinds(manifests, other_names).items():
        shown = name
        while shown in taken:
            shown += "_"
        taken.add(shown)
        features.append(Column(shown, kind, _feature_value(name, kind)))
    return [*head, *features, *answers]


def _feature_kinds(manifests: Sequence[Manifest], other_names: Sequence[str]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for manifest in reversed(manifests):  # the serving one's order
        numbers = {feature.name for feature in number_features(manifest.features)}
        booleans = {feature.name for feature in boolean_features(manifest.features)}
        for name in manifest.feature_names:
            kind = "number" if name in numbers else "boolean" if name in booleans else "text"
            kinds[name] = kind if kinds.get(name, kind) == kind else "text"
    for name in (*(name for manifest in manifests for name in manifest.metadata), *other_names):
        kinds.setdefault(name, "text")
    return kinds


def _feature_value(name: str, kind: str) -> Callable[[LoggedPrediction], Any]:
    if kind == "text":
        return lambda row: _text(row.features.get(name))
    if kind == "number":
        return lambda row: None if (value := row.features.get(name)) is None else float(value)
    return lambda row: row.features.get(name)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _answer_columns(manifests: Sequence[Manifest]) -> list[Column]:
    names: dict[str, None] = {}
    for manifest in manifests:
        if isinstance(manifest, ClassifierManifest):
            names.update(dict.fromkeys(manifest.class_names))
    kind, read = _answers(manifests)
    return [
        Column(PREDICTION, kind, lambda row: read(row.prediction)),
        *(Column(f"{PROBABILITY_PREFIX}{name}", "number", _probability(name)) for name in names),
        Column(LABEL, kind, lambda row: None if row.label is None else read(row.label)),
        Column(LABEL_ARRIVED_AT, "time", lambda row: row.label_arrived_at),
    ]


def _probability(name: str) -> Callable[[LoggedPrediction], Any]:
    return lambda row: row.probabilities.get(name)


def _answers(manifests: Sequence[Manifest]) -> tuple[str, Callable[[str], Any]]:
    """Return the type of predictions and labels, and how to read one; text where the versions differ."""
    of_versions = {_answer_kind(manifest) for manifest in manifests}
    kind = of_versions.pop() if len(of_versions) == 1 else "text"
    if kind == "boolean":
        return kind, lambda text: text == "True"
    return kind, {"number": float, "whole": int, "text": str}[kind]


def _answer_kind(manifest: Manifest) -> str:
    if not isinstance(manifest, ClassifierManifest):
        return "number"
    first = manifest.classes[0]
    return "boolean" if isinstance(first, bool) else "whole" if isinstance(first, int) else "text"


def _archived(archive: ModelArchive) -> Iterator[Manifest]:
    for version in archive.versions():
        try:
            yield read_manifest(archive.folder_of(version))
        except ArtifactError as error:
            print(f"warning: version {version} cannot be read, so its features are text: {error}", file=sys.stderr)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file to write to, which takes the place of ``path`` at the end; an error leaves ``path`` as it was."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _parquet(path: Path, schema: "pa.Schema") -> Iterator[Write]:
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 - as above

    with ParquetWriter(path, schema, compression="zstd") as writer:
        yield writer.write_batch


@contextmanager
def _csv(path: Path, schema: "pa.Schema") -> Iterator[Write]:
    from pyarrow.csv import CSVWriter  # noqa: PLC0415 - as above

    with CSVWriter(path, schema) as writer:
        yield writer.write_batch


WRITERS: Mapping[str, Callable[[Path, Any], Any]] = {".parquet": _parquet, ".csv": _csv}


if __name__ == "__main__":
    sys.exit(main())
