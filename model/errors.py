"""The errors that this package raises on purpose.

ModelError
├── DataError        the training data cannot be used; the message names the column or line
├── ArtifactError    an artifact folder is missing, damaged or not what its manifest says
├── PredictionError  rows do not fit the schema of the model
│   └── ServedElsewhereError  the model answers in another program, and is only watched here
└── ExplanationError the answers of this model cannot be explained; the message says why
"""


class ModelError(Exception):
    """Base of every error of this package; its text is fit to be shown to a person."""


class DataError(ModelError):
    """The training data cannot be used as given."""


class ArtifactError(ModelError):
    """An artifact folder is missing, damaged or does not match its manifest."""


class PredictionError(ModelError):
    """Rows handed to the predictor do not fit the schema of its model."""


class ServedElsewhereError(PredictionError):
    """The model answers in another program; here it is only watched."""


class ExplanationError(ModelError):
    """The kind of model has no attributions that could be computed exactly."""
