"""How a command ends: with its own status, or with 2 and one line where something is wrong that a person can mend."""

import sys
from collections.abc import Callable

from pydantic import ValidationError

from api.errors import LogUnavailable
from model.errors import ModelError

CANNOT = 2
MENDABLE = (LogUnavailable, ModelError, OSError, ValidationError)
"""The settings, the log, the model, the files."""


def status_of(work: Callable[[], int], *others: type[Exception]) -> int:
    """Return the status of the work, or 2 after a line on standard error; ``others`` are mendable here as well."""
    mendable: tuple[type[Exception], ...] = (*MENDABLE, *others)
    try:
        return work()
    except mendable as error:
        print(f"error: {error}", file=sys.stderr)
        return CANNOT
