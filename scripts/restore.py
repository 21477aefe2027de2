"""The command that puts a backup where there is nothing yet: python -m scripts.restore FILE."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from api.prediction_log.copying import backend_of, is_empty, place_database
from scripts.backup.archive import DATABASES, BadBackup, unpack_backup
from scripts.backup.places import Places, add_workspace_url, places
from scripts.command_line import status_of


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.restore") -> int:
    """Restore and print what was put where; 2 where something stands in the way or the backup is not sound."""
    options = build_parser(prog).parse_args(arguments)
    return status_of(lambda: restore(options.file, places(options.workspace_url)), BadBackup)


def restore(file: Path, target: Places) -> int:
    """Put everything in its place; nothing is touched before the whole backup was found sound and all places empty.

    Raises BadBackup, api.errors.LogUnavailable or OSError.
    """
    _refuse_what_stands(target)
    with TemporaryDirectory(prefix="vigie-restore-", dir=file.parent) as name:
        folder = Path(name)
        listed = unpack_backup(file, folder)
        for database, url in target.databases.items():
            kind, wanted = listed["databases"][database], backend_of(url)
            if kind != wanted:
                raise BadBackup(f"the {database} was backed up from {kind}, and would have to go to {wanted}")
        for kind, path in target.folders.items():
            if (folder / kind).is_dir():
                shutil.copytree(folder / kind, path, dirs_exist_ok=True)
                print(f"{kind}: {path}")
        # the log last: without it a stack begins anew, with it all else has to be there
        for database, url in reversed(target.databases.items()):
            place_database(folder / DATABASES / database, url)
            print(f"{database}: restored")
    print(f"as of {listed['made_at']}")
    return 0


def _refuse_what_stands(target: Places) -> None:
    standing = [f"the {name}'s database" for name, url in target.databases.items() if not is_empty(url)]
    standing += [str(path) for path in target.folders.values() if path.exists() and any(path.iterdir())]
    if standing:
        raise BadBackup(
            f"there is something already: {', '.join(standing)}; stop the stack and move it away, or restore elsewhere "
            "by VIGIE_DATABASE_URL, VIGIE_EVIDENTLY_DATABASE_URL, VIGIE_MODEL_DIR and VIGIE_REPORTS_DIR"
        )


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Put a backup where the VIGIE_ settings say that log, workspace, model and reports are. "
        "Nothing may be there yet, and nothing may run on it.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what scripts.backup wrote")
    add_workspace_url(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
