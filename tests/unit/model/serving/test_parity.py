"""Parity of ONNX with scikit-learn: proven on probing rows, and a difference takes ONNX out of service."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from model.artifact.manifest import Feature
from model.data.bundled import load_bundled
from model.data.encoding import pipeline_input, rows_of
from model.serving.engines import OnnxClassifier, PipelineClassifier, Probabilities, Row
from model.serving.onnx import ConversionError, convert, export_onnx
from model.serving.parity import compare, compare_regression, probing_rows
from model.training.pipelines import build_pipeline

FEATURES = (
    Feature(name="size", type="number", nullable=True, example=1.0),
    Feature(name="colour", type="category", categories=("red",), nullable=True, example="red"),
    Feature(name="member", type="boolean", nullable=False, example=True),
)


class Responses:
    """A classifier that knows its answers by heart."""

    def __init__(self, *probabilities: Sequence[float]) -> None:
        self._probabilities = np.array(probabilities)

    def probabilities(self, rows: Sequence[Row]) -> Probabilities:  # noqa: ARG002 - the protocol's
        return self._probabilities


class Failing:
    def probabilities(self, rows: Sequence[Row]) -> Probabilities:  # noqa: ARG002 - the protocol's
        raise RuntimeError("no kernel")


def test_probes_cover_missing_and_unseen_values_of_each_column() -> None:
    frame = pd.DataFrame({"size": [1.0, np.nan], "colour": ["red", None], "member": ["True", "False"]})
    rows = rows_of(frame, FEATURES)
    assert rows == [(1.0, "red", "True"), (None, None, "False")]
    probes = probing_rows(rows, FEATURES)
    assert probes[:2] == rows
    assert (None, "red", "True") in probes
    assert (1.0, None, "True") in probes
    assert (None, None, "True") in probes
    assert any(row[1] not in {"red", None} for row in probes)
    assert all(row[2] is not None for row in probes), "a column that may not be missing is not tried so"


def test_rounding_is_parity_and_more_is_not() -> None:
    pipeline = Responses([0.4, 0.6])
    assert compare(Responses([0.400001, 0.599999]), pipeline, [()]).reason is None
    different = compare(Responses([0.41, 0.59]), pipeline, [()])
    assert different.reason is not None
    assert different.max_probability_difference == pytest.approx(0.01)
    assert compare(Responses([np.nan, np.nan]), pipeline, [()]).reason is not None


def test_another_class_is_a_difference_unless_it_is_a_tie() -> None:
    tie = compare(Responses([0.5 - 1e-8, 0.5 + 1e-8]), Responses([0.5, 0.5]), [()])
    assert (tie.class_disagreements, tie.reason) == (0, None)
    other = compare(Responses([0.499996, 0.500004]), Responses([0.500003, 0.499997]), [()])
    assert other.class_disagreements == 1
    assert other.reason is not None


def test_a_model_that_fails_at_run_time_has_no_parity() -> None:
    assert "no kernel" in (compare(Failing(), Responses([1.0, 0.0]), [()]).reason or "")


class Numbers:
    def __init__(self, *numbers: float) -> None:
        self._numbers = np.array(numbers)

    def numbers(self, rows: Sequence[Row]) -> np.ndarray:  # noqa: ARG002 - the protocol's
        return self._numbers


def test_numbers_are_compared_in_standard_deviations_of_the_target() -> None:
    pipeline, rows = Numbers(1e6, 2e6), [(), ()]
    near = compare_regression(Numbers(1e6 + 1, 2e6), pipeline, rows, 1e5)
    assert (near.rows, near.max_difference, near.reason) == (2, pytest.approx(1e-5), None)
    far = compare_regression(Numbers(1e6 + 1, 2e6), pipeline, rows, 10.0)
    assert far.reason == "ONNX differs from scikit-learn by up to 0.1 standard deviations of the target"
    for endless in (np.nan, np.inf):
        lost = compare_regression(Numbers(1e6, endless), pipeline, rows, 1e5)
        assert (lost.max_difference, lost.reason) == (None, "ONNX answers some rows with no finite number")


def test_a_pipeline_that_does_not_convert_is_served_by_scikit_learn() -> None:
    dataset = load_bundled("iris")
    pipeline = Pipeline([("boosting", HistGradientBoostingClassifier(max_iter=2))]).fit(
        pipeline_input(dataset.frame, dataset.features), dataset.codes
    )
    with pytest.raises(ConversionError):
        export_onnx(pipeline, dataset.features)
    engines = convert(pipeline, dataset)
    assert engines.onnx is None
    assert "does not convert" in (engines.parity.reason or "")


def test_a_linear_model_converts_and_answers_alike_on_absurd_numbers() -> None:
    dataset = load_bundled("iris")
    pipeline = build_pipeline(dataset.features, 0, "logistic_regression").fit(
        pipeline_input(dataset.frame, dataset.features), dataset.codes
    )
    engines = convert(pipeline, dataset)
    assert engines.parity.reason is None
    assert engines.parity.rows > 9 * 150, "gaps and absurd numbers are among the rows compared"


def test_an_onnx_model_of_other_data_is_caught() -> None:
    dataset = load_bundled("iris")
    pipeline = build_pipeline(dataset.features, seed=0)
    other = build_pipeline(dataset.features, seed=1)
    given = pipeline_input(dataset.frame, dataset.features)
    pipeline.fit(given, dataset.codes)
    other.fit(given, dataset.codes)
    rows = rows_of(dataset.frame, dataset.features)
    onnx = OnnxClassifier(export_onnx(other, dataset.features), dataset.features)
    assert compare(onnx, PipelineClassifier(pipeline, dataset.features), rows).reason is not None


def test_a_wide_table_is_probed_in_bounded_work() -> None:
    features = tuple(Feature(name=f"x{place}", type="number", nullable=True, example=1.0) for place in range(400))
    rows: list[Row] = [(1.0,) * 400] * 1_000
    probes = probing_rows(rows, features)
    assert len(probes) < 40_000
    assert {probe.index(None) for probe in probes[:-1] if None in probe} == set(range(400))
