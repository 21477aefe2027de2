"""Command-line values that several commands share, and how a command ends."""

import argparse
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from api.errors import LogUnavailable, NoSuchModel
from model.errors import ModelError
from scripts.ports import API_PORT, UI_PORT


def above_zero(text: str) -> float:
    """Return a finite number above zero."""
    return _number(text, "a number above zero", lambda value: value > 0)


def from_zero(text: str) -> float:
    """Return a finite number, zero or above."""
    return _number(text, "a number from zero", lambda value: value >= 0)


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    return _number(text, "a share from 0 to 1", lambda value: 0 <= value <= 1)


def whole_from(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return the kind of whole numbers from `low` to `high`, both included."""
    allowed = f"a whole number from {low}" + ("" if high is None else f" to {high}")

    def kind(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}") from None
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text} is not {allowed}")
        return value

    return kind


def moment(text: str) -> datetime:
    """Return a date, or a date and time in ISO 8601, as an aware datetime; UTC where it has no offset."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-23T04:45") from None


MOMENT_HELP = "such as 2026-11-23 or 2026-11-23T04:45; UTC unless it has an offset"


def add_span(parser: argparse.ArgumentParser, of: str = "", *, required: bool = False) -> None:
    """Add a period, [start, end), to a command; see `check_span`."""
    first = f"first moment{of}, {MOMENT_HELP}"
    parser.add_argument("--from", dest="start", type=moment, required=required, metavar="TIME", help=first)
    parser.add_argument("--to", dest="end", type=moment, required=required, metavar="TIME", help="end, not included")


def check_span(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the command where its period does not begin before it ends."""
    if options.start is not None and options.end is not None and options.start >= options.end:
        parser.error("--from must be before --to")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the choice of one of several models to a command."""
    parser.add_argument(
        "--model", metavar="NAME", help="which of the models in VIGIE_MODELS_DIR (default: VIGIE_DEFAULT_MODEL)"
    )


def add_ports(parser: argparse.ArgumentParser) -> None:
    """Add the ports of the embedded stack to a command."""
    port = whole_from(1, 65535)
    parser.add_argument("--api-port", type=port, default=API_PORT, help="where the API listens (%(default)s)")
    parser.add_argument("--ui-port", type=port, default=UI_PORT, help="where Evidently UI listens (%(default)s)")


def _number(text: str, allowed: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}") from None
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f"{text} is not {allowed}")
    return value


def status_of(work: Callable[[], int], *others: type[Exception]) -> int:
    """Return the status of the work, or 2 after one line on standard error for an error that a user can correct.

    Such errors come from the settings, the log, the model and the files; ``others`` count as well.
    """
    # Imported here: the commands that run where nothing is installed use this module for its argument types.
    from pydantic import ValidationError  # noqa: PLC0415

    correctable: tuple[type[Exception], ...] = (
        LogUnavailable,
        NoSuchModel,
        ModelError,
        OSError,
        ValidationError,
        *others,
    )
    try:
        return work()
    except correctable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
