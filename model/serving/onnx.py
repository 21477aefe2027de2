"""Converting a fitted pipeline into ONNX, and choosing the engine that serves: ONNX only where it answers alike."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline

from model.artifact.estimators import is_booster, library_of, plain_steps
from model.artifact.manifest import AnswerRule, Feature, Parity, RegressionParity
from model.data.dataset import AnyDataset, Dataset
from model.data.encoding import Row, rows_of
from model.errors import DataError, ModelError
from model.serving.engines import (
    Answers,
    AnyEngine,
    OnnxClassifier,
    OnnxRegressor,
    OwnRuleClassifier,
    PipelineClassifier,
    PipelineRegressor,
    answers_of,
    onnx_inputs,
    predictions_of,
)
from model.serving.parity import compare, compare_regression, no_parity, no_regression_parity, probing_rows

_FEWEST_TRIED = 16
"""Made-up rows that are left out together where the pipeline cannot take one of them."""


class ConversionError(ModelError):
    """The pipeline could not be turned into an ONNX model."""


def export_onnx(pipeline: Any, features: tuple[Feature, ...], *, by_name: bool = False) -> bytes:
    """Return the pipeline as an ONNX model.

    Its outputs are `label` and `probabilities` (rows, classes), or `variable` (rows, 1) of a regressor. Where the
    pipeline chooses its columns by position, an all-numeric model takes one float32 matrix and any other one input per
    column; where it chooses them `by_name`, the inputs are named as the columns. Raises ConversionError. A model that
    converts may still predict something else: see `model.serving.parity`.
    """
    # Only training converts, and the converter takes seconds to import.
    from skl2onnx import to_onnx  # noqa: PLC0415

    _read_forests_by_their_arrays()
    # laid out for the converter alone, which knows no pipelines of other libraries
    *steps, (name, last) = plain_steps(pipeline)
    opsets: dict[str, Any] = {}
    if is_booster(last):
        last = _convertible_booster(last)
        opsets = {"target_opset": {"": 15, "ai.onnx.ml": 3}}  # the newest that onnxmltools writes
    plain = Pipeline([*steps, (name, last)])
    options = {id(last): {"zipmap": False}} if hasattr(last, "predict_proba") else None
    try:
        converted = to_onnx(plain, initial_types=onnx_inputs(features, by_name=by_name), options=options, **opsets)
    except Exception as error:
        # skl2onnx raises many kinds, by model; each means the same: scikit-learn serves
        first = str(error).strip().partition("\n")[0][:120]
        raise ConversionError(f"{type(error).__name__}: {first}") from error
    return bytes(converted.SerializeToString())


def _read_forests_by_their_arrays() -> None:
    """Let the converter take forests from their trees' arrays: its own way is a call in Python for each node."""
    from skl2onnx import update_registered_converter  # noqa: PLC0415 - as above
    from skl2onnx.operator_converters import random_forest  # noqa: PLC0415 - as above
    from skl2onnx.shape_calculators import ensemble_shapes  # noqa: PLC0415 - as above

    flags = ("raw_scores", "nocl", "output_class_labels", "decision_path", "decision_leaf")
    options: dict[str, Any] = {"zipmap": [True, False, "columns"]} | {flag: [True, False] for flag in flags}
    for model in (RandomForestClassifier, ExtraTreesClassifier):
        add = _forest_converter(random_forest.convert_sklearn_random_forest_classifier)
        shapes = ensemble_shapes.calculate_tree_classifier_output_shapes
        update_registered_converter(model, f"Sklearn{model.__name__}", shapes, add, options=options)
    options = {flag: [True, False] for flag in flags[3:]}
    for model in (RandomForestRegressor, ExtraTreesRegressor):
        add = _forest_converter(random_forest.convert_sklearn_random_forest_regressor_converter)
        shapes = ensemble_shapes.calculate_tree_regressor_output_shapes
        update_registered_converter(model, f"Sklearn{model.__name__}", shapes, add, options=options)


def _forest_converter(theirs: Callable[..., None]) -> Callable[[Any, Any, Any], None]:
    """Return what adds a forest as `theirs`, the converter's own way, would; what is seldom asked for is left to it."""
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 - as above

    def add(scope: Any, operator: Any, container: Any) -> None:
        asked = container.get_options(operator.raw_operator, {})
        seldom = any(value for option, value in asked.items() if option not in {"zipmap", "output_class_labels"})
        single = operator.raw_operator.n_outputs_ == 1 and type(operator.inputs[0].type) is FloatTensorType
        (_add_forest if single and not seldom else theirs)(scope, operator, container)

    return add


