"""The schema file: strict in what it takes, and what is written can be read."""

from pathlib import Path

import pytest

from model.artifact.manifest import FeatureType
from model.data.csv_text import CsvText
from model.data.schema_file import ColumnOverride, SchemaFile, read_schema, segment_fields, write_schema
from model.errors import DataError


def read(folder: Path, text: str) -> SchemaFile:
    path = folder / "schema.yaml"
    path.write_text(text, encoding="utf-8")
    return read_schema(path)


def test_types_units_and_descriptions_are_read(tmp_path: Path) -> None:
    schema = read(
        tmp_path, "columns:\n  age: number\n  fare: {unit: pounds, description: paid}\n  sex:\ndrop: [name]\n"
    )
    assert schema.columns == {
        "age": ColumnOverride(type="number"),
        "fare": ColumnOverride(unit="pounds", description="paid"),
        "sex": ColumnOverride(),
    }
    assert schema.drop == ("name",)
    assert read(tmp_path, "") == SchemaFile()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colums: {}", "colums: Extra inputs are not permitted"),
        ("columns: {age: {typ: number}}", "columns.age.typ: Extra inputs are not permitted"),
        ("columns: {age: date}", "columns.age.type: Input should be 'number', 'category' or 'boolean'"),
        ("columns: {no: number}", "put it in quotes"),
        ("segments: sex", r"segments: give a list, such as [sex]"),
        ("columns: [age]", "columns: Input should be a valid dictionary"),
        ("drop: [1]", "drop.0: Input should be a valid string; put it in quotes"),
        ("- age", "the file: Input should be a valid dictionary"),
        ("columns:\n  age: number\n  age: category", "line 3: 'age' occurs twice"),
        ("columns: {age: [", "line 1"),
        ("drop: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
    ],
)
def test_a_schema_that_is_not_understood_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        read(tmp_path, text)
    assert message in str(refusal.value)
    assert "schema.yaml" in str(refusal.value)


HEADER = ("age", "sex", "ticket", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segments: [sex, sex]", "the schema names 'sex' twice under segments"),
        ("fairness: [y]", "'y', which is the target, under fairness"),
        ("segments: [shop]", "'shop' under segments, which is neither in the file nor under metadata"),
        ("segments: [age]\ncolumns: {age: number}", "'age' under segments, but it is a number"),
        ("fairness: [age]\ncolumns: {age: {type: number}}", "'age' under fairness, but it is a number"),
        ("metadata: [sex]\ncolumns: {sex: category}", "'sex' under metadata and under columns"),
    ],
)
def test_a_column_that_rows_cannot_be_divided_by_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        read(tmp_path, text).check(HEADER, "y")
    assert message in str(refusal.value)


def test_rows_are_divided_by_features_columns_left_out_and_metadata_that_the_file_lacks(tmp_path: Path) -> None:
    schema = read(tmp_path, "segments: [sex, ticket, shop]\nfairness: [sex]\nmetadata: [shop, ticket]\n")
    schema.check(HEADER, "y")
    columns = [[*"123"], ["f", "m", "f"], ["3.0", "", "TRUE"], [*"010"]]
    text = CsvText(tmp_path, "utf-8", ",", HEADER, [2, 3, 4], columns)
    types: dict[str, FeatureType | None] = {"age": "number", "sex": "category", "ticket": None}
    found = segment_fields(schema, types, text, "classification")
    assert (found["segments"], found["fairness"]) == (("sex", "ticket", "shop"), ("sex",))
    values = found["segment_values"]
    assert [*values] == ["segment: ticket"]
    assert values["segment: ticket"].tolist() == ["3", None, "True"]
    with pytest.raises(DataError, match="the target is a number"):
        segment_fields(schema, types, text, "regression")
    with pytest.raises(DataError, match="'sex' under segments, but it is a number"):
        segment_fields(schema, {**types, "sex": "number"}, text, "classification")


def test_a_schema_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_schema(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"target: \xe9")
    with pytest.raises(DataError, match="not UTF-8"):
        read_schema(tmp_path / "latin.yaml")


def test_what_is_written_reads_back_whatever_the_names_hold(tmp_path: Path) -> None:
    names = ["age", "no", "12", "a: b", "# c", 'say "ha"', "é\n", ""]
    kept = [(name, ColumnOverride(type="number", unit=name or None)) for name in names]
    path = tmp_path / "schema.yaml"
    write_schema(path, "y", kept, [("ticket", "300 different texts: an identifier")], ["-"])
    again = read_schema(path)
    assert list(again.columns) == names
    assert dict(kept) == again.columns
    assert (again.target, again.drop, again.missing) == ("y", ("ticket",), ("-",))
    assert "# 300 different texts" in path.read_text(encoding="utf-8")


def test_a_schema_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text("edited")
    with pytest.raises(DataError, match="exists and is not overwritten"):
        write_schema(path, "y", [], [])
    assert path.read_text() == "edited"
