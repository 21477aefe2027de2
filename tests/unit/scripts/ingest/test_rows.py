"""The rows of a file as the call that logs predictions takes them: CSV of every kind, Parquet, ids, what is bad."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from model.artifact.manifest import AnswerColumns, Feature
from model.errors import DataError
from scripts.ingest.rows import BadRowError, Card, FileRow, Layout, RowReader, TableFile

ANSWERS = AnswerColumns(prediction="said", probabilities={"no": "p_no", "yes": "p_yes"})
FEATURES = (
    Feature(name="age", type="number", nullable=True, example=1.0),
    Feature(name="city", type="category", nullable=True, example="Nîmes"),
    Feature(name="new", type="boolean", nullable=True, example=True),
)
CARD = Card(
    name="m", version="1", features=FEATURES, target="truth", metadata=("note", "truth"), task="classification",
    classes=("no", "yes"), answer_columns=ANSWERS,
)  # fmt: skip
NUMBER = CARD.model_copy(update={"task": "regression", "classes": None})
HEADER = "age,city,new,p_no,p_yes,said,truth,note,other"
ROW = "31,Nîmes,true,0.25,0.75,yes,no,late,x"


def read(
    folder: Path, content: bytes | str, *, card: Card = CARD, answers: AnswerColumns = ANSWERS, own: str | None = None
) -> list[dict[str, Any] | str]:
    """Return what is sent of each row of a CSV file, or what is wrong with it."""
    file = folder / "rows.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return sent(file, card, answers, own)


def sent(file: Path, card: Card, answers: AnswerColumns, own: str | None) -> list[dict[str, Any] | str]:
    table = TableFile.of(file)
    layout = Layout.of(card, table.header(answers.prediction), answers, None, own)
    reader = RowReader(layout, table.sha256[:20])
    rows = table.rows(layout.columns, answers.prediction, lambda _done: None)
    return [item(reader, row) for row in rows]


def item(reader: RowReader, row: FileRow) -> dict[str, Any] | str:
    try:
        return reader.prediction(row)
    except BadRowError as error:
        return f"line {row.line}: {error}"


EXPECTED = {
    "features": {"age": 31.0, "city": "Nîmes", "new": True, "note": "late"},
    "prediction": "yes",
    "probabilities": {"no": 0.25, "yes": 0.75},
    "label": "no",
}


def without_id(row: dict[str, Any] | str) -> dict[str, Any]:
    assert isinstance(row, dict), row
    return {name: value for name, value in row.items() if name != "prediction_id"}


CONTENT = f"{HEADER}\n{ROW}\n"
FORMS = {
    "plain": CONTENT.encode(),
    "byte order mark": CONTENT.encode("utf-8-sig"),
    "UTF-16": CONTENT.encode("utf-16"),
    "Windows": CONTENT.replace("\n", "\r\n").encode("cp1252"),
    "semicolons": CONTENT.replace(",", ";").encode(),
    "decimal commas": CONTENT.replace(",", ";").replace("0.", "0,").encode(),
    "quotes and blanks": CONTENT.replace("Nîmes", '" Nîmes "').encode(),
    "blank lines": ("\n\n" + CONTENT.replace("\n", "\n\n")).encode(),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_a_row_is_read_however_the_file_is_written(tmp_path: Path, content: bytes) -> None:
    (row,) = read(tmp_path, content)
    assert without_id(row) == EXPECTED


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"age": [31, 7], "city": ["Nîmes", None], "new": [True, None], "p_no": [0.25, float("nan")],
         "p_yes": [0.75, float("nan")], "said": ["yes", "no"], "truth": ["no", None], "note": ["late", None]}
    )  # fmt: skip
    file = tmp_path / "rows.parquet"
    table.to_parquet(file)
    first, second = sent(file, CARD, ANSWERS, None)
    assert without_id(first) == EXPECTED
    features = {"age": 7.0, "city": None, "new": None, "note": None}
    assert without_id(second) == {"features": features, "prediction": "no"}


def test_a_byte_late_in_the_file_decides_on_its_encoding(tmp_path: Path) -> None:
    rows = [ROW.encode().replace("î".encode(), b"i")] * 40_000
    found = read(tmp_path, b"\n".join([HEADER.encode(), *rows, ROW.encode("cp1252")]))
    last = found[-1]
    assert isinstance(last, dict)
    assert last["features"]["city"] == "Nîmes"


def test_ids_follow_from_the_content_and_the_place(tmp_path: Path) -> None:
    content = "\n".join([HEADER, ROW, ROW])
    first, again, other = (read(tmp_path, text) for text in (content, content, content + "\n"))
    assert first == again
    ids = [row["prediction_id"] for row in (*first, *other) if isinstance(row, dict)]
    assert len(set(ids)) == 4


def test_ids_of_a_column_are_kept_and_checked(tmp_path: Path) -> None:
    rows = [ROW.removesuffix("x") + own for own in ("a/1", "17", "two words", "")]
    first, second, *bad = read(tmp_path, "\n".join([HEADER, *rows]), own="other")
    assert [row["prediction_id"] for row in (first, second) if isinstance(row, dict)] == ["a/1", "17"]
    assert [str(text).partition(";")[0] for text in bad] == [
        "line 4: column 'other': 'two words' cannot be an id",
        "line 5: column 'other': '' cannot be an id",
    ]


BAD = {
    "31,Nîmes,true,0.25,0.75,,no,late,x": "the prediction is missing",
    "31,Nîmes,true,,0.75,yes,no,late,x": "column 'p_no': the probability is missing",
    "31,Nîmes,true,a,0.75,yes,no,late,x": "column 'p_no': 'a' is no number",
    "31,Nîmes,true": "3 cells where the header has 9",
    '31,"Nî"mes,true,0.25,0.75,yes,no,late,x': "is a quote not closed?",
}


@pytest.mark.parametrize(("line", "said"), BAD.items())
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path: Path, line: str, said: str) -> None:
    first, bad, last = read(tmp_path, "\n".join([HEADER, ROW, line, ROW]))
    assert without_id(first) == without_id(last) == EXPECTED
    assert isinstance(bad, str)
    assert bad.startswith("line 3: ")
    assert said in bad


def test_lines_that_an_open_quote_swallows_are_named(tmp_path: Path) -> None:
    found = read(tmp_path, "\n".join([HEADER, ROW, ROW.replace("Nîmes", '"Nîmes'), ROW, ROW, ROW]))
    assert len(found) == 2
    assert "lines 3 to 6: " in str(found[1])


def test_of_two_classes_one_probability_is_enough(tmp_path: Path) -> None:
    answers = AnswerColumns(prediction="said", probabilities={"yes": "p_yes"})
    (row,) = read(tmp_path, CONTENT, answers=answers)
    assert without_id(row)["probabilities"] == {"no": 0.25, "yes": 0.75}


def test_a_number_that_may_be_two_is_bad(tmp_path: Path) -> None:
    answers = AnswerColumns(prediction="said")
    rows = [ROW.replace("yes,no", said) for said in ("12.5,13", '"12,5",13', '"1,500",1', "much,1")]
    first, second, *bad = read(tmp_path, "\n".join([HEADER, *rows]), card=NUMBER, answers=answers)
    assert without_id(first)["prediction"] == without_id(second)["prediction"] == 12.5
    assert bad == ["line 4: column 'said': '1,500' may be two numbers", "line 5: column 'said': 'much' is no number"]


def test_metadata_that_is_too_long_is_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(CONTENT.replace("late", "x" * 1_001), encoding="utf-8")
    table = TableFile.of(file)
    layout = Layout.of(CARD, table.header("said"), ANSWERS, None, None)
    reader = RowReader(layout, "p")
    (row,) = table.rows(layout.columns, "said", lambda _done: None)
    assert "note" not in reader.prediction(row)["features"]
    assert reader.left_out == 1


UNUSABLE = {
    "empty": (b"", "is empty"),
    "packed": (b"PK\x03\x04rest", "packed, or a spreadsheet"),
    "no feature": (HEADER.replace("age", "years").encode() + b"\n" + ROW.encode(), "no column 'age'"),
    "no prediction": (HEADER.replace("said", "spoke").encode() + b"\n" + ROW.encode(), "no column 'said'"),
    "a name twice": (HEADER.replace("other", "age").encode() + b"\n" + ROW.encode(), "'age' occurs twice"),
    "damaged Parquet": (b"PAR1 and nothing more", "damaged Parquet"),
}


@pytest.mark.parametrize(("content", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_cannot_be_sent_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, content)
