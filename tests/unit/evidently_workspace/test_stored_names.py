"""Evidently stores a metric under the name of its class, and dashboards of existing projects refer to these names."""

import json

import pytest

from evidently_workspace.dashboard import build_dashboard

EVERY_MODEL = {
    "AttributionDrift",
    "ConstantColumnsCount",
    "DriftRatio",
    "DriftedColumnsCount",
    "DuplicatedColumnsCount",
    "DuplicatedRowCount",
    "EstimateHeld",
    "EstimatedScore",
    "FailedChecks",
    "LabelledShare",
    "MeanAttribution",
    "MissingValueCount",
    "OutListValueCount",
    "OutRangeValueCount",
    "RejectedRequests",
    "RowCount",
    "ValueDrift",
    "VersionFailedChecks",
    "VersionRows",
    "VersionScore",
}
CLASSIFIER = {
    "Accuracy",
    "CalibrationError",
    "ConceptDrift",
    "F1ByLabel",
    "F1Score",
    "LogLoss",
    "Precision",
    "PrecisionByLabel",
    "Recall",
    "RecallByLabel",
    "RocAuc",
    "UniqueValueCount",
}
REGRESSOR = {
    "AbsMaxError",
    "MAE",
    "MAPE",
    "MeanError",
    "MeanValue",
    "NumberConceptDrift",
    "QuantileValue",
    "R2Score",
    "RMSE",
}


@pytest.mark.parametrize(
    ("kind", "names", "estimated_by"),
    [
        ("manifest", CLASSIFIER, "estimates"),
        ("regression_manifest", REGRESSOR, "regression_estimates"),
    ],
)
def test_metrics_are_stored_under_the_names_that_dashboards_refer_to(request, snap, kind, names, estimated_by):
    model = request.getfixturevalue(kind)
    results = json.loads(snap(model, estimates=request.getfixturevalue(estimated_by)).body)["metric_results"].values()
    stored = {result["metric_value_location"]["metric"]["params"]["type"] for result in results}
    prefix = "evidently:metric_v2:"
    assert {name.removeprefix(prefix) for name in stored} == EVERY_MODEL | names
    shown = {line["metric"] for panel in build_dashboard(model)["panels"] for line in panel["values"]}
    assert shown == stored
