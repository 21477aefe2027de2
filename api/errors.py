"""Owns the domain errors of the API; none of them knows HTTP.

VigieError
├── PayloadError        what was sent cannot be accepted
│   ├── UnknownClass    a label that the model does not predict
│   └── NoFiniteAnswer  a row for which the model has no finite number
├── UnreadableBody      the body is not JSON that can be parsed, or broke off
├── StateError          the request is fine, but not in this state
│   ├── NothingToSnapshot
│   ├── ModelUnusable   what is in the model folder cannot serve
│   └── SchemaChanged   what is in the model folder takes other rows or labels
├── NotFound
├── BadKeys             what should list API keys does not
└── DependencyError     something we stand on does not answer
    ├── LogUnavailable  the prediction log cannot be read or written
    └── LogOverloaded   more rows wait for the log than it may hold
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

MAX_ERRORS = 100
"""Errors that one refusal of a payload names."""
MAX_SUMMED_UP = 3


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with a payload, and where: ``field`` is a path such as ``rows[3].age``."""

    field: str
    message: str
    type: str

    @classmethod
    def from_pydantic(cls, item: Mapping[str, Any]) -> Self:
        """Translate one of pydantic's errors: its location ("rows", 3, "age") becomes rows[3].age."""
        path = ""
        for part in item["loc"]:
            if isinstance(part, int):
                path += f"[{part}]"
            else:
                path += f".{part}" if path else str(part)
        return cls(path or "body", str(item["msg"]), str(item["type"]))


class VigieError(Exception):
    """Base of everything that the API raises on purpose."""


class PayloadError(VigieError):
    """What was sent cannot be accepted; ``errors`` name the fields."""

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors

    @classmethod
    def of(cls, errors: Sequence[FieldError], *, complete: bool = True) -> Self:
        """Build the error whose message sums up ``errors``; there are more of them where they are not ``complete``."""
        message = "; ".join(f"{error.field}: {error.message}" for error in errors[:MAX_SUMMED_UP])
        more = len(errors) - MAX_SUMMED_UP
        if more > 0:
            message += f"; and {more} more" if complete else f"; and at least {more} more"
        return cls(message, tuple(errors[:MAX_ERRORS]))


class UnknownClass(PayloadError):
    """A label that is none of the model's classes."""


class NoFiniteAnswer(PayloadError):
    """A row for which the model has no finite number: JSON has no other."""


class UnreadableBody(VigieError):
    """The body did not arrive whole, or cannot be parsed, and JSON's own rules do not say why."""


class StateError(VigieError):
    """The request is well formed, but the present state does not allow it."""


class NothingToSnapshot(StateError):
    """There is no logged row or label since the last window."""


class ModelUnusable(StateError):
    """What is in the model folder cannot serve."""


class SchemaChanged(StateError):
    """What is in the model folder takes other rows or labels than the model that serves."""


class NotFound(VigieError):
    """The named thing does not exist."""


class BadKeys(VigieError):
    """The text that should list API keys cannot be read as such; the message quotes none of it."""


class DependencyError(VigieError):
    """Something that the API stands on does not answer; trying again later makes sense."""

    retry_after_seconds = 1


class LogUnavailable(DependencyError):
    """The prediction log cannot be read or written."""


class LogOverloaded(DependencyError):
    """More rows wait to be logged than the queue may hold."""
