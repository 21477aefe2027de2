"""The command that makes one HTML report for any period of the log: python -m scripts.report --from … --to …."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from api.installed_models import find_models
from api.settings import Settings
from api.snapshots.reports import report_name, report_suffix, write_report
from api.wiring import build_database, build_evaluator, places_of
from scripts.command_line import add_model, add_span, check_span, status_of


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.report") -> int:
    """Make the report and print its file; 1 where there is not enough data, 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    check_span(parser, options)
    return status_of(lambda: _make(options, Settings()))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make one HTML report for any period of the prediction log. It is not posted and changes no "
        "window. The VIGIE_ settings name the log, the model and the limits.",
    )
    add_span(parser, required=True)
    add_model(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write (default: one in VIGIE_REPORTS_DIR/by-hand)"
    )
    return parser


def _make(options: argparse.Namespace, common: Settings) -> int:
    installation = find_models(common)
    model = installation.choose(options.model)
    database = build_database(common)
    database.migrate()
    settings, model_id = model.settings, places_of(installation, database)[model.name].model_id
    print("measuring; Evidently takes some seconds to start", file=sys.stderr)
    evaluation = build_evaluator(settings, database, model_id, model.drift_floors).evaluate(options.start, options.end)
    if evaluation.snapshot is None:
        print(evaluation.reason, file=sys.stderr)
        return 1
    name = report_name(options.start, options.end, report_suffix(model.name, model_id))
    path: Path = options.out or settings.reports_dir / "by-hand" / name
    write_report(path, evaluation.snapshot.html)
    failed = ", ".join(dict.fromkeys(check.check for check in evaluation.snapshot.failed_checks)) or "none"
    print(f"{evaluation.logged.total:,} rows, {evaluation.labelled.total:,} labels; failed checks: {failed}")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
