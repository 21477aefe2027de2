"""Estimates the windows of a folder with NannyML, in an environment of its own: python nannyml_program.py FOLDER."""

import json
import sys
import warnings
from pathlib import Path

import nannyml  # type: ignore[import-not-found,unused-ignore]  # in the environment that runs this
import pandas as pd


def main(folder: Path) -> None:
    """Read spec.json, reference.parquet and analysis.parquet; write estimates.json, with a row for each window."""
    warnings.filterwarnings("ignore")
    spec = json.loads((folder / "spec.json").read_text())
    reference, analysis = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "analysis"))
    common = {"y_pred": "prediction", "y_true": "label", "metrics": spec["scores"], "chunk_number": 1}
    if spec["task"] == "regression":
        estimator = nannyml.DLE(feature_column_names=spec["features"], **common)
    else:
        probabilities = spec["probabilities"]
        two = len(probabilities) == 2
        estimator = nannyml.CBPE(
            y_pred_proba=list(probabilities.values())[-1] if two else probabilities,
            problem_type="classification_binary" if two else "classification_multiclass",
            **common,
        )
    estimator.fit(reference)
    found = []
    for _, rows in analysis.groupby("window"):
        estimated = estimator.estimate(rows.drop(columns=["window", "label"]).reset_index(drop=True)).to_df()
        scores = {name: float(estimated[name, "value"].iloc[-1]) for name in spec["scores"]}
        found.append({"window": int(rows["window"].iloc[0]), **scores})
    (folder / "estimates.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
