"""The model in MLServer."""

import json

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class OnnxModel(MLModel):
    """Answers one row at a time."""

    async def load(self) -> bool:
        """Load the model."""
        import onnx_model  # noqa: PLC0415 - in the process that serves alone

        self._model = onnx_model
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the answer to a row."""
        answer = self._model.answer(list(payload.inputs[0].data))
        output = ResponseOutput(name="answer", shape=[1], datatype="BYTES", data=[json.dumps(answer)])
        return InferenceResponse(model_name=self.name, outputs=[output])
