"""CSV files: types are inferred, and what cannot be used is named with its column and line."""

import re
from collections.abc import Callable
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import pytest
from rich.console import Console

from model.command_line import column_table, write_columns
from model.data.csv_file import load_csv, read_columns
from model.data.csv_text import MAX_COLUMNS
from model.data.schema_file import SchemaFile, read_schema
from model.errors import DataError

Write = Callable[[str], Path]
PEOPLE = "".join(
    f"{20 + i},{'red' if i % 3 else ''},{'true' if i % 2 else 'FALSE'},{'yes' if i % 2 else 'no'}\n" for i in range(40)
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str) -> Path:
        path = tmp_path / "people.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def test_numbers_categories_and_booleans_are_told_apart(write: Write) -> None:
    dataset = load_csv(write(f"age,colour,member,buys\n{PEOPLE},,,no\n"), "buys")
    assert [(feature.name, feature.type) for feature in dataset.features] == [
        ("age", "number"),
        ("colour", "category"),
        ("member", "boolean"),
    ]
    assert dataset.classes == ("no", "yes")
    assert dataset.frame["age"].dtype == "float64"
    assert set(dataset.frame["member"].dropna()) == {"True", "False"}
    age, colour, member = dataset.features
    assert (age.minimum, age.maximum) == (20, 59)
    assert colour.categories == ("red",)
    assert isinstance(member.example, bool)


def test_blank_cells_are_missing(write: Write) -> None:
    dataset = load_csv(write(f"age,colour,member,buys\n{PEOPLE} , , ,no\n"), "buys")
    assert dataset.frame.iloc[-1].isna().all()


def test_quotes_commas_blank_lines_and_a_byte_order_mark_are_read(write: Write) -> None:
    text = '\ufeff"town, country",y\n' + '"Paris, France",a\n\n' * 10 + '"Rome, ""Italy""",b\n' * 10
    dataset = load_csv(write(text), "y")
    assert dataset.features[0].name == "town, country"
    assert dataset.features[0].categories == ("Paris, France", 'Rome, "Italy"')


