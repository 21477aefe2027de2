"""The options of the Evidently UI's command, and the environment variables that it reads."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

SECRET_VARIABLE = "VIGIE_EVIDENTLY_SECRET"  # noqa: S105 - the name of a setting
DATABASE_VARIABLE = "VIGIE_EVIDENTLY_DATABASE_URL"
FIGURES_VARIABLE = "VIGIE_EVIDENTLY_FIGURES_DAYS"
HOSTS_VARIABLE = "VIGIE_EVIDENTLY_ALLOWED_HOSTS"
PUBLIC_URL_VARIABLE = "VIGIE_EVIDENTLY_PUBLIC_URL"
POINTS_VARIABLE = "VIGIE_EVIDENTLY_PANEL_POINTS"
DEFAULT_DATABASE = "sqlite:///data/evidently.db"
FIGURES_DAYS = 7.0
"""Windows without failed checks are kept hourly for as long. Older ones have charts, and perhaps an HTML report."""
MAX_DAYS = 36_500
PANEL_POINTS = 100
"""A chart of half the page's width can show about as many apart, and sixty such lines are drawn within a second."""
MIN_PANEL_POINTS = 10


def build_parser(environment: Mapping[str, str] = os.environ, prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments; the environment may set the defaults of some."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"Serve Evidently UI. Set {SECRET_VARIABLE} or {SECRET_VARIABLE}_FILE to guard writes. "
        f"Without --database, {DATABASE_VARIABLE} or {DATABASE_VARIABLE}_FILE names the database.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8001, help="default: %(default)s")
    parser.add_argument("--database", metavar="URL", help=f"default: {DEFAULT_DATABASE}")
    parser.add_argument(
        "--allowed-hosts",
        default=environment.get(HOSTS_VARIABLE) or "",
        metavar="NAMES",
        help=f"host names to answer to, with commas (default: {HOSTS_VARIABLE}, else those of this machine and of "
        f"{PUBLIC_URL_VARIABLE} if only this machine can reach the UI, else any)",
    )
    # argparse checks a default that is text like an argument.
    parser.add_argument(
        "--panel-points",
        type=_count,
        default=environment.get(POINTS_VARIABLE) or str(PANEL_POINTS),
        metavar="N",
        help="maximum number of snapshots in a panel; if there are more, the panel shows a selection; 0: all "
        f"(default: {POINTS_VARIABLE} or {PANEL_POINTS})",
    )
    parser.add_argument(
        "--figures-days",
        type=_days,
        default=environment.get(FIGURES_VARIABLE) or f"{FIGURES_DAYS:g}",
        metavar="DAYS",
        help="days after which the figures of a snapshot are removed; its values stay; 0: never (default: "
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
