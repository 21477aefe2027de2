"""Values of many windows: by how often each holds each row, and without errors of rounding that decide."""

from pathlib import Path

import numpy as np
import pytest

from model.alarms.window_values import Name, measure_counts, measure_windows, model_of
from model.artifact.manifest import LABEL, PREDICTION, Manifest
from model.artifact.store import read_manifest, read_reference, read_test

HOUR = 3_600


@pytest.fixture(scope="module")
def manifest(iris_artifact: Path) -> Manifest:
    return read_manifest(iris_artifact)


def test_an_accuracy_is_the_share_of_right_answers_to_the_last_digit(iris_artifact: Path, manifest: Manifest) -> None:
    rows = read_test(iris_artifact).sample(100, replace=True, random_state=0, ignore_index=True)
    names = read_manifest(iris_artifact).class_names
    others = rows[PREDICTION].map(dict(zip(names, (*names[1:], names[0]), strict=True)))
    rows = rows.assign(**{LABEL: rows[PREDICTION].where(np.arange(100) >= 7, others)})
    windows = measure_windows(rows, np.zeros(100), HOUR, model_of(manifest, read_reference(iris_artifact)))
    assert windows.values[Name("accuracy", None)].tolist() == [0.93]


@pytest.mark.parametrize("artifact", ["iris_artifact", "diabetes_artifact"])
def test_drawn_windows_have_the_values_of_the_same_rows_cut_in_time(
    artifact: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(artifact)
    rows = read_test(folder).sample(180, replace=True, random_state=0, ignore_index=True)
    model = model_of(read_manifest(folder), read_reference(folder))
    cut = measure_windows(rows, np.arange(180) * 60.0, HOUR, model)
    drawn = measure_counts(rows, np.repeat(np.eye(3), 60, axis=0), model)
    assert {name.name for name in drawn.values} >= {"data_drift", "missing_share", "target_drift", "stuck_share"}
    for name, values in drawn.values.items():
        np.testing.assert_allclose(values, cut.values[name], rtol=1e-5, err_msg=str(name))
        assert drawn.sizes[name].tolist() == cut.sizes[name].tolist()