@pytest.mark.parametrize(
    ("values", "classes"),
    [(("0", "1"), (0, 1)), (("10", "9"), (9, 10)), (("true", "False"), (False, True)), (("01", "1"), ("01", "1"))],
)
def test_classes_have_the_type_that_the_file_shows(write: Write, values: tuple[str, str], classes: object) -> None:
    rows = "".join(f"{i * i},{values[i % 2]}\n" for i in range(40))
    dataset = load_csv(write(f"x,y\n{rows}"), "y")
    assert dataset.classes == classes
    assert [type(value) for value in dataset.classes] == [type(value) for value in classes]  # type: ignore[attr-defined]
    assert dataset.labels[0].lower() == values[0].lower()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x,y\n", "no rows"),
        ("x,z\n1,2\n", "no column 'y'; it has: x, z"),
        ("y\na\n", "no column to learn from besides the target"),
        ("x,x,y\n1,2,a\n", "'x' occurs twice"),
        ("5.1,3.5,1.4\n4.9,3.0,1.3\n", "line 1: only numbers; the first line must name the columns"),
        ("x,,y\n" + "1,2,a\n3,4,b\n" * 20, "column 2 has no name"),
        ("prediction,y\n" + "1,a\n2,b\n" * 20, "'prediction' has a reserved name"),
        ("label,y\n" + "1,a\n2,b\n" * 20, "'label' has a reserved name"),
        ("probability_a,y\n" + "1,a\n2,b\n" * 20, "'probability_a' has a reserved name"),
        ("x,y\n1,a\n1,2,3\n", "line 3: 3 cells where the header has 2"),
        ("x,y\n1,NA\n\n2,\n", "target 'y' is missing in 2 rows, first 'NA' on line 2"),
        ("x,y\n" + "1,a\n2,a\n" * 20, "fewer than 2 classes (only 'a')"),
        (
            "x,y\n" + "1,a\n2,a\n" * 20 + "1,b\n" * 3 + "2,c\n",
            "column 'y': class 'c' has 1 rows, class 'b' has 3 rows; each class needs at least 10",
        ),
        ("x,y\n" + "1,a\n2,b\n" * 20 + "one,b\n", "column 'x', line 42: 'one' is not a finite number"),
        ("x,y\n" + "1,a\n2,b\n" * 20 + "inf,b\n", "column 'x', line 42: 'inf' is not a finite number"),
        ("x,y\n" + "1,a\n2,b\n" * 20 + "1e300,b\n", "column 'x', line 42: '1e300' is not a finite number"),
        ("x,y\n" + "1,a\n2,b\n" * 20 + f"1{'0' * 400},b\n", "column 'x', line 42: '1000"),
        (
            "x,y\n" + "".join(f"{i % 7},name {i}\n" for i in range(300)),
            "'y' has 300 different values; at most 100 classes",
        ),
        ('x,y\n"1,a\n', "line 2"),
        ('x,y\n1,a\n"b"c,a\n', "line 3"),
    ],
)
def test_a_file_that_cannot_be_learned_from_is_refused_with_the_reason(write: Write, text: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        load_csv(write(text), "y")
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("header", "cells", "reason"),
    [
        ("z", lambda _: "", "empty in every row"),
        ("z", lambda _: "NaN", "empty in every row"),
        ("z", lambda _: "1.5", "constant: '1.5' in every row"),
        ("z", lambda _: "same", "constant: 'same' in every row"),
        ("z", lambda i: "7" if i % 2 else "", "constant: '7' in every row"),
        ("", str, "counts the rows"),
        ("Unnamed: 0", lambda i: str(3 * i), "an identifier"),
        ("z", lambda i: str(1 + (i * 7) % 300), "counts the rows"),
        ("customer_id", lambda i: str(i * i + 5), "an identifier"),
        ("CustomerId", lambda i: str(i * i + 5), "an identifier"),
        ("z", lambda i: str(10**18 + i % 9), "beyond 2^53"),
        ("z", lambda i: f"name {i}", "300 different texts"),
        ("z", lambda i: str(i % 160) if i % 3 else "abroad", "not all are numbers: 'abroad' on line 2"),
        ("z", lambda i: f"street {i % 160}", "nearly every text is another one (160 in 300 rows)"),
        ("z", lambda i: f"2024-{1 + i % 12:02}-{1 + i % 28:02}", "dates"),
        ("z", lambda i: f"{1 + i % 28}/{1 + i % 12}/2024 10:{i % 60:02}", "dates"),
        ("z", lambda i: f"{1 + i % 28}-Mar-2024", "derive what comes again, such as hour, weekday, month"),
        ("z", lambda i: f"202403{1 + i % 28:02}", "dates"),
        ("host_id", lambda i: str(i * 2 // 3 * 977 % 1009), "another integer in nearly every row, and its name"),
        ("EmployeeNumber", lambda i: str(1 + i * 7919 % 3011), "another integer in every row, and its name"),
        ("z", lambda i: str(3 * i + i % 2), "integers that go up from row to row"),
        ("user_id", lambda i: f"u{i % 250}", "250 different texts in 300 rows"),
        ("", lambda i: str(i % 100), "counts the rows of several parts and has no name"),
        ("z", lambda i: "word " * 250 if i == 7 else "ab"[i % 2], "free text"),
    ],
)
def test_a_column_that_says_nothing_of_other_rows_is_dropped_with_the_reason(
    write: Write, header: str, cells: Callable[[int], str], reason: str
) -> None:
    rows = "".join(f"{cells(i)},{i % 7},{'ab'[i % 2]}\n" for i in range(300))
    columns = read_columns(write(f"{header},x,y\n{rows}"), "y")
    assert [column.name for column in columns.kept] == ["x"]
    assert reason in columns.dropped[0].why
    assert columns.dataset().features[0].name == "x"


@pytest.mark.parametrize(
    ("cells", "kind", "why"),
    [
        (lambda i: f"0{i % 5}", "category", "leading zeros"),
        (lambda i: "abroad" if i % 4 == 0 else str(i % 9), "category", "not all are numbers: 'abroad' on line 2"),
        (lambda i: "unknown" if i % 4 == 0 else str(i % 9), "number", "'unknown' in 10 cells means missing"),
        (lambda i: "-" if i % 4 else str(i % 9), "category", "not all are numbers: '-' on line 3"),
        (lambda i: "same" if i % 2 else "", "category", "texts"),
        (lambda i: str(i * i), "number", "numbers"),
        (lambda i: f"{i}e3" if i % 5 else "n/a", "number", "numbers"),
    ],
)
def test_what_a_column_was_taken_for_is_said_with_the_reason(
    write: Write, cells: Callable[[int], str], kind: str, why: str
) -> None:
    rows = "".join(f"{cells(i)},{'ab'[i % 2]}\n" for i in range(40))
    (column,) = read_columns(write(f"z,y\n{rows}"), "y").columns
    assert (column.type, column.why) == (kind, column.why)
    assert why in column.why


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_the_separator_and_a_decimal_comma_are_found(write: Write, separator: str, name: str) -> None:
    cells = [("size", "town", "y"), *((f"1.00{i},{i}5", "Aix, Provence", "ab"[i % 2]) for i in range(9))]
    cells += [("2,5", "Nice", "ab"[i % 2]) for i in range(20)]
    columns = read_columns(write("".join(separator.join(line) + "\n" for line in cells)), "y")
    assert name in columns.text.reading
    size, town = columns.columns
    assert (size.type, size.why) == ("number", "numbers with a decimal comma")
    assert size.values is not None
    assert size.values.iloc[[1, 10]].tolist() == [1001.15, 2.5]
    assert town.example == "Aix, Provence"


def test_a_separator_that_is_given_is_taken(write: Write) -> None:
    text = "a;b,y\n" + "1;2,u\n3;4,v\n" * 10
    assert read_columns(write(text), "y", separator=",").columns[0].name == "a;b"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("cp1252", "Windows-1252")]
)
def test_other_encodings_are_read_and_named(tmp_path: Path, encoding: str, shown: str) -> None:
    path = tmp_path / "towns.csv"
    path.write_bytes(("ville,y\n" + "Orléans,œuf\nNîmes,blé\n" * 20).encode(encoding))
    columns = read_columns(path, "y")
    assert columns.text.encoding == shown
    assert columns.dataset().features[0].categories == ("Nîmes", "Orléans")
    assert columns.dataset().classes == ("blé", "œuf")