def _add_forest(scope: Any, operator: Any, container: Any) -> None:
    forest = operator.raw_operator
    classes = forest.classes_.tolist() if hasattr(forest, "classes_") else None
    named = classes is not None and isinstance(classes[0], str)
    kind = "TreeEnsembleRegressor" if classes is None else "TreeEnsembleClassifier"
    more: dict[str, Any] = {"n_targets": 1}
    if classes is not None:
        more = {"classlabels_strings": classes} if named else {"classlabels_int64s": [int(one) for one in classes]}
    outputs = [output.full_name for output in operator.outputs]
    name = scope.get_unique_operator_name(kind)
    container.add_node(
        kind,
        operator.input_full_names,
        outputs,
        op_domain="ai.onnx.ml",
        op_version=1,
        name=name,
        post_transform="NONE",
        **more,
    )
    arrays = forest_arrays(forest)
    container.nodes[-1].attribute.extend(_attribute(name, values) for name, values in arrays.items())


def forest_arrays(forest: Any) -> dict[str, npt.NDArray[Any]]:
    """Return the attributes of ONNX's TreeEnsemble that hold the nodes and leaves of a forest with one output."""
    trees = [one.tree_ for one in forest.estimators_]
    tree = np.repeat(np.arange(len(trees)), [one.node_count for one in trees])
    node = np.concatenate([np.arange(one.node_count) for one in trees])
    left, right, column, threshold = (
        np.concatenate([getattr(one, name) for one in trees])
        for name in ("children_left", "children_right", "feature", "threshold")
    )
    values = np.concatenate([one.value[:, 0] for one in trees])
    leaf = left < 0
    # scikit-learn compares float32 with float64, and ONNX with float32: the largest one that is not above the threshold
    single = threshold.astype(np.float32)
    single = np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    found: dict[str, npt.NDArray[Any]] = {
        "nodes_treeids": tree,
        "nodes_nodeids": node,
        "nodes_featureids": np.where(leaf, 0, column),
        "nodes_modes": np.where(leaf, b"LEAF", b"BRANCH_LEQ"),
        "nodes_values": np.where(leaf, np.float32(0), single),
        "nodes_truenodeids": np.where(leaf, 0, left),
        "nodes_falsenodeids": np.where(leaf, 0, right),
    }
    weights, of = values[leaf] / len(trees), "target"
    if hasattr(forest, "classes_"):
        weights, of = weights / values[leaf].sum(axis=1, keepdims=True), "class"
        weights = weights[:, 1:] if weights.shape[1] == 2 else weights
    leaves, width = int(leaf.sum()), weights.shape[1]
    return found | {
        f"{of}_treeids": np.repeat(tree[leaf], width),
        f"{of}_nodeids": np.repeat(node[leaf], width),
        f"{of}_ids": np.tile(np.arange(width), leaves),
        f"{of}_weights": weights.ravel().astype(np.float32),
    }


def _attribute(name: str, values: npt.NDArray[Any]) -> Any:
    from onnx import AttributeProto  # noqa: PLC0415 - as above

    kind, field = {"f": ("FLOATS", "floats"), "i": ("INTS", "ints"), "S": ("STRINGS", "strings")}[values.dtype.kind]
    attribute = AttributeProto(name=name, type=AttributeProto.AttributeType.Value(kind))
    getattr(attribute, field).extend(values.tolist())
    return attribute


def _convertible_booster(model: Any) -> Any:
    """Let the converter know XGBoost's or LightGBM's models, and return a copy as it takes it.

    Raises ConversionError where onnxmltools is missing or knows no such model.
    """
    try:
        # Only where it is installed, and only for these models.
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm  # noqa: PLC0415
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost  # noqa: PLC0415
        from skl2onnx import update_registered_converter  # noqa: PLC0415
        from skl2onnx.common import shape_calculator  # noqa: PLC0415
    except ImportError as error:
        raise ConversionError(f"converting {type(model).__name__} needs onnxmltools ({error})") from error
    converter = {"xgboost": convert_xgboost, "lightgbm": convert_lightgbm}.get(library_of(model))
    if converter is None:
        raise ConversionError(f"no converter knows {type(model).__name__}")
    if hasattr(model, "predict_proba"):
        shapes = shape_calculator.calculate_linear_classifier_output_shapes
        options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    else:
        shapes, options = shape_calculator.calculate_linear_regressor_output_shapes, {}
    name = f"{library_of(model)}.{type(model).__name__}"
    update_registered_converter(type(model), name, shapes, converter, options=options)
    if library_of(model) == "xgboost":
        model = deepcopy(model)
        model.get_booster().feature_names = None  # the converter knows numbered columns alone
    return model


@dataclass(frozen=True)
class Engines:
    """The fitted pipeline, its ONNX model, the engine that serves, what decides its answer, and its `known` answers.

    These are to all rows of the data set, in their order.
    """

    pipeline: Pipeline
    onnx: bytes | None
    parity: Parity | RegressionParity
    serving: AnyEngine
    known: Answers
    answer: AnswerRule = "most probable"


