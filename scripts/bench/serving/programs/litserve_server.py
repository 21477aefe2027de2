"""The model in LitServe."""

import sys

import litserve


class Model(litserve.LitAPI):
    """Answers one row at a time."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's interface
        """Load the model, in LitServe's worker process."""
        import onnx_model  # noqa: PLC0415 - in the worker process alone

        self._model = onnx_model

    def decode_request(self, request: dict) -> list:
        """Return the values of a row."""
        return [request[name] for name in self._model.FEATURES]

    def predict(self, x: list) -> dict:
        """Return the answer to a row."""
        return self._model.answer(x)


if __name__ == "__main__":
    litserve.LitServer(Model(), accelerator="cpu").run(port=int(sys.argv[1]), host="127.0.0.1", log_level="warning")
