"""The errors that stop a load before it starts; each message is one line that says what to do.

LoadError
├── ApiUnreachableError  nothing answers at the address
├── NotTheApiError       something else than this API answers
├── KeyRefusedError      the API needs an API key, or another one
├── BadKeyError          the given text is not an API key
├── ModelMismatchError   the API serves another model than the artifact the rows come from
└── NoSuchTrafficError   the scenario cannot be made from this model's rows
"""


class LoadError(Exception):
    """Base of the errors that stop a load."""


class ApiUnreachableError(LoadError):
    """Nothing answers at the address."""


class NotTheApiError(LoadError):
    """Something else than this API answers at the address."""


class KeyRefusedError(LoadError):
    """The API needs an API key, or another one than it was given."""


class BadKeyError(LoadError):
    """The given text is not an API key."""


class ModelMismatchError(LoadError):
    """The API serves another model than the one whose hold-out rows would be sent."""


class NoSuchTrafficError(LoadError):
    """The model's rows do not allow the scenario, for example because no column varies."""
