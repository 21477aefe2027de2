"""The domain errors of the API; none of them knows HTTP.

VigieError
├── PayloadError        what was sent cannot be accepted
│   ├── UnknownClass    a label that the model does not predict
│   └── NoFiniteAnswer  a row for which the model has no finite number
├── StateError          the request is fine, but not in this state
│   ├── NothingToSnapshot
│   ├── ModelUnusable   what is in the model folder cannot serve
│   └── SchemaChanged   what is in the model folder takes other rows or labels
├── NotFound
├── BadKeys             what should list API keys does not
└── DependencyError     something that the API needs does not answer
    ├── LogUnavailable  the prediction log cannot be read or written
    └── LogOverloaded   more rows wait for the log than it may hold
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with a payload, and where: ``field`` is a path such as ``rows[3].age``."""

    field: str
    message: str
    type: str


class VigieError(Exception):
    """Base of everything that the API raises on purpose."""


class PayloadError(VigieError):
    """What was sent cannot be accepted; ``errors`` name the fields."""

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class UnknownClass(PayloadError):
    """A label that is none of the model's classes."""


class NoFiniteAnswer(PayloadError):
    """A row for which the model has no finite number: JSON has no other."""


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
    """Something that the API needs does not answer; a later try may succeed."""

    retry_after_seconds = 1


class LogUnavailable(DependencyError):
    """The prediction log cannot be read or written."""


class LogOverloaded(DependencyError):
    """More rows wait to be logged than the queue may hold."""
