"""The framework's own limit: FastAPI with our request and response types, answering one constant."""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from api.serving.schemas import Prediction, row_type
from model.artifact.store import read_manifest

manifest = read_manifest(Path(sys.argv[1]))
row = row_type(manifest)
app = FastAPI()
ANSWER = Prediction(
    prediction_id="01a206d1-4af7-73b6-82be-e3ad6c7ae0a1",
    prediction=manifest.classes[0],
    probabilities=dict.fromkeys(manifest.class_names, 0.333333),
    model_version=manifest.version,
)


@app.post("/predict")
async def predict(body: row) -> Prediction:  # type: ignore[valid-type] # noqa: ARG001 - made at run time; it does nothing
    """Validate the row, and serialise the constant."""
    return ANSWER


uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
