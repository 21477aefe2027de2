"""The errors of the API; none of them knows HTTP.

VigieError
├── PayloadError        the request's body or parameters are not valid
│   ├── UnknownClass    a label that the model does not predict
│   ├── NoFiniteAnswer  a row for which the model has no finite number
│   └── RowRefused      a row that the model cannot take
├── UnreadableBody      the body broke off, or cannot be decoded
├── BodyTooLarge        the body is too large once it is unpacked
├── UnknownEncoding     the body is packed in a way that the API does not know
├── StateError          the request is fine, but not in this state
│   ├── NothingToSnapshot  too little was logged since the last window
│   ├── IdInUse         an id that another row has
│   ├── ServedElsewhere the model is only watched here, and predicts in another program
│   ├── ModelUnusable   the version in the model folder cannot serve
│   └── SchemaChanged   the version in the model folder has other fields or labels
├── NotFound            the named thing does not exist
│   └── NoSuchModel     the installation has no model of this name, or no default one
├── BadKeys             the list of API keys cannot be read
├── BadAddresses        an address for notifications cannot be used
└── DependencyError     something that the API needs does not answer
    ├── ModelDisabled   the model's artifact or its own settings are not valid
    ├── LogUnavailable  the prediction log cannot be read or written
    └── LogOverloaded   more rows wait for the log than it may hold
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

MAX_ERRORS = 100
"""Errors that the response to an invalid request lists."""
MAX_SUMMARY_ERRORS = 3
MAX_SHOWN_LENGTH = 200
"""Characters of a name or value that an error repeats; a caller may send millions."""


def shortened(text: str) -> str:
    """Return the text as an error shows it."""
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"


@dataclass(frozen=True)
class FieldError:
    """One error in a request; ``field`` is a path such as ``rows[3].age``."""

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
        return cls(shortened(path) or "body", str(item["msg"]), str(item["type"]))


class VigieError(Exception):
    """Base of all errors that the API raises on purpose."""


class PayloadError(VigieError):
    """The request is not valid; ``errors`` name its fields."""

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors

    @classmethod
    def of(cls, errors: Sequence[FieldError], *, complete: bool = True) -> Self:
        """Build the error, whose message names the first of ``errors``; ``complete`` says whether these are all."""
        message = "; ".join(f"{error.field}: {error.message}" for error in errors[:MAX_SUMMARY_ERRORS])
        more = len(errors) - MAX_SUMMARY_ERRORS
        if more > 0:
            message += f"; and {more} more" if complete else f"; and at least {more} more"
        return cls(message, tuple(errors[:MAX_ERRORS]))


class UnknownClass(PayloadError):
    """A label is not one of the model's classes."""


class NoFiniteAnswer(PayloadError):
    """The model has no finite number for a row, and JSON cannot carry another."""


class RowRefused(PayloadError):
    """The model cannot take a row, or was made to refuse a value that it has not seen."""


class UnreadableBody(VigieError):
    """The body broke off, or cannot be decoded."""


class BodyTooLarge(VigieError):
    """The body is too large once it is unpacked."""


class UnknownEncoding(VigieError):
    """The body is packed in a way that the API does not know."""


class StateError(VigieError):
    """The request is valid, but not possible in the current state."""


class NothingToSnapshot(StateError):
    """Too little was logged since the last window."""


class IdInUse(StateError):
    """A caller's own id for a prediction already belongs to another row."""


class ServedElsewhere(StateError):
    """The model is only watched here, and predicts in another program."""


class ModelUnusable(StateError):
    """The version in the model folder cannot serve."""


class SchemaChanged(StateError):
    """The version in the model folder has other fields or labels than the model that serves."""


class NotFound(VigieError):
    """The named thing does not exist."""


class NoSuchModel(NotFound):
    """The installation has no model of this name, or no default one."""


class BadKeys(VigieError):
    """The list of API keys cannot be read; the message does not quote it."""


class BadAddresses(VigieError):
    """An address for notifications cannot be used; the message does not quote it."""


class DependencyError(VigieError):
    """Something that the API needs does not answer; the caller may try again later."""

    retry_after_seconds = 1


class ModelDisabled(DependencyError):
    """The model cannot serve, because its artifact or its own settings are not valid."""

    retry_after_seconds = 60
    """A person must repair it."""


class LogUnavailable(DependencyError):
    """The prediction log cannot be read or written."""


class LogOverloaded(DependencyError):
    """More rows wait to be logged than the queue may hold."""
