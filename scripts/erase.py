"""The command that erases single predictions: python -m scripts.erase --id-file FILE."""

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from api.log_output import log_to_stderr
from api.prediction_log.database import Database, missing_file
from api.prediction_log.erasure import erase, erase_mentions
from api.prediction_log.models import known_models
from api.prediction_log.records import OWN_ID_PATTERN, SOLE_MODEL
from api.settings import Settings
from api.snapshots.reports import blank_ids
from api.wiring import build_database
from model.errors import DataError
from scripts.command_line import status_of

IDS_AT_ONCE = 100
REST = 2.0
"""How much longer it rests after each step than the step took, so that predictions hardly wait."""
MAX_SHOWN = 10


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.erase") -> int:
    """Erase the predictions; 1 where some ids are not in the log, 2 after an error."""
    options = build_parser(prog).parse_args(arguments)
    return status_of(lambda: _run(options, Settings()))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Remove the predictions with these ids, and their labels, from the log that VIGIE_DATABASE_URL "
        "names, and from the reports in VIGIE_REPORTS_DIR that list them, whether the API runs or not. The figures of "
        "windows stay. It can be stopped and run again at any time.",
        epilog="Exit status: 0 all were erased, 1 some are not in the log, 2 an error.",
    )
    parser.add_argument("--id-file", type=Path, required=True, metavar="FILE", help="a text file with one id a line")
    parser.add_argument("--model", metavar="NAME", help="the model whose predictions they are, where there are several")
    return parser


def _run(options: argparse.Namespace, settings: Settings) -> int:
    ids = read_ids(options.id_file)
    url = settings.database_url.get_secret_value()
    if (missing := missing_file(url)) is not None:
        raise DataError(f"there is no prediction log at {missing}; VIGIE_DATABASE_URL says where it is")
    log_to_stderr()  # with the line that each erasure leaves
    database = build_database(settings)
    try:
        database.migrate()
        unknown = _erase(database, ids, _model_id(database, options.model), settings.reports_dir)
    finally:
        database.dispose()
    print(f"{len(ids) - len(unknown):,} predictions erased")
    if unknown:
        shown = ", ".join(unknown[:MAX_SHOWN]) + (" …" if len(unknown) > MAX_SHOWN else "")
        print(f"{len(unknown):,} ids are not in the log, or were erased before: {shown}", file=sys.stderr)
    return 1 if unknown else 0


def read_ids(file: Path) -> list[str]:
    """Return the different ids of a file. Raises DataError, which names the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not a text file in UTF-8 with one id a line") from None
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.strip()):
            continue
        if not re.fullmatch(OWN_ID_PATTERN, text, re.ASCII):
            raise DataError(f"{file}, line {number}: {text[:60]!r} is not an id; nothing was erased")
        found[text] = None
    if not found:
        raise DataError(f"{file} holds no id; write one a line")
    return list(found)


def _model_id(database: Database, name: str | None) -> int:
    known = known_models(database)
    if name is None:
        if len(known) > 1:
            raise DataError(
                f"the log has the rows of several models; name one with --model: {', '.join(sorted(known))}"
            )
        return SOLE_MODEL
    if name not in known:
        raise DataError(f"the log has no model {name!r}; it has {', '.join(sorted(known)) or 'one without a name'}")
    return known[name]


def _erase(database: Database, ids: Sequence[str], model_id: int, reports_dir: Path) -> list[str]:
    """Erase in steps, and return the ids that were not there."""
    by = "the command scripts.erase"
    unknown: list[str] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("erasing", total=len(ids))
        for some in _parts(ids):
            began = time.perf_counter()
            gone = set(erase(database, some, by=by, model_id=model_id))
            unknown += [one for one in some if one not in gone]
            progress.advance(task, len(some))
            if len(some) == IDS_AT_ONCE:
                time.sleep(REST * (time.perf_counter() - began))
    named = erase_mentions(database, ids, by=by, blank=partial(blank_ids, reports_dir), model_id=model_id)
    return [one for one in unknown if one not in named]


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), IDS_AT_ONCE):
        yield ids[first : first + IDS_AT_ONCE]


if __name__ == "__main__":
    sys.exit(main())
