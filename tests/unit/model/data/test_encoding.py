"""Features whose rarer values are one category, and texts of a row as training read them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import Feature
from model.data.csv_file import TimeColumn, read_known_rows
from model.data.encoding import encoding_of, json_rows, pipeline_frame, pipeline_input

CITY = Feature(
    name="city", type="category", categories=("Nice", "Paris", "other"), other="other", nullable=True, example="Paris"
)
PRICE = Feature(name="price", type="number", notation="point", missing=("", "-"), nullable=True, example=5.0)


@pytest.fixture
def texts() -> list[str | None]:
    return ["Paris", "Metz", None, "other", "Nice"]


GROUPED = ["Paris", "other", None, "other", "Nice"]


def test_values_without_a_category_of_their_own_are_one_category_everywhere(texts: list[str | None]) -> None:
    encoding = encoding_of(CITY)
    assert encoding.column(texts).tolist() == GROUPED
    assert encoding.coerced_column(pd.Series([*texts, 7], dtype=object)).tolist() == [*GROUPED, "other"]
    for_model = ["" if text is None else text for text in GROUPED]
    assert encoding.pipeline_values(texts).tolist() == for_model
    assert encoding.onnx_values(texts).tolist() == [[text] for text in for_model]
    frame = pd.DataFrame({"city": encoding.column(texts)})
    assert pipeline_input(frame, [CITY])["city"].tolist() == for_model
    assert pipeline_frame([[text] for text in texts], [CITY])["city"].tolist() == for_model
    assert not encoding.outside_training(frame["city"].dropna(), CITY).any()
    assert [row["city"] for row in json_rows(frame, [CITY])] == GROUPED


def test_other_features_of_the_same_type_keep_their_values(texts: list[str | None]) -> None:
    plain = CITY.model_copy(update={"other": None})
    assert encoding_of(plain).column(texts).tolist() == texts
    elsewhere = CITY.model_copy(update={"categories": ("Metz", "other")})
    assert encoding_of(elsewhere).column(texts).tolist() == ["other", "Metz", None, "other", "other"]


def test_later_files_are_read_as_the_one_of_training(tmp_path: Path) -> None:
    path = tmp_path / "later.csv"
    path.write_text('city,price,at\nMetz,"$1,200",2024-01-01\nParis,-,2024-01-02\n,7,2024-01-03\n', encoding="utf-8")
    rows = read_known_rows(path, [CITY, PRICE], "y", TimeColumn("at"), None, needs_labels=False)
    assert rows.frame["city"].tolist() == ["other", "Paris", None]
    np.testing.assert_array_equal(rows.frame["price"], [1_200.0, np.nan, 7.0])
