"""The usual tutorial's endpoint: a pandas frame for each request, scikit-learn, and a line appended to a CSV file."""

import csv
import sys
from pathlib import Path
from uuid import uuid4

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI

from api.serving.schemas import Prediction, row_type
from model.artifact.store import PIPELINE_FILE, read_manifest

manifest = read_manifest(Path(sys.argv[1]))
row = row_type(manifest)
model = joblib.load(Path(sys.argv[1]) / PIPELINE_FILE)
log = Path(sys.argv[3])
app = FastAPI()


@app.post("/predict")
def predict(body: row) -> Prediction:  # type: ignore[valid-type] # made at run time
    """Predict one row and append it to the file."""
    frame = pd.DataFrame([body.model_dump(by_alias=True)])  # type: ignore[attr-defined] # as above
    probabilities = model.predict_proba(frame)[0]
    prediction = manifest.classes[int(probabilities.argmax())]
    key = str(uuid4())
    with log.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow([key, *frame.iloc[0], prediction, *probabilities])
    return Prediction(
        prediction_id=key,
        prediction=prediction,
        probabilities=dict(zip(manifest.class_names, map(float, probabilities), strict=True)),
        model_version=manifest.version,
    )


uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
