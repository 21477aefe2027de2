"""The command that sends a file of predictions to the API: python -m scripts.ingest FILE --model NAME."""

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from model.artifact.manifest import AnswerColumns
from model.errors import DataError
from model.watch import class_column
from scripts.command_line import status_of, whole_from
from scripts.ingest.rows import BadRowError, Card, FileRow, Layout, RowReader, TableFile
from scripts.ingest.sender import IngestError, Item, Outcome, Refused, Sender
from scripts.ports import API_PORT

KEY_VARIABLE = "VIGIE_API_KEY"
BATCH_ROWS = 500
SAVED_EVERY_SECONDS = 1.0
REJECTED, PROGRESS = ".rejected.csv", ".ingest.json"
"""What is written beside the file: its bad rows, and while it is being sent how far that has come."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.ingest") -> int:
    """Send the file; 0 where every row is logged, 1 where some were refused, 2 after an error."""
    options = build_parser(prog).parse_args(arguments)
    try:
        return status_of(lambda: _run(options), IngestError)
    except KeyboardInterrupt:
        print("stopped; run the command again to go on", file=sys.stderr)
        return 2


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Send predictions that were made elsewhere to the API, which logs and watches them. The rows of "
        "the file are sent in order, and each is logged once, however often the file is sent. Bad rows are listed in a "
        f"file beside it (FILE{REJECTED}). {KEY_VARIABLE} is the API key, if one is needed.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a CSV or Parquet file of any size, with features and predictions")
    add("--model", required=True, metavar="NAME", help="the model that made the predictions")
    add("--url", default=f"http://127.0.0.1:{API_PORT}", help="of the API (default: %(default)s)")
    add("--id", metavar="COL", help="the column of each row's own id (default: made of the file's content and the row)")
    add("--prediction", metavar="COL", help="the column of the predictions (default: as in the model's reference)")
    add(
        "--probability",
        type=class_column,
        action="append",
        default=[],
        metavar="CLASS=COL",
        help="the column of a class's probability (default: as in the model's reference)",
    )
    add("--target", metavar="COL", help="the column of the labels (default: the model's target, if the file has it)")
    add("--batch", type=whole_from(1), default=BATCH_ROWS, metavar="N", help="rows of a request (default: %(default)s)")
    return parser


@dataclass
class Sent:
    """How far a file was sent: what it is, where it goes, the last row that is done, and what became of the rows."""

    file: str
    url: str
    model: str
    columns: list[str]
    number: int = 0
    line: int = 0
    logged: int = 0
    repeated: int = 0
    labels: int = 0
    refused: int = 0

    @property
    def target(self) -> tuple[str, str, str, list[str]]:
        """Return what must be the same for a row to be done."""
        return self.file, self.url, self.model, self.columns


class Batch(NamedTuple):
    """Rows to send together, the bad ones among them, and the last of all these."""

    items: list[Item]
    bad: list[Refused]
    last: FileRow


@dataclass
class Journal:
    """Keeps beside the file how far it was sent, so that a run that broke off can go on, and lists its bad rows."""

    path: Path
    sent: Sent
    saved_at: float = field(default=0.0)

    def resume(self) -> bool:
        """Take up where a run that broke off had come to; return whether there was one."""
        try:
            found = Sent(**json.loads(self._progress.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            found = None
        if found is None or found.target != self.sent.target:
            self._rejected.unlink(missing_ok=True)
            return False
        self.sent = found
        if self._rejected.exists():
            earlier = self._rejected.rename(self._rejected.with_name(self._rejected.name + ".new"))
            with earlier.open(encoding="utf-8", newline="") as file:
                for row in csv.reader(file):
                    if row[0].isdigit() and int(row[0]) <= found.line:
                        self._list([row])
            earlier.unlink()
        return True

    def settle(self, batch: Batch, outcome: Outcome) -> None:
        """Record what became of a batch: first its bad rows, then that it is done."""
        refused = sorted([*batch.bad, *outcome.refused])
        self._list([(one.line, one.prediction_id, one.reason) for one in refused])
        sent = self.sent
        sent.number, sent.line = batch.last.number, batch.last.line
        sent.logged += outcome.logged
        sent.repeated += outcome.repeated
        sent.labels += outcome.labels
        sent.refused += len(refused)
        if time.monotonic() - self.saved_at >= SAVED_EVERY_SECONDS:
            self.save()

    def save(self) -> None:
        """Write how far the file was sent; a crash leaves what was written before, or this."""
        self.saved_at = time.monotonic()
        staged = self._progress.with_name(self._progress.name + ".new")
        staged.write_text(json.dumps(asdict(self.sent)), encoding="utf-8")
        staged.replace(self._progress)

    def finish(self) -> None:
        """Forget how far it had come: all is sent, and to send it again changes nothing."""
        self._progress.unlink(missing_ok=True)

    @property
    def _progress(self) -> Path:
        return self.path.with_name(self.path.name + PROGRESS)

    @property
    def _rejected(self) -> Path:
        return self.path.with_name(self.path.name + REJECTED)

    def _list(self, rows: Sequence[Any]) -> None:
        if not rows:
            return
        new = not self._rejected.exists()
        with self._rejected.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("line", "prediction_id", "reason")] if new else [])
            writer.writerows(rows)


def _run(options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    with console.status("reading the file"):
        table = TableFile.of(options.file)
    with Sender(options.url, options.model, os.environ.get(KEY_VARIABLE) or None) as sender:
        card = sender.card()
        answers = _answers(options, card)
        layout = Layout.of(card, table.header(answers.prediction), answers, options.target, options.id)
        journal = Journal(options.file, Sent(table.sha256, sender.url, sender.model, list(layout.columns)))
        if journal.resume():
            print(f"going on after line {journal.sent.line:,}", file=sys.stderr)
        reader = RowReader(layout, table.sha256[:20])
        began, before = time.monotonic(), journal.sent.number
        try:
            _send_all(table, layout, reader, sender, journal, batch=options.batch, console=console)
        except BaseException:
            journal.save()
            raise
        journal.finish()
    _say(journal, reader, options.file, (journal.sent.number - before) / max(time.monotonic() - began, 1e-9))
    return 1 if journal.sent.refused else 0


def _answers(options: argparse.Namespace, card: Card) -> AnswerColumns:
    """Return the columns of the model's answers: those of its reference, unless others are given."""
    known = card.answer_columns
    prediction = options.prediction or (known.prediction if known is not None else None)
    if prediction is None:
        raise DataError(
            f"the model {card.name!r} is served by the API; name the column of the predictions: --prediction"
        )
    by_class = dict(options.probability) or (known.probabilities if known is not None else {})
    return AnswerColumns(prediction=prediction, probabilities=by_class)


