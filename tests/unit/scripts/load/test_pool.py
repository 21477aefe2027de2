import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from model.artifact.store import read_manifest
from scripts.load.errors import ModelMismatchError
from scripts.load.pool import Pool, RegressionPool, read_pool
from scripts.load.target import ServedModel, Target
from scripts.load.traffic import pool_for


def test_the_pool_holds_every_row_that_the_model_was_not_fitted_on(iris_artifact: Path) -> None:
    manifest = read_manifest(iris_artifact)
    pool = read_pool(iris_artifact, manifest.features, manifest.classes)
    assert len(pool.rows) == manifest.data.test_rows + manifest.data.reference_rows == len(pool.class_indexes)
    assert set(pool.rows[0]) == set(manifest.feature_names)
    assert all(type(value) is float for value in pool.rows[0].values())


def test_the_pool_of_a_model_of_numbers_has_a_number_for_each_row(diabetes_artifact: Path) -> None:
    manifest = read_manifest(diabetes_artifact)
    pool = read_pool(diabetes_artifact, manifest.features, None)
    assert isinstance(pool, RegressionPool)
    assert len(pool.labels) == len(pool.rows) == manifest.data.test_rows + manifest.data.reference_rows
    assert {type(label) for label in pool.labels} == {float}
    assert np.std(pool.labels) > 10


def test_a_model_card_says_of_itself_whether_it_knows_classes(iris_artifact: Path, diabetes_artifact: Path) -> None:
    classes, numbers = (json.loads(read_manifest(one).model_dump_json()) for one in (iris_artifact, diabetes_artifact))
    assert ServedModel.model_validate(classes).classes == ("setosa", "versicolor", "virginica")
    assert ServedModel.model_validate(numbers).classes is None
    for wrong in (classes | {"classes": None}, numbers | {"classes": ["a"]}, numbers | {"task": "ranking"}):
        with pytest.raises(ValidationError):
            ServedModel.model_validate(wrong)


def test_coordinates_are_standardized_and_put_missing_numbers_at_the_mean(pool: Pool) -> None:
    coordinates = pool.coordinates()
    assert coordinates.shape == (300, 2)
    assert np.allclose(coordinates.mean(axis=0), 0)
    assert np.allclose(coordinates.std(axis=0), 1)
    assert pool.rows[0]["income"] is None
    assert coordinates[0, 1] == pytest.approx(0)


def test_a_model_without_numbers_has_coordinates_from_its_categories(categories_only: Pool) -> None:
    assert categories_only.coordinates().shape == (300, 5)


def test_rows_are_not_sent_to_an_api_that_serves_another_model(iris_artifact: Path) -> None:
    card = json.loads(read_manifest(iris_artifact).model_dump_json())
    served = ServedModel.model_validate(card | {"version": "another"})
    with pytest.raises(ModelMismatchError, match="serves model another"):
        pool_for(Target("http://127.0.0.1:1", served), iris_artifact)