def test_the_schema_decides_where_it_speaks(write: Write) -> None:
    rows = "".join(
        f"{i % 3},{'yes' if i % 2 else 'no'},{i},{i % 5},{'-' if i % 9 else '3'},{'ab'[i % 2]}\n" for i in range(40)
    )
    schema = SchemaFile.model_validate(
        {
            "columns": {
                "grade": {"type": "category", "description": "school grade"},
                "member": "boolean",
                "serial": "number",
                "size": {"unit": "cm"},
            },
            "drop": ["odd"],
            "missing": ["-"],
        }
    )
    columns = read_columns(write(f"grade,member,serial,odd,size,y\n{rows}"), "y", schema)
    features = {feature.name: feature for feature in columns.dataset().features}
    assert features["grade"].categories == ("0", "1", "2")
    assert features["grade"].description == "school grade"
    assert features["member"].type == "boolean"
    assert features["serial"].type == "number", "a type that is given keeps a column that would be dropped"
    assert "size" not in features, "all of its values but one are missing by the schema's words"
    assert {column.name: column.why for column in columns.dropped} == {
        "odd": "the schema drops it",
        "size": "constant: '3' in every row",
    }


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"columns": {"x": "number"}}, "column 'x', line 2: 'a b' is not a finite number"),
        ({"columns": {"x": "boolean"}}, "column 'x', line 2: 'a b' is neither true nor false"),
        ({"columns": {"w": "number"}}, "names a column 'w', which the file does not have"),
        ({"drop": ["w"]}, "names a column 'w', which the file does not have"),
        ({"drop": ["y"]}, "names 'y', which is the target"),
        ({"drop": ["x"], "columns": {"x": {}}}, "both drops and describes the column 'x'"),
        ({"target": "z"}, "for the target 'z', not 'y'"),
    ],
)
def test_a_schema_that_does_not_fit_the_file_is_refused(write: Write, schema: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as refusal:
        load_csv(write("x,y\n" + "a b,u\nc,v\n" * 20), "y", SchemaFile.model_validate(schema))
    assert message in str(refusal.value)


def test_of_many_categories_the_commonest_are_kept_and_one_stands_for_the_rest(write: Write) -> None:
    cells = [*(f"t{i}" for i in range(1_001)), *(f"t{i % 250}" for i in range(2_000)), "other", "other"]
    text = "x,z,y\n" + "".join(f"{cell},{i % 9},{'ab'[i % 2]}\n" for i, cell in enumerate(cells))
    dataset = load_csv(write(text), "y")
    (feature, _) = dataset.features
    assert feature.categories is not None
    assert (feature.other, len(feature.categories)) == ("other", 200)
    assert "t0" in feature.categories
    assert "t999" not in feature.categories
    assert dataset.frame["x"].iloc[999] == "other"
    for asked, kept in ((None, 200), (30, 30)):
        schema = SchemaFile.model_validate({"columns": {"x": {"type": "category", "categories": asked}}})
        (feature, _) = load_csv(write(text), "y", schema).features
        assert feature.categories is not None
        assert (feature.other, len(feature.categories)) == ("other", kept)
    few = "x,y\n" + "".join(f"t{i % 201},{'ab'[i % 2]}\n" for i in range(402))
    (feature,) = load_csv(write(few), "y", SchemaFile.model_validate({"columns": {"x": "category"}})).features
    assert feature.categories is not None
    assert (feature.other, len(feature.categories)) == (None, 201), "as many as 1,000 are kept where the schema asks"


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_csv(tmp_path / "none.csv", "y")
    with pytest.raises(DataError, match="Is a directory"):
        load_csv(tmp_path, "y")
    binary = tmp_path / "binary.csv"
    for content, message in (
        (b"PK\x03\x04 and so on", "is a spreadsheet or zip file"),
        (b"x,y\n1,\0\n", "is not text"),
    ):
        binary.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_csv(binary, "y")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b', "a&b", "a\nb", "x" * 101])
def test_a_model_has_a_name_that_is_fit_for_pages(write: Write, name: str) -> None:
    columns = read_columns(write(f"age,colour,member,buys\n{PEOPLE}"), "buys")
    with pytest.raises(DataError, match="cannot be the name of a model"):
        columns.dataset(name=name)
    assert columns.dataset(name="Été 2024 (v1.2), credit_risk-b+c").name == "Été 2024 (v1.2), credit_risk-b+c"


@pytest.mark.parametrize(
    ("cell", "type_and_unit", "value", "why"),
    [
        (lambda i: f'"${i % 90},{i * 37 % 1000:03}"', ("number", "$"), 7_259, "amounts in $"),
        (lambda i: f'"{1 + i % 9},{i * 37 % 1000:03}"', ("number", None), 8_259, "marks between thousands"),
        (lambda i: f'"{i},{i % 10}{i % 7}"', ("number", None), 7.70, "decimal comma"),
        (lambda i: f"{i % 50}.{i % 10}%", ("number", "%"), 7.7, "percentages"),
        (lambda i: f"{i % 24:02}:{i % 60:02}", ("number", "h"), 7 + 7 / 60, "times of day"),
        (lambda i: "-" if i % 7 == 1 else f"{i}.5", ("number", None), 7.5, "'-' in 43 cells means missing"),
        (lambda i: "Unknown" if i % 7 == 1 else f"${i}", ("number", "$"), 7, "'Unknown' in 43 cells means missing"),
    ],
)
def test_numbers_in_disguise_are_numbers_and_the_table_says_how_they_were_read(
    write: Write, cell: Callable[[int], str], type_and_unit: tuple[str, str | None], value: float, why: str
) -> None:
    columns = read_columns(write("z,y\n" + "".join(f"{cell(i)},{'ab'[i % 2]}\n" for i in range(300))), "y")
    (column,) = columns.columns
    (feature,) = columns.dataset().features
    assert (feature.type, feature.unit) == type_and_unit
    assert column.values is not None
    assert column.values.iloc[7] == pytest.approx(value)
    assert why in column.why
    assert column.missing == (43 if "missing" in why else 0)


@pytest.mark.parametrize(
    ("separator", "others", "expected"),
    [(",", "1", 2_409), (",", '"12,5"', 2.409), (";", "1", 2.409), (";", "1.5", 2_409), ("\t", "12,5", 2.409)],
)
def test_the_rest_of_a_file_says_whether_a_comma_groups_thousands(
    write: Write, separator: str, others: str, expected: float
) -> None:
    row = f'"2,409"{separator}{others}{separator}'
    text = f"z{separator}x{separator}y\n" + "".join(f"{row}{'ab'[i % 2]}\n" for i in range(40))
    schema = SchemaFile.model_validate({"columns": {"z": "number"}})
    values = read_columns(write(text), "y", schema).columns[0].values
    assert values is not None
    assert values.iloc[0] == expected


def test_numbers_that_may_be_others_are_refused_until_the_schema_decides(write: Write) -> None:
    text = "z\tx\ty\n" + "".join(f"2,4{i:02}\t{'$' if i % 2 else '£'}{i}\t{'ab'[i % 2]}\n" for i in range(40))
    with pytest.raises(DataError) as refusal:
        read_columns(write(text), "y")
    first, second = str(refusal.value).splitlines()
    assert "'2,400' may be 2,400 or 2.4" in first
    assert 'decimal: "." or decimal: ","' in first
    assert "several units ($, £)" in second
    schema = {"columns": {"z": {"decimal": ","}, "x": "number"}}
    z, x = read_columns(write(text), "y", SchemaFile.model_validate(schema)).columns
    assert z.values is not None
    assert x.values is not None
    assert (z.values.iloc[1], x.values.iloc[1]) == (2.401, 1)
    schema = {"decimal": ".", "drop": ["x"]}
    values = read_columns(write(text), "y", SchemaFile.model_validate(schema)).columns[0].values
    assert values is not None
    assert values.iloc[1] == 2_401


def test_the_schema_says_which_cells_of_a_column_are_missing(write: Write) -> None:
    text = "z,y\n" + "".join(
        f"{'-' if i % 3 == 0 else 'NA' if i % 3 == 1 else i % 9},{'ab'[i % 2]}\n" for i in range(60)
    )
    schema = SchemaFile.model_validate({"columns": {"z": {"missing": []}}})
    (column,) = read_columns(write(text), "y", schema).columns
    assert (column.type, column.missing) == ("category", 0)
    (feature,) = load_csv(write(text), "y", schema).features
    assert feature.categories == ("-", "2", "5", "8", "NA")
    assert feature.missing == ("",), "the API reads NA as text too"


def test_all_odd_cells_of_all_columns_are_listed(write: Write) -> None:
    rows = [[str(i), str(i * 3 % 7), "ab"[i % 2]] for i in range(60)]
    rows[3][0], rows[5][0], rows[8][1] = "one", "two", "three"
    with pytest.raises(DataError) as refusal:
        load_csv(write("x,z,y\n" + "".join(",".join(row) + "\n" for row in rows)), "y")
    first, second = str(refusal.value).splitlines()
    assert "column 'x', line 5: 'one' is not a finite number" in first
    assert "the same in line 7: 'two'" in first
    assert "column 'z', line 10: 'three' is not a finite number" in second
    for row in rows:
        row[0] = "odd" if row[1] in {"0", "1"} else row[0]
    schema = SchemaFile.model_validate({"columns": {"x": "number"}})
    with pytest.raises(DataError, match=r"the same in line 5: 'one'.*; and 8 more"):
        load_csv(write("x,z,y\n" + "".join(",".join(row) + "\n" for row in rows)), "y", schema)


def test_a_blank_first_line_is_passed_over(write: Write) -> None:
    columns = read_columns(write("\n ,\nx,y\n" + "1,a\n2,b\n" * 20), "y")
    assert (columns.text.header, columns.text.lines[0]) == (("x", "y"), 4)


@pytest.mark.parametrize("header", ["3.2,near,far", "near,7,far", "1.5,2.5,far"])
def test_a_first_line_that_is_a_row_is_refused(write: Write, header: str) -> None:
    rows = "".join(f"{i}.2,{'near' if i % 2 else 'far'},{'far' if i % 3 else 'near'}\n" for i in range(40))
    with pytest.raises(DataError, match="the first line looks like a row"):
        read_columns(write(f"{header}\n{rows}"), "far")


def test_names_that_are_years_or_ticks_are_names(write: Write) -> None:
    rows = "".join(f"{i},{i + 1},{i % 5},{'ab'[i % 2]}\n" for i in range(40))
    assert read_columns(write(f"2019,2020,2021,y\n{rows}"), "y").text.rows == 40
    rows = "".join(f"{'dog' if i % 2 else ''},{'cat' if i % 3 else ''},{i % 5},{'ab'[i % 2]}\n" for i in range(40))
    assert read_columns(write(f"dog,cat,x,y\n{rows}"), "y").text.rows == 40


def test_a_column_without_a_name_is_named_by_its_place(write: Write) -> None:
    text = ",x,y\n" + "".join(f"{i % 7 / 2},{i % 5},{'ab'[i % 2]}\n" for i in range(40))
    with pytest.raises(DataError, match=r"column 1 has no name; give it one, or call it '\(column 1\)' in the schema"):
        read_columns(write(text), "y")
    for schema, kept in (
        ({"drop": ["(column 1)"]}, ["x"]),
        ({"columns": {"(column 1)": "number"}}, ["(column 1)", "x"]),
    ):
        columns = read_columns(write(text), "y", SchemaFile.model_validate(schema))
        assert [column.name for column in columns.kept] == kept


def test_what_is_dropped_and_what_the_schema_names_rides_along(write: Write) -> None:
    rows = "".join(f"c{i},{i % 5},{'ns'[i % 2]},{'ab'[i % 2]}\n" for i in range(60))
    schema = SchemaFile.model_validate({"metadata": ["region", "sent_by"]})
    columns = read_columns(write(f"customerID,x,region,y\n{rows}"), "y", schema)
    dataset = columns.dataset()
    assert [feature.name for feature in dataset.features] == ["x"]
    assert dataset.metadata == ("customerID", "region", "y", "sent_by")
    assert dataset.dropped.keys() == {"customerID", "region"}
    assert columns.only_sent == ("sent_by",)
    with pytest.raises(DataError, match="'x' under metadata and under columns"):
        read_columns(write(f"customerID,x,region,y\n{rows}"), "y", SchemaFile(metadata=("x",), columns={"x": {}}))  # type: ignore[dict-item]


def test_a_column_that_is_empty_where_the_model_trains_is_sensible(write: Write) -> None:
    rows = "".join(f"{i % 7},{i if i >= 150 else ''},{'ab'[i % 2]}\n" for i in range(200))
    columns = read_columns(write(f"x,late,y\n{rows}"), "y")
    assert [(column.name, column.type, column.missing) for column in columns.columns][1] == ("late", "number", 150)


def test_a_schema_that_is_written_reads_the_file_in_the_same_way(write: Write, tmp_path: Path) -> None:
    rows = "".join(
        f'c{i},"{i % 90},{i * 37 % 1000:03}",{i % 24:02}:15,{"-" if i % 7 == 1 else i},t{i % 230},{i % 5},n,'
        f"{'ab'[i % 2]}\n"
        for i in range(920)
    )
    path = write(f"id,price,at,size,town,grade,region,y\n{rows}")
    columns = read_columns(
        path, "y", SchemaFile.model_validate({"columns": {"grade": "category"}, "metadata": ["region"]})
    )
    write_columns(columns, tmp_path / "people.yaml")
    again = read_columns(path, "y", read_schema(tmp_path / "people.yaml"))
    first, second = columns.dataset(), again.dataset()
    assert first.fingerprint() == second.fingerprint()
    assert first.features == second.features
    assert first.metadata == second.metadata
    assert {one.name for one in first.features if one.other} == {"town"}


def test_a_model_that_was_fitted_elsewhere_has_seen_disguised_numbers_as_texts(write: Write) -> None:
    rows = "".join(f"${i % 9},{'-' if i % 7 == 1 else i % 9},{i % 5},{'ab'[i % 2]}\n" for i in range(90))
    path = write(f"price,size,x,y\n{rows}")
    columns = read_columns(path, "y", only=["price", "size", "x"])
    assert [column.type for column in columns.kept] == ["category", "category", "number"]
    assert "say so in the schema" in columns.kept[0].why
    schema = SchemaFile.model_validate({"columns": {"price": "number", "size": "number"}})
    columns = read_columns(path, "y", schema, only=["price", "size", "x"])
    assert [(column.type, column.missing) for column in columns.kept] == [("number", 0), ("number", 13), ("number", 0)]


@pytest.mark.parametrize("width", [40, 60, 89, 90, 120, 200])
def test_the_table_hides_nothing_at_any_width(write: Write, width: int) -> None:
    rows = "".join(f"c{i},{i % 7},{'Manufacture of ferro-alloys' if i % 3 else ''},{'ab'[i % 2]}\n" for i in range(60))
    columns = read_columns(write(f"customer_number,size,industry,y\n{rows}NA,1,x,\n"), "y")
    out = StringIO()
    Console(file=out, width=width).print(column_table(columns, width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    cells = [[part.strip() for part in re.split("[│┃]", line)] for line in lines]
    by_column = {"".join(parts) for parts in zip_longest(*cells, fillvalue="")}
    shown = " ".join(by_column)
    for fact in ("customer_number", "size", "industry", "dropped", "category", "numbers", "withoutit"):
        assert fact in shown.replace(" ", ""), fact


@pytest.mark.parametrize("first", [0, 1])
def test_an_index_is_known_though_rows_without_a_target_are_left_out(write: Write, first: int) -> None:
    rows = "".join(f"{i + first},{i + 1960},{i % 7},{'' if i % 9 == 4 else 'ab'[i % 2]}\n" for i in range(80))
    columns = read_columns(write(f"rownames,year,x,y\n{rows}"), "y")
    assert [(column.name, column.why[:15]) for column in columns.dropped] == [("rownames", "counts the rows")]


def test_a_word_among_numbers_is_refused_with_each_way_out(write: Write) -> None:
    rows = "".join(f"{'rotary' if i == 40 else 4 + i % 3},{i % 7},{'ab'[i % 2]}\n" for i in range(80))
    path = write(f"cylinders,x,y\n{rows}")
    with pytest.raises(DataError, match=r"line 42: 'rotary' is not a finite number.*call the column a category"):
        read_columns(path, "y")
    columns = read_columns(path, "y", SchemaFile.model_validate({"columns": {"cylinders": "category"}}))
    assert columns.kept[0].type == "category"


def test_a_table_of_many_columns_shows_those_that_it_drops(write: Write) -> None:
    names = ",".join(f"c{number}" for number in range(70))
    rows = "".join(
        f"{','.join(str(i % 7) for _ in range(70))},2026-03-{1 + i % 28:02},{'ab'[i % 2]}\n" for i in range(60)
    )
    out = StringIO()
    Console(file=out, width=200).print(column_table(read_columns(write(f"{names},sold,y\n{rows}"), "y")))
    assert "… 10 more features" in out.getvalue()
    assert "dates, which never come again" in out.getvalue()


def test_a_file_of_too_many_columns_is_refused_before_its_rows_are_read(write: Write) -> None:
    names = ",".join(f"c{number}" for number in range(MAX_COLUMNS))
    path = write(f"{names},y\n1,2\n")  # the line that is too short would be named
    with pytest.raises(DataError, match="has 5,001 columns, and at most 5,000 are taken; leave out those"):
        load_csv(path, "y")


def test_numbers_without_the_mark_that_the_schema_gives_are_named(write: Write) -> None:
    text = "x,y\n" + "".join(f"0.{i:04},{'ab'[i % 2]}\n" for i in range(1, 41))
    with pytest.raises(DataError, match=r"'x' has no numbers with the decimal mark ',': line 2: '0.0001'.*and 39 more"):
        read_columns(write(text), "y", SchemaFile.model_validate({"decimal": ","}))
