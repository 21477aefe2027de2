"""The command that removes old data, or shows what it would remove: python -m scripts.retention [--dry-run]."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from api.installed_models import find_models
from api.prediction_log.lease import new_holder
from api.settings import Settings
from api.snapshots.retention import RetentionOfModels
from api.snapshots.retention_tiers import Removals
from api.wiring import build_database, build_evidently_client, build_retention
from scripts.command_line import status_of

SLICE_SECONDS = 30.0
ROWS = (
    ("snapshots in Evidently UI", "snapshots", "workspace", "VIGIE_SNAPSHOT_TIERS"),
    ("HTML reports", "reports", "reports", "VIGIE_REPORTS_KEEP_DAYS, …_FAILED_DAYS"),
    ("logged predictions", "predictions", "log", "VIGIE_LOG_KEEP_DAYS"),
    ("their labels", "labels", None, "VIGIE_LOG_KEEP_DAYS"),
)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.retention") -> int:
    """Remove or show old data; 1 where something could not be removed, 2 after an error."""
    options = build_parser(prog).parse_args(arguments)
    return status_of(lambda: _run(Settings(), options.model, dry_run=options.dry_run))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Remove snapshots, reports and logged rows that are older than the VIGIE_ settings keep them. "
        "The API also does this by itself; both may run at the same time.",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only show what would be removed and how much space it would free"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="only the data of this one of the models in VIGIE_MODELS_DIR (default: of all)"
    )
    return parser


def _run(settings: Settings, name: str | None, *, dry_run: bool) -> int:
    installation = find_models(settings)
    only = None if name is None else [installation.choose(name)]
    database = build_database(settings)
    database.migrate()
    with build_evidently_client(settings) as client:
        retention = build_retention(database, client, installation, new_holder(), only)
        if dry_run:
            _show(retention.plan(), "would be removed", "would be freed")
            return 0
        return _remove(retention)


def _remove(retention: RetentionOfModels) -> int:
    """Remove in slices until nothing is left; the API can remove between them."""
    total = Removals()
    while True:
        done = retention.run(SLICE_SECONDS)
        if done is None:
            print("error: the API is removing what is old right now; try again in a minute", file=sys.stderr)
            return 2
        total.removed.update(done.removed)
        total.freed_bytes.update(done.freed_bytes)
        if done.errors or done.reposted or not done.unfinished:  # what is made again comes after all else
            break
    _show(total, "removed", "freed")
    if done.reposted:
        print(
            f"{done.reposted} snapshots that Evidently UI has lost are due again. The API makes them, then the others."
        )
    for error in done.errors:
        print(f"some of it could not be removed: {error}", file=sys.stderr)
    return 1 if done.errors else 0


def _show(removals: Removals, removed: str, freed: str) -> None:
    table = Table("what is old", removed, freed, "by the setting")
    for column in table.columns[1:3]:
        column.justify = "right"
    for what, kind, store, setting in ROWS:
        size = "" if store is None else _size(removals.freed_bytes[store])
        table.add_row(what, f"{removals.removed[kind]:,}", size, setting)
    Console().print(table)
    print("For snapshots this is their size when they were posted; for rows a dry run only estimates it.")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
