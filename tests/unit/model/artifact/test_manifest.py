"""The manifest: thresholds between grid points, classes as given, a quick import."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from model.artifact.manifest import Calibration, ClassifierManifest, ConceptThreshold, DriftThreshold, WindowThreshold
from model.artifact.store import read_manifest


def threshold(floor: float = 0.1) -> DriftThreshold:
    return DriftThreshold(
        column="x", method="wasserstein", window_rows=(25, 100, 400), thresholds=(1.0, 0.6, 0.2), floor=floor
    )


def test_a_threshold_is_linear_in_one_over_the_root_of_the_rows() -> None:
    # 1/sqrt: 25 -> 0.2, 100 -> 0.1; 1/0.15**2 = 44.44 is half way, 44 a little before
    assert threshold().at(44) == pytest.approx(0.8, abs=0.01)
    assert threshold().at(100) == pytest.approx(0.6)
    values = [threshold().at(rows) for rows in range(1, 1000)]
    assert all(before >= after for before, after in pairwise(values))


def test_outside_the_grid_the_end_of_the_grid_holds() -> None:
    assert threshold().at(1) == threshold().at(25) == 1.0
    assert threshold().at(1_000_000) == threshold().at(400) == 0.2


def test_a_threshold_is_never_below_the_floor() -> None:
    assert threshold(floor=0.5).at(400) == 0.5


@pytest.mark.parametrize("window_rows", [(100, 25, 400), (25, 25, 400), (0, 25, 100), (25, 100)])
def test_a_grid_that_does_not_ascend_or_fit_is_refused(window_rows: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        DriftThreshold(column="x", method="wasserstein", window_rows=window_rows, thresholds=(1.0, 0.6, 0.2), floor=0.1)


def test_thresholds_of_whole_windows_are_read_like_those_of_columns() -> None:
    grid = {"window_rows": (25, 100, 400), "thresholds": (1.0, 0.6, 0.2)}
    assert WindowThreshold(**grid).at(44) == ConceptThreshold(**grid).at(44) == threshold().at(44)
    assert WindowThreshold(**grid).at(400) == 0.2
    assert ConceptThreshold(**grid).gap_floor == 0.05


@pytest.mark.parametrize(
    ("probabilities", "calibrated"),
    [
        ((0.0, 1.0), (0.5, 1.0)),
        ((0.0, 1.0), (0.0, 0.5)),
        ((0.0, 1.0), (0.6, 0.5)),
        ((1.0, 0.0), (0.4, 0.5)),
        ((0.0, 0.5, 1.0), (0.4, 0.5)),
        ((0.5,), (0.5,)),
    ],
)
def test_a_calibration_that_is_no_rising_chance_is_refused(
    probabilities: tuple[float, ...], calibrated: tuple[float, ...]
) -> None:
    with pytest.raises(ValidationError):
        Calibration(probabilities=probabilities, calibrated=calibrated, rows=10)


@pytest.mark.parametrize("classes", [("a", "b"), (0, 1, 2), (False, True)])
def test_classes_keep_their_type_through_json(iris_artifact: Path, classes: tuple[object, ...]) -> None:
    manifest = ClassifierManifest.model_validate(read_manifest(iris_artifact).model_dump() | {"classes": classes})
    again = ClassifierManifest.model_validate_json(manifest.model_dump_json())
    assert again.classes == classes
    assert [type(value) for value in again.classes] == [type(value) for value in classes]
    assert again.class_names == tuple(str(value) for value in classes)


def test_the_threshold_of_each_column_is_found_by_name(iris_artifact: Path) -> None:
    manifest = read_manifest(iris_artifact)
    assert [manifest.threshold(name).column for name in (*manifest.feature_names, "prediction", "label")] == [
        *manifest.feature_names,
        "prediction",
        "label",
    ]
    with pytest.raises(KeyError):
        manifest.threshold("unknown")


@pytest.mark.parametrize("name", ["../model.onnx", "a/b", "", ".."])
def test_a_manifest_cannot_name_files_outside_its_folder(iris_artifact: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        ClassifierManifest.model_validate(read_manifest(iris_artifact).model_dump() | {"files": {name: "0" * 64}})


@pytest.mark.parametrize("module", ["model.artifact.manifest", "model.artifact.store"])
def test_the_schema_is_read_without_the_heavy_libraries(module: str) -> None:
    program = f"import sys, {module}; print(*{{'numpy', 'pandas', 'sklearn', 'onnxruntime'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == ""
