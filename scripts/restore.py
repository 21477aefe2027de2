"""The command that restores a backup into empty places: python -m scripts.restore FILE."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from api.prediction_log.copying import backend_of, is_empty, place_database
from api.prediction_log.database import Database
from scripts.backup.archive import DATABASES, BadBackup, Places, add_workspace_url, places, unpack_backup
from scripts.command_line import status_of


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.restore") -> int:
    """Restore and print the places; 2 where a place is not empty or the backup is not valid."""
    options = build_parser(prog).parse_args(arguments)
    return status_of(lambda: restore(options.file, places(options.workspace_url), copy=options.copy), BadBackup)


def restore(file: Path, target: Places, *, copy: bool = False) -> int:
    """Restore everything; it writes nothing before it has found the whole backup valid and all places empty.

    A ``copy`` gets a log id of its own, so that Evidently UI tells it from the original.

    Raises BadBackup, api.errors.LogUnavailable or OSError.
    """
    _require_empty(target)
    with TemporaryDirectory(prefix="vigie-restore-", dir=file.parent) as name:
        folder = Path(name)
        listed = unpack_backup(file, folder)
        for database, url in target.databases.items():
            kind, wanted = listed["databases"][database], backend_of(url)
            if kind != wanted:
                raise BadBackup(f"the {database} was backed up from {kind} and cannot be restored into {wanted}")
        _require_same_kind(folder, target)
        for kind, path in target.folders.items():
            if (folder / kind).is_dir():
                shutil.copytree(folder / kind, path, dirs_exist_ok=True)
                print(f"{kind}: {path}")
        # the log last: a stack with a log needs everything else, a stack without one starts from nothing
        for database, url in reversed(target.databases.items()):
            place_database(folder / DATABASES / database, url)
            print(f"{database}: restored")
        if copy:
            _become_another_log(target.log_url)
    print(f"as of {listed['made_at']}")
    return 0


def _require_same_kind(folder: Path, target: Places) -> None:
    """Refuse a backup of several models where the settings name the folder of one, and the other way round."""
    for kind, variable in (("model", "VIGIE_MODEL_DIR"), ("models", "VIGIE_MODELS_DIR")):
        if (folder / kind).is_dir() and kind not in target.folders:
            what = "several models" if kind == "models" else "one model"
            raise BadBackup(f"the backup is of an installation with {what}: name their place with {variable} alone")


def _become_another_log(url: str) -> None:
    log = Database(url)
    log.migrate()
    log.renew_log_id()
    log.dispose()
    print("the log has an id of its own now: name a project for it with VIGIE_EVIDENTLY_PROJECT")


def _require_empty(target: Places) -> None:
    occupied = [f"the {name}'s database" for name, url in target.databases.items() if not is_empty(url)]
    occupied += [str(path) for path in target.folders.values() if path.exists() and any(path.iterdir())]
    if occupied:
        raise BadBackup(
            f"these places are not empty: {', '.join(occupied)}; stop the stack and move them away, or restore to "
            "other places with VIGIE_DATABASE_URL, VIGIE_EVIDENTLY_DATABASE_URL, VIGIE_MODEL_DIR (or "
            "VIGIE_MODELS_DIR) and VIGIE_REPORTS_DIR"
        )


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Restore log, workspace, model and reports of a backup into the places that the VIGIE_ settings "
        "name. They must be empty, and the stack must not run.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a backup that `vigie backup` wrote")
    parser.add_argument(
        "--copy",
        action="store_true",
        help="the original goes on beside this copy: give the log an id of its own, so that neither removes the "
        "snapshots of the other",
    )
    add_workspace_url(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
