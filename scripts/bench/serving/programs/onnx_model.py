"""The same ONNX model for every peer; imports none of ours, as it runs in the peers' own Python."""

import json
import os

import numpy as np
import onnxruntime

FEATURES = json.loads(os.environ["PEER_FEATURES"])
CLASSES = json.loads(os.environ["PEER_CLASSES"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
INPUT = session.get_inputs()[0].name


def answer(values: list[float]) -> dict:
    """Return the predicted class and the probabilities of one row."""
    row = np.array([values], dtype=np.float32)
    probabilities = session.run(["probabilities"], {INPUT: row})[0][0]
    named = dict(zip(CLASSES, map(float, probabilities), strict=True))
    return {"prediction": CLASSES[int(probabilities.argmax())], "probabilities": named}
