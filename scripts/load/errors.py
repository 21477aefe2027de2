"""The errors that stop a load before it starts; each message is one line fit to be shown to a person.

LoadError
├── ApiUnreachableError  nothing answers at the address
├── NotTheApiError       something answers, but it is not this API
├── KeyRefusedError      the API wants an API key, or another one
├── BadKeyError          what should be an API key is none
├── ModelMismatchError   the API serves another model than the artifact the rows come from
└── NoSuchTrafficError   the scenario cannot be made from this model's rows
"""


class LoadError(Exception):
    """Base of the errors that stop a load."""


class ApiUnreachableError(LoadError):
    """Nothing answers at the address."""


class NotTheApiError(LoadError):
    """Something answers at the address, but not as this API does."""


class KeyRefusedError(LoadError):
    """The API wants an API key, or another one than it was given."""


class BadKeyError(LoadError):
    """The text that should be an API key cannot be one."""


class ModelMismatchError(LoadError):
    """The API serves another model than the one whose hold-out rows would be sent."""


class NoSuchTrafficError(LoadError):
    """The model's rows do not allow the scenario, for example because no column varies."""
