"""Forests as ONNX models: the same nodes and leaves as the converter writes by itself."""

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import to_onnx, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.operator_converters.random_forest import (
    convert_sklearn_random_forest_classifier,
    convert_sklearn_random_forest_regressor_converter,
)
from skl2onnx.shape_calculators.ensemble_shapes import (
    calculate_tree_classifier_output_shapes,
    calculate_tree_regressor_output_shapes,
)
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline

from model.data.dataset import describe_column
from model.serving.onnx import export_onnx

ROWS = np.random.default_rng(0).normal(size=(400, 4))
SCORE = ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2]
CODES = np.digitize(SCORE, [-0.5, 0.5])
DEFAULTS = {"nodes_hitrates", "nodes_missing_value_tracks_true"}
"""What the converter writes though it says what is so anyway."""


class TheirClassifier(RandomForestClassifier):
    """A forest that the converter takes its own way."""


class TheirRegressor(RandomForestRegressor):
    """The same for numbers."""


@pytest.fixture(scope="module", autouse=True)
def _their_way() -> None:
    options = {"zipmap": [True, False], "raw_scores": [True, False], "nocl": [True, False]}
    options |= {"decision_path": [True, False], "decision_leaf": [True, False], "output_class_labels": [True, False]}
    update_registered_converter(
        TheirClassifier,
        "TheirClassifier",
        calculate_tree_classifier_output_shapes,
        convert_sklearn_random_forest_classifier,
        options=options,
    )
    update_registered_converter(
        TheirRegressor,
        "TheirRegressor",
        calculate_tree_regressor_output_shapes,
        convert_sklearn_random_forest_regressor_converter,
        options={name: options[name] for name in ("decision_path", "decision_leaf")},
    )


@pytest.mark.parametrize(
    ("theirs", "labels"),
    [
        (TheirClassifier, CODES > 1),
        (TheirClassifier, CODES),
        (TheirClassifier, np.array(["low", "middle", "high"])[CODES]),
        (TheirClassifier, np.array(["a", "b"])[CODES % 2]),
        (TheirRegressor, SCORE),
    ],
    ids=["booleans", "three", "texts", "two texts", "numbers"],
)
def test_a_forest_is_converted_to_the_nodes_that_the_converter_writes(theirs: type[Any], labels: np.ndarray) -> None:
    forest = theirs(n_estimators=7, min_samples_leaf=2, random_state=0).fit(ROWS, labels)
    options = {id(forest): {"zipmap": False}} if theirs is TheirClassifier else None
    expected = _attributes(to_onnx(forest, initial_types=[("rows", FloatTensorType([None, 4]))], options=options))
    ours = RandomForestClassifier() if theirs is TheirClassifier else RandomForestRegressor()
    ours.__dict__.update(forest.__dict__)
    found = _attributes(onnx.load_from_string(export_onnx(Pipeline([("forest", ours)]), _features())))
    assert found.keys() == expected.keys() - DEFAULTS
    for name, values in found.items():
        if name.endswith("weights"):
            np.testing.assert_allclose(values, expected[name], rtol=2e-7)
        else:
            np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("model", [RandomForestClassifier, ExtraTreesClassifier, ExtraTreesRegressor])
def test_the_nodes_say_nothing_that_is_so_anyway(model: type[Any]) -> None:
    """The converter's own way writes it, so this tells which way a forest went."""
    forest = Pipeline([("forest", model(n_estimators=3, random_state=0).fit(ROWS, CODES))])
    assert not _attributes(onnx.load_from_string(export_onnx(forest, _features()))).keys() & DEFAULTS


def _features() -> Any:
    return tuple(describe_column(f"column_{place}", "number", pd.Series(ROWS[:, place])) for place in range(4))


def _attributes(model: Any) -> dict[str, Any]:
    (node,) = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    named = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    return {name: values for name, values in named.items() if name != "name"}
