"""The bundled data sets: names fit for code, units, classes."""

import pytest

from model.data.bundled import BUNDLED_NAMES, feature_identifier, load_bundled


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("sepal length (cm)", ("sepal_length", "cm")),
        ("od280/od315_of_diluted_wines", ("od280_od315_of_diluted_wines", None)),
        ("mean radius", ("mean_radius", None)),
        ("2nd try", ("_2nd_try", None)),
    ],
)
def test_a_feature_name_becomes_an_identifier_and_a_unit(original: str, expected: tuple[str, str | None]) -> None:
    assert feature_identifier(original) == expected


@pytest.mark.parametrize(
    ("name", "rows", "columns", "classes"), [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)]
)
def test_a_bundled_data_set_has_its_known_shape(name: str, rows: int, columns: int, classes: int) -> None:
    assert name in BUNDLED_NAMES
    dataset = load_bundled(name)  # type: ignore[arg-type]
    assert dataset.frame.shape == (rows, columns)
    assert len(dataset.classes) == classes
    assert all(feature.name.isidentifier() for feature in dataset.features)
    assert all(feature.minimum <= feature.example <= feature.maximum for feature in dataset.features)  # type: ignore[operator]


def test_diabetes_has_a_number_to_predict_and_columns_as_they_were_measured() -> None:
    dataset = load_bundled("diabetes")
    assert "diabetes" in BUNDLED_NAMES
    assert (dataset.frame.shape, dataset.target) == ((442, 10), "progression")
    assert (dataset.numbers.min(), dataset.numbers.max()) == (25.0, 346.0)
    assert dataset.features[0].maximum == 79.0, "an age in years"


def test_iris_has_units_and_named_classes() -> None:
    dataset = load_bundled("iris")
    assert (dataset.features[0].name, dataset.features[0].unit) == ("sepal_length", "cm")
    assert dataset.classes == ("setosa", "versicolor", "virginica")