def pipeline_engine(pipeline: Pipeline, dataset: AnyDataset) -> PipelineClassifier | PipelineRegressor:
    """Return the scikit-learn engine of a fitted pipeline."""
    if isinstance(dataset, Dataset):
        return PipelineClassifier(pipeline, dataset.features)
    return PipelineRegressor(pipeline, dataset.features)


def convert(pipeline: Pipeline, dataset: AnyDataset, convertible: Any = None) -> Engines:
    """Turn the fitted pipeline into ONNX, and let that serve only if it answers alike on every row.

    It is tried with columns by position and by name. `convertible` is what is turned, if not the pipeline itself.
    """
    fallback = pipeline_engine(pipeline, dataset)
    probes = probing_rows(rows_of(dataset.frame, dataset.features), dataset.features)
    expected, probes = _own_answers(fallback, pipeline, dataset, probes)
    rows = len(dataset.frame)
    others = 0 if expected.chosen is None else int((expected.chosen != expected.values.argmax(axis=1)).sum())
    if others:
        reason = f"the model's own predict decides: on {others} of {len(probes)} rows it is not the most probable class"
        serving = OwnRuleClassifier(pipeline, dataset.features)
        return Engines(pipeline, None, no_parity(reason), serving, expected.first(rows), "own predict")
    reasons: list[Parity | RegressionParity] = []
    for by_name in (False, True):
        try:
            content = export_onnx(pipeline if convertible is None else convertible, dataset.features, by_name=by_name)
            candidate, answers, parity = _compared(content, expected, dataset, probes)
        except ConversionError as error:
            reason = f"the pipeline does not convert: {error}"
            reasons.append(no_parity(reason) if isinstance(dataset, Dataset) else no_regression_parity(reason))
            continue
        if answers is not None and parity.reason is None:
            return Engines(pipeline, content, parity, candidate, answers.first(rows))
        reasons.append(parity)
    # what was compared says more than what could not be
    reported = max(reasons, key=lambda parity: parity.rows)
    return Engines(pipeline, None, reported, fallback, expected.first(rows))


def _taken(engine: PipelineClassifier | PipelineRegressor, rows: Sequence[Row]) -> list[Row]:
    """Return the made-up rows that a pipeline takes: gaps that it takes one by one may be too many in one row."""
    try:
        predictions_of(engine, rows)
    except Exception:  # noqa: BLE001 - a person's own pipeline may raise anything
        half = len(rows) // 2
        if len(rows) < _FEWEST_TRIED:
            return []
        return _taken(engine, rows[:half]) + _taken(engine, rows[half:])
    return list(rows)


def _own_answers(
    engine: PipelineClassifier | PipelineRegressor, pipeline: Pipeline, dataset: AnyDataset, probes: list[Row]
) -> tuple[Answers, list[Row]]:
    """Return what the pipeline itself predicts, and the rows: those of the data set, and of the others what it takes.

    Raises DataError where it has probabilities but cannot predict.
    """
    own = OwnRuleClassifier(pipeline, dataset.features) if isinstance(engine, PipelineClassifier) else engine
    try:
        return answers_of(own, probes), probes
    except Exception:  # noqa: BLE001 - a person's own pipeline may raise anything; which rows it minds is seen below
        rows = len(dataset.frame)
        probes = probes[:rows] + _taken(engine, probes[rows:])
    if isinstance(engine, PipelineRegressor):
        return answers_of(engine, probes), probes
    try:
        return answers_of(own, probes), probes
    except Exception as error:
        # as above
        raise DataError(
            f"the pipeline has probabilities, but its predict fails: {type(error).__name__}: {error}; predict must "
            "work, because the API answers what it says"
        ) from error


def _compared(
    content: bytes, expected: Answers, dataset: AnyDataset, probes: Sequence[Row]
) -> tuple[AnyEngine, Answers | None, Parity | RegressionParity]:
    """Return the engine of an ONNX model, its answers if it has any, and how far they are from those expected."""
    engine = (OnnxClassifier if isinstance(dataset, Dataset) else OnnxRegressor)(content, dataset.features)
    answers: Answers | None = None
    with suppress(Exception):  # ONNX Runtime's kinds share no base; the comparison says which it was
        answers = answers_of(engine, probes)
    if isinstance(engine, OnnxClassifier):
        found = compare(answers or engine, expected.values, probes, known_rows=len(dataset.frame))
        return engine, answers, found
    found_numbers = engine if answers is None else answers.values
    deviation = float(dataset.targets.std())
    return engine, answers, compare_regression(found_numbers, expected.values, probes, deviation)
