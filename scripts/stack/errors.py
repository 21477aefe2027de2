"""The errors of the embedded stack; each message says what happened and what to do.

StackError
├── PortTakenError    another program listens on a port that a service needs
├── DataDirError      the data folder cannot be used
├── TrainingError     the model could not be trained
├── ChildDiedError    a service ended by itself
├── NotReadyError     a service did not become ready in time
└── StoppedError      the user stopped the stack while it was starting
"""


class StackError(Exception):
    """Base of the errors of the embedded stack."""


class PortTakenError(StackError):
    """Another program listens on a port that a service needs."""


class DataDirError(StackError):
    """The data folder cannot be written, or another stack uses it."""


class TrainingError(StackError):
    """The model could not be trained; its own output says why."""


class ChildDiedError(StackError):
    """A service ended by itself. `last_lines` are the end of its log."""

    def __init__(self, message: str, last_lines: tuple[str, ...]) -> None:
        super().__init__(message)
        self.last_lines = last_lines


class NotReadyError(StackError):
    """A service did not become ready in time. `last_lines` are the end of its log."""

    def __init__(self, message: str, last_lines: tuple[str, ...]) -> None:
        super().__init__(message)
        self.last_lines = last_lines


class StoppedError(StackError):
    """The user stopped the stack while it was starting."""
