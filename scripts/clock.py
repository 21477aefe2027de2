"""The command that ends what a clock that was ahead has left in the log: python -m scripts.clock [--bring-back]."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from api.prediction_log.future_rows import FutureContent, FutureRows
from api.prediction_log.records import WindowRecord
from api.settings import Settings
from api.wiring import build_database, build_evidently_client
from evidently_workspace.client import EvidentlyClient
from evidently_workspace.errors import EvidentlyError
from evidently_workspace.window import Window
from scripts.command_line import status_of

STILL_AHEAD = (
    "but rows are dated in the future again: the API still goes by its earlier time. Restart it, or wait until ten "
    "minutes after the clock was put right; then run this again"
)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.clock") -> int:
    """Show or end it; 1 where rows are still dated in the future afterwards, 2 after an error."""
    options = build_parser(prog).parse_args(arguments)
    return status_of(lambda: _run(Settings(), bring_back=options.bring_back), EvidentlyError)


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Show what is dated in the future because the clock of the log's database was ahead. With "
        "--bring-back, date it back: the windows of the future are removed with their snapshots and reports, and their "
        "rows are measured again in the windows of the present. No row is lost. The API may go on meanwhile.",
    )
    parser.add_argument(
        "--bring-back", action="store_true", help="date it back; make sure first that the clock is right now"
    )
    return parser


def _run(settings: Settings, *, bring_back: bool) -> int:
    database = build_database(settings)
    database.migrate()
    future = FutureRows(database)
    found = future.find()
    print(f"The clock of the log's database shows {found.now:%Y-%m-%d %H:%M:%S} UTC.")
    if not found.is_wrong:
        print("Nothing in the log is dated in the future.")
        return 0
    print(_described(found))
    if not bring_back:
        print("If the clock is right now, --bring-back ends this. If it is wrong, put it right first.")
        return 0
    with build_evidently_client(settings) as client:
        _remove_snapshots(client, found.windows)
        future.bring_back(found)
        _remove_late_snapshots(client, found.windows, database.log_id())
    for window in found.windows:
        if window.report_file is not None:
            (settings.reports_dir / window.report_file).unlink(missing_ok=True)
    still = future.find().is_wrong
    print(f"All of it has been dated back by {_span(found)}{', ' + STILL_AHEAD if still else ''}.")
    return int(still)


def _described(found: FutureContent) -> str:
    return (
        f"The log is ahead of it by {_span(found)}, with {len(found.windows):,} windows, "
        f"{found.rows['predictions']:,} predictions and {found.rows['labels']:,} labels dated in the future."
    )


def _span(found: FutureContent) -> str:
    return str(timedelta(seconds=round(found.ahead.total_seconds())))


def _remove_snapshots(client: EvidentlyClient, windows: Iterable[WindowRecord]) -> None:
    """Remove them before the windows: without a window nobody would know whose they are."""
    for window in windows:
        if window.project_id is not None and window.snapshot_id is not None:
            client.delete_snapshot(UUID(window.project_id), UUID(window.snapshot_id))


def _remove_late_snapshots(client: EvidentlyClient, windows: Sequence[WindowRecord], log_id: str) -> None:
    """Remove what the API has posted of these windows meanwhile."""
    keys = {Window(window.start, window.end).key for window in windows}
    for project in {UUID(window.project_id) for window in windows if window.project_id is not None}:
        for key, snapshots in client.snapshots_by_window(project, log_id, unnamed=False).items():
            for snapshot_id in snapshots if key in keys else ():
                client.delete_snapshot(project, snapshot_id)


if __name__ == "__main__":
    sys.exit(main())
