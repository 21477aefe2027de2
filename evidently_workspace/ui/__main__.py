"""Starts the Evidently UI on SQL storage: python -m evidently_workspace.ui."""

import argparse
import contextlib
import gc
import io
import logging
import os
import socket
import sys
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from signal import SIGTERM, signal
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from litestar import Litestar


EVIDENTLY_VERSION = "0.7.23"
SECRET_VARIABLE = "VIGIE_EVIDENTLY_SECRET"  # noqa: S105 - the name of a setting
DATABASE_VARIABLE = "VIGIE_EVIDENTLY_DATABASE_URL"
FIGURES_VARIABLE = "VIGIE_EVIDENTLY_FIGURES_DAYS"
POINTS_VARIABLE = "VIGIE_EVIDENTLY_PANEL_POINTS"
DEFAULT_DATABASE = "sqlite:///data/evidently.db"
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest snapshot that the UI accepts: the default of 10 MB is too small for some hundred columns."""

FIGURES_DAYS = 7.0
"""As long as quiet windows are kept hourly; further back there are the charts, and the HTML report if it is kept."""
MAX_DAYS = 36_500
PANEL_POINTS = 100
"""About as many as a chart of half the page's width can tell apart, and as sixty lines are drawn of within a second."""
MIN_PANEL_POINTS = 10

logger = logging.getLogger("evidently_workspace.ui")


def main(
    arguments: list[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    prog: str = "python -m evidently_workspace.ui",
) -> int:
    """Serve until stopped; return 0, or 2 with one line on standard error when it cannot start."""
    options = build_parser(environment, prog).parse_args(arguments)
    # uvicorn raises the signal again once it has stopped; by default that would skip what Python does at its exit
    signal(SIGTERM, lambda _signal, _frame: sys.exit(0))
    try:
        secret = read_secret(environment)
        database = options.database or read_secret(environment, DATABASE_VARIABLE) or DEFAULT_DATABASE
        with open_port(options.host, options.port) as listener:
            app = create_ui(database, secret, options.panel_points)
            _log_to_stderr()
            warn_of_another_version()
            logger.info("Evidently UI at http://%s:%d", options.host, listener.getsockname()[1])
            with maintenance(database, options.figures_days):
                serve(app, listener)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def build_parser(environment: Mapping[str, str] = os.environ, prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments; some have their default from the environment, where it has one."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"Serve Evidently UI. Set {SECRET_VARIABLE} or {SECRET_VARIABLE}_FILE to guard writes; "
        f"{DATABASE_VARIABLE} or {DATABASE_VARIABLE}_FILE name the database where --database does not.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8001, help="default: %(default)s")
    parser.add_argument("--database", metavar="URL", help=f"default: {DEFAULT_DATABASE}")
    # A default that is text is checked by argparse like an argument.
    figures = environment.get(FIGURES_VARIABLE) or f"{FIGURES_DAYS:g}"
    points = environment.get(POINTS_VARIABLE) or str(PANEL_POINTS)
    parser.add_argument(
        "--panel-points",
        type=_count,
        default=points,
        metavar="N",
        help=f"most snapshots that a panel shows; of more it shows a choice; 0: all (default: {POINTS_VARIABLE} or "
        f"{PANEL_POINTS})",
    )
    parser.add_argument(
        "--figures-days",
        type=_days,
        default=figures,
        metavar="DAYS",
        help="days after which a snapshot loses its figures, not its values; 0: never (default: "
        f"{FIGURES_VARIABLE} or {FIGURES_DAYS:g})",
    )
    return parser


def read_secret(environment: Mapping[str, str], variable: str = SECRET_VARIABLE) -> str | None:
    """Return the secret from the variable or from the file that the variable with _FILE names, else None.

    Raises ValueError if both are set or the file cannot be read or is empty.
    """
    value, path = environment.get(variable), environment.get(f"{variable}_FILE")
    if value and path:
        raise ValueError(f"set {variable} or {variable}_FILE, not both")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read {variable}_FILE {path}: {error.strerror}") from error
        if not value:
            raise ValueError(f"{variable}_FILE {path} is empty")
    return value or None


def open_port(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, before the slow import; ValueError if it is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ValueError(f"cannot listen on {host}:{port}: {reason}") from error


def create_ui(database_url: str, secret: str | None, panel_points: int = PANEL_POINTS) -> "Litestar":
    """Return Evidently's application on the given database; with a secret, writes need it.

    Imports Evidently, which takes seconds. Raises ValueError for a database address that cannot be used.
    """
    # Read by Evidently while it is imported: without it the UI reports its use to its makers.
    os.environ["DO_NOT_TRACK"] = "1"
    # Else the UI runs git at every /api/version and gives the commit of whatever repository surrounds it.
    os.environ.setdefault("GIT_COMMIT", "-")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # Evidently prints how it wires itself, and uses deprecated parts of its dependencies.
        warnings.simplefilter("ignore")
        from evidently.ui.service.app import create_app  # noqa: PLC0415 - takes seconds

        from evidently_workspace.ui.config import local_config  # noqa: PLC0415 - imports Evidently

        app: Litestar = create_app(local_config(database_url, secret, MAX_BODY_BYTES, panel_points))
    return app


def warn_of_another_version(installed: str | None = None) -> None:
    """Log a warning where the installed Evidently is another than the one that this launcher was checked with."""
    installed = installed or version("evidently")
    if installed != EVIDENTLY_VERSION:
        logger.warning(
            "Evidently %s is installed; this launcher, which reaches into it, was checked with %s",
            installed,
            EVIDENTLY_VERSION,
        )


def maintenance(database_url: str, figures_days: float) -> AbstractContextManager[None]:
    """Keep the database small in a thread while the block lasts."""
    from evidently_workspace.ui.database import TunedDatabaseComponent  # noqa: PLC0415 - imports Evidently
    from evidently_workspace.ui.maintenance import Maintenance  # noqa: PLC0415 - imports Evidently

    engine = TunedDatabaseComponent(url=database_url).get_engine()
    return Maintenance(engine, timedelta(days=figures_days) if figures_days else None).running()


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 to {MAX_DAYS}")
    return days


def _count(text: str) -> int:
    if not text.isdecimal() or 0 < int(text) < MIN_PANEL_POINTS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor a whole number from {MIN_PANEL_POINTS}")
    return int(text)


def _log_to_stderr() -> None:
    # After the application is made, which sets up logging its own way.
    format_ = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=format_, force=True)
    logger.setLevel(logging.INFO)


def serve(app: "Litestar", listener: socket.socket) -> None:
    """Serve the application on the socket until SIGINT or SIGTERM."""
    # Some hundred megabytes of modules that stay: each look through them for garbage held up all requests for 0.3 s.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    # uvicorn raises the signal again once everything is closed; an interrupt is a normal way to stop.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
