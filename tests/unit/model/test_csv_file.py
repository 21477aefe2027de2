"""CSV files: types are inferred, and what cannot be used is named with its column and line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.csv_file import load_csv
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
    rows = "".join(f"{i},{values[i % 2]}\n" for i in range(40))
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
        ("y\na\n", "no column besides the target"),
        ("x,x,y\n1,2,a\n", "'x' occurs twice"),
        ("x,,y\n1,2,a\n", "column 2 has no name"),
        ("prediction,y\n1,a\n", "'prediction' has a reserved name"),
        ("label,y\n1,a\n", "'label' has a reserved name"),
        ("probability_a,y\n1,a\n", "'probability_a' has a reserved name"),
        ("x,y\n1,a\n1,2,3\n", "line 3: 3 cells where the header has 2"),
        ("x,y\n1,a\n\n1,\n", "target 'y' is blank in 1 rows, first on line 4"),
        ("x,y\n" + "1,a\n" * 20, "fewer than 2 classes"),
        ("x,y\n" + "1,a\n" * 20 + "1,b\n" * 3, "class 'b' of column 'y' has 3 rows"),
        ("x,z,y\n" + "1,,a\n" * 20 + "1,,b\n" * 20, "column 'z' is empty in every row"),
        ("x,y\n" + "1,a\n" * 20 + "one,b\n" + "1,b\n" * 20, "column 'x', line 22: 'one' is not a finite number"),
        ("x,y\n" + "1,a\n" * 20 + "inf,b\n" + "1,b\n" * 20, "column 'x', line 22: 'inf' is not a finite number"),
        ("x,y\n" + "".join(f"id{i},{'ab'[i % 2]}\n" for i in range(300)), "'x' has 300 different texts"),
        ("x,y\n" + "".join(f"1,{i / 7}\n" for i in range(300)), "'y' has 300 different values"),
        ('x,y\n"1,a\n', "line 2"),
    ],
)
def test_a_file_that_cannot_be_learned_from_is_refused_with_the_reason(write: Write, text: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        load_csv(write(text), "y")
    assert message in str(refusal.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_csv(tmp_path / "none.csv", "y")
    with pytest.raises(DataError, match="Is a directory"):
        load_csv(tmp_path, "y")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"x,y\n\xff\xfe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        load_csv(binary, "y")
