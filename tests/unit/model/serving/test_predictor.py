"""Answers: probabilities of rows in schema order, from either engine, for seen, missing and unseen values."""

import hashlib
import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper
from threadpoolctl import threadpool_info, threadpool_limits

from model.artifact.manifest import ClassifierManifest
from model.artifact.store import MANIFEST_FILE, ONNX_FILE, read_manifest, read_reference
from model.data.csv_file import load_csv
from model.data.encoding import rows_of
from model.errors import ArtifactError, PredictionError
from model.serving.engines import PipelineClassifier
from model.serving.predictor import Predictor, load_predictor
from model.training.fit import train_model

FLOWER = (5.1, 3.5, 1.4, 0.2)


def with_engine(artifact: Path, engine: str, copy: Path) -> Predictor:
    shutil.copytree(artifact, copy)
    manifest = ClassifierManifest.model_validate(read_manifest(copy).model_dump() | {"engine": engine})
    (copy / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return load_predictor(copy)


@pytest.fixture(scope="module")
def mixed_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a number, a category and a boolean, each with gaps; integer classes."""
    rng = np.random.default_rng(3)
    lines = ["how old,c/ol,member,y"]
    for _ in range(300):
        age, colour, member = rng.normal(40, 10), rng.choice(["red", "green", "blue"]), rng.random() < 0.5
        y = int(age + 8 * (colour == "red") + 5 * member + rng.normal(0, 3) > 44)
        cells = [f"{age:.3f}", colour, str(member).lower()]
        lines.append(",".join([*(cell if rng.random() > 0.1 else "" for cell in cells), str(y)]))
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed.csv").write_text("\n".join(lines))
    train_model(load_csv(folder / "mixed.csv", "y"), folder / "model")
    return folder / "model"


def test_probabilities_have_a_row_each_and_add_up_to_one(iris_artifact: Path) -> None:
    answer = load_predictor(iris_artifact).predict([FLOWER, (6.0, 3.0, 5.0, None), (None,) * 4])
    assert answer.shape == (3, 3)
    assert answer.dtype == np.float64
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-12)
    assert answer[0].argmax() == 0


def test_scikit_learn_answers_with_as_many_threads_as_it_was_given(iris_artifact: Path) -> None:
    seen: list[int] = []

    class Watched:
        def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
            seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp")
            return np.full((len(rows), 3), 1 / 3)

    features = read_manifest(iris_artifact).features
    with threadpool_limits(3, user_api="openmp"):
        PipelineClassifier(Watched(), features, threads=1).probabilities([FLOWER])
        bounded = set(seen)
        seen.clear()
        PipelineClassifier(Watched(), features).probabilities([FLOWER])
    assert (bounded, set(seen)) == ({1}, {3})


def test_no_rows_give_no_probabilities(iris_artifact: Path) -> None:
    assert load_predictor(iris_artifact).predict([]).shape == (0, 3)


def test_the_stored_reference_holds_what_the_engine_answers(mixed_artifact: Path) -> None:
    predictor, reference = load_predictor(mixed_artifact), read_reference(mixed_artifact)
    answered = predictor.predict(rows_of(reference, predictor.manifest.features))
    np.testing.assert_array_equal(answered, reference[["probability_0", "probability_1"]].to_numpy())
    assert [str(predictor.manifest.classes[code]) for code in answered.argmax(axis=1)] == list(reference["prediction"])


def test_a_mixed_model_is_served_by_onnx_with_proven_parity(mixed_artifact: Path) -> None:
    manifest = read_manifest(mixed_artifact)
    assert manifest.engine == "onnx", manifest.parity.reason
    assert manifest.classes == (0, 1)
    assert [feature.type for feature in manifest.features] == ["number", "category", "boolean"]
    assert manifest.parity.rows > 4 * manifest.data.rows
    assert manifest.parity.max_probability_difference is not None
    assert manifest.parity.max_probability_difference < 1e-5


def test_both_engines_agree_on_missing_unseen_and_extreme_values(mixed_artifact: Path, tmp_path: Path) -> None:
    rows = [(40.0, "red", True), (None, None, None), (41, "violet", False), (1e300, "", None), (-1e300, "blue", True)]
    onnx = load_predictor(mixed_artifact).predict(rows)
    pipeline = with_engine(mixed_artifact, "scikit-learn", tmp_path / "copy").predict(rows)
    np.testing.assert_allclose(onnx, pipeline, atol=1e-5)


def test_number_models_agree_on_extreme_values(iris_artifact: Path, tmp_path: Path) -> None:
    rows = [FLOWER, (1e300, -1e300, 0, None), (math.nan, 1, 2, 3)]
    pipeline = with_engine(iris_artifact, "scikit-learn", tmp_path / "copy")
    assert pipeline.engine == "scikit-learn"
    np.testing.assert_allclose(load_predictor(iris_artifact).predict(rows), pipeline.predict(rows), atol=1e-5)


@pytest.mark.parametrize("rows", [[FLOWER, FLOWER[:3]], [(*FLOWER, 1.0)], [("short", 1, 2, 3)], [()]])
def test_rows_that_do_not_fit_the_schema_are_refused(iris_artifact: Path, rows: list[tuple[object, ...]]) -> None:
    with pytest.raises(PredictionError):
        load_predictor(iris_artifact).predict(rows)  # type: ignore[arg-type]


def test_threads_share_a_predictor(iris_artifact: Path) -> None:
    predictor = load_predictor(iris_artifact)
    rows = [(5.0 + i / 100, 3.0, 1.0 + i / 20, 0.2) for i in range(100)]
    alone = predictor.predict(rows)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: predictor.predict([row])[0], rows * 5))
    np.testing.assert_allclose(together, np.tile(alone, (5, 1)), atol=1e-7)


def test_serving_by_onnx_loads_neither_pandas_nor_scikit_learn(iris_artifact: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from model.serving.predictor import load_predictor\n"
        f"load_predictor(Path(sys.argv[1])).predict([{FLOWER}])\n"
        "print(*{'pandas', 'sklearn', 'scipy', 'joblib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(iris_artifact)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == ""


def with_onnx(artifact: Path, content: bytes, copy: Path) -> Path:
    """Return a copy of the artifact that holds another ONNX model, with its hash."""
    shutil.copytree(artifact, copy)
    (copy / ONNX_FILE).write_bytes(content)
    manifest = read_manifest(copy)
    files = manifest.files | {ONNX_FILE: hashlib.sha256(content).hexdigest()}
    (copy / MANIFEST_FILE).write_text(manifest.model_copy(update={"files": files}).model_dump_json())
    return copy


def constant(file: str) -> bytes:
    """Return an ONNX model whose weights are in a file outside of it."""
    weights = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[1, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": file, "offset": "0", "length": "12"}.items():
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["W"], ["probabilities"])],
        "constant",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        initializer=[weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_broken_or_foreign_onnx_model_is_refused_when_it_is_loaded(iris_artifact: Path, tmp_path: Path) -> None:
    content = (iris_artifact / ONNX_FILE).read_bytes()
    (tmp_path / "weights").write_bytes(b"x" * 12)
    for number, (hostile, error) in enumerate(
        [
            (b"", "No graph was found"),
            (b"x" * 1000, "No graph was found"),
            (content[:-5000], "protobuf parsing failed"),
            (content.replace(b"probabilities", b"probabilitiez"), "it has no output 'probabilities'"),
            (constant(str(tmp_path / "weights")), "External data path validation failed"),
            (constant("../../../../../../../../etc/passwd"), "External data path validation failed"),
        ]
    ):
        folder = with_onnx(iris_artifact, hostile, tmp_path / str(number))
        with pytest.raises(ArtifactError, match=error) as refused:
            load_predictor(folder)
        assert str(refused.value).startswith(f"cannot load {folder / ONNX_FILE} (")
