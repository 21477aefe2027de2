"""The command that copies log, windows, model, reports and workspace while they are used: python -m scripts.backup."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from scripts.backup.archive import Places, add_workspace_url, places, write_backup
from scripts.command_line import status_of


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.backup") -> int:
    """Write one backup and print its file; 2 where that is not possible."""
    options = build_parser(prog).parse_args(arguments)
    file: Path = options.out or Path("backups") / f"vigie-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.tar"
    if file.exists():
        print(f"error: {file} already exists; name another file with --out", file=sys.stderr)
        return 2
    return status_of(lambda: _back_up(places(options.workspace_url), file))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Copy log, windows, model, reports and Evidently UI's workspace into one file while they are used; "
        "the VIGIE_ settings name their places.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write (default: backups/vigie-<time>.tar)"
    )
    add_workspace_url(parser)
    return parser


def _back_up(where: Places, file: Path) -> int:
    with Console(stderr=True).status("starting") as status:
        listed = write_backup(where, file, lambda what: status.update(f"copying the {what}"))
    print(f"{file}: {len(listed['files'])} files, {file.stat().st_size / 1e6:,.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
