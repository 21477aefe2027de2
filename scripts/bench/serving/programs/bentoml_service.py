"""The model in BentoML."""

import bentoml


@bentoml.service
class Model:
    """Answers one row at a time."""

    def __init__(self) -> None:
        import onnx_model  # noqa: PLC0415 - in the worker process alone

        self._model = onnx_model

    @bentoml.api
    def predict(self, row: dict[str, float]) -> dict:
        """Return the answer to a row."""
        return self._model.answer([row[name] for name in self._model.FEATURES])