def _send_all(
    table: TableFile,
    layout: Layout,
    reader: RowReader,
    sender: Sender,
    journal: Journal,
    *,
    batch: int,
    console: Console,
) -> None:
    """Send all batches in order; the next one is read while one is under way."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar, ThreadPoolExecutor(1) as thread:
        task = bar.add_task("sending", total=table.size, rows=journal.sent.number)
        rows = table.rows(layout.columns, layout.answers.prediction, lambda done: bar.advance(task, done))
        under_way: tuple[Batch, Future[Outcome]] | None = None
        for one in _batches(rows, reader, journal.sent.number, batch):
            if under_way is not None:
                journal.settle(under_way[0], under_way[1].result())
                bar.update(task, rows=journal.sent.number)
            under_way = one, thread.submit(sender.send, one.items)
        if under_way is not None:
            journal.settle(under_way[0], under_way[1].result())


def _batches(rows: Iterator[FileRow], reader: RowReader, done: int, size: int) -> Iterator[Batch]:
    items: list[Item] = []
    bad: list[Refused] = []
    row: FileRow | None = None
    for row in rows:
        if row.number <= done:
            continue
        try:
            items.append(Item(row.number, row.line, reader.prediction(row)))
        except BadRowError as error:
            bad.append(Refused(row.number, row.line, "", str(error)))
        if len(items) + len(bad) >= size:
            yield Batch(items, bad, row)
            items, bad = [], []
    if row is not None and (items or bad):
        yield Batch(items, bad, row)


def _say(journal: Journal, reader: RowReader, file: Path, rows_per_second: float) -> None:
    sent = journal.sent
    print(
        f"{sent.number:,} rows: {sent.logged:,} logged, {sent.repeated:,} logged before, {sent.refused:,} refused; "
        f"{sent.labels:,} labels; {rows_per_second:,.0f} rows/s"
    )
    if reader.left_out:
        print(f"{reader.left_out:,} texts of metadata are too long to be logged with their row")
    if sent.refused:
        print(f"the refused rows, and why: {file}{REJECTED}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
