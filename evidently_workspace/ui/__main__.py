"""Starts the Evidently UI on SQL storage: python -m evidently_workspace.ui."""

import contextlib
import gc
import io
import logging
import os
import socket
import sys
import warnings
from argparse import Namespace
from collections.abc import Mapping
from importlib.metadata import version
from signal import SIGTERM, signal
from typing import TYPE_CHECKING

import uvicorn

from evidently_workspace.ui.options import (
    DATABASE_VARIABLE,
    DEFAULT_DATABASE,
    PUBLIC_URL_VARIABLE,
    build_parser,
    read_secret,
)
from evidently_workspace.ui.web_origin import allowed_hosts

if TYPE_CHECKING:
    from litestar import Litestar

    from evidently_workspace.ui.maintenance import Maintenance

EVIDENTLY_VERSION = "0.7.23"

logger = logging.getLogger("evidently_workspace.ui")


def main(
    arguments: list[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    prog: str = "python -m evidently_workspace.ui",
) -> int:
    """Serve until stopped; return 0, or 2 with one line on standard error when it cannot start."""
    options = build_parser(environment, prog).parse_args(arguments)
    # uvicorn raises the signal again once it has stopped. By default that would skip Python's own exit.
    signal(SIGTERM, lambda _signal, _frame: sys.exit(0))
    try:
        secret = read_secret(environment)
        database = options.database or read_secret(environment, DATABASE_VARIABLE) or DEFAULT_DATABASE
        with open_port(options.host, options.port) as listener:
            app, maintenance = create_ui(database, secret, options.panel_points, options.figures_days)
            _log_to_stderr()
            warn_of_another_version()
            logger.info("Evidently UI at http://%s:%d", options.host, listener.getsockname()[1])
            with maintenance.running():
                serve(app, listener, _hosts(options, environment))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def open_port(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, before the slow import; ValueError if it is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ValueError(f"cannot listen on {host}:{port}: {reason}") from error


def create_ui(
    database_url: str, secret: str | None, panel_points: int, figures_days: float
) -> tuple["Litestar", "Maintenance"]:
    """Return Evidently's application on the database, and the maintenance of the database.

    Imports Evidently, which takes seconds. Raises ValueError for a database address that cannot be used.
    """
    # Evidently reads it when it is imported. Without it the UI reports its use to Evidently's makers.
    os.environ["DO_NOT_TRACK"] = "1"
    # Without it the UI runs git at every /api/version and returns the commit of the repository around it, if any.
    os.environ.setdefault("GIT_COMMIT", "-")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # Evidently prints how it builds itself, and uses deprecated parts of its dependencies.
        warnings.simplefilter("ignore")
        from evidently_workspace.ui import config  # noqa: PLC0415 - imports Evidently, which takes seconds

        app = config.create_app(database_url, secret, panel_points)
        return app, config.create_maintenance(database_url, figures_days)


def warn_of_another_version(installed: str | None = None) -> None:
    """Log a warning where the installed Evidently is another than the one that this launcher was checked with."""
    installed = installed or version("evidently")
    if installed != EVIDENTLY_VERSION:
        logger.warning(
            "Evidently %s is installed; this launcher, which reaches into it, was checked with %s",
            installed,
            EVIDENTLY_VERSION,
        )


def _log_to_stderr() -> None:
    # After the application is made, which sets up logging its own way.
    format_ = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=format_, force=True)
    logger.setLevel(logging.INFO)


def _hosts(options: Namespace, environment: Mapping[str, str]) -> frozenset[str] | None:
    named = (name.strip() for name in options.allowed_hosts.split(",") if name.strip())
    return allowed_hosts(named, options.host, environment.get(PUBLIC_URL_VARIABLE))


def serve(app: "Litestar", listener: socket.socket, hosts: frozenset[str] | None) -> None:
    """Serve the application on the socket, to these host names (None: any), until SIGINT or SIGTERM."""
    from evidently_workspace.ui.config import OriginGuard  # noqa: PLC0415 - imports Evidently, which takes seconds

    # Some hundred megabytes of modules that stay: each look through them for garbage held up all requests for 0.3 s.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(OriginGuard(app, hosts), log_level="warning", access_log=False, lifespan="on")
    # uvicorn raises the signal again once everything is closed; an interrupt is a normal way to stop.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
