"""Cells of text: what is missing, how numbers are written, and which class a label means."""

import pytest

from model.data.cells import Ambiguity, KnownClasses, Reading, cell_value, number_reading, parse_number, read_number


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("$107,700", 107_700, 107.7),
        ("2,409.50", 2_409.5, None),
        ("2.409,50", None, 2_409.5),
        ("1 234 567", 1_234_567, 1_234_567),
        ("1'234.5", 1_234.5, None),
        ("1,00,000", 100_000, None),
        ("(1,234.50)", -1_234.5, None),
        ("-$5", -5, -5),
        ("5 EUR", 5, 5),
        ("€ 12,5", None, 12.5),
        ("12.1%", 12.1, None),
        ("1e5", 100_000, 100_000),
        ("1,2,3", None, None),
        ("12.11.2020", None, None),
        ("(5", None, None),
        ("-", None, None),
        ("", None, None),
        ("nan", None, None),
        ("1e300", None, None),
        ("$" + "9" * 400, None, None),
        ("five", None, None),
    ],
)
def test_a_number_is_read_in_the_notation_of_its_column(text: str, point: float | None, comma: float | None) -> None:
    assert parse_number(text, "point") == point
    assert parse_number(text, "comma") == comma


@pytest.mark.parametrize(
    ("text", "hours"),
    [("07:15", 7.25), ("7:15 pm", 19.25), ("12:00 am", 0.0), ("00:00:36", 0.01), ("24:00", 24.0), ("24:01", None)],
)
def test_a_time_of_day_is_read_as_hours(text: str, hours: float | None) -> None:
    assert parse_number(text, "time") == hours


@pytest.mark.parametrize(
    ("texts", "guess", "notation", "unit"),
    [
        (["1", "2.5"], None, None, None),
        (["2,409", "12,5"], None, "comma", None),
        (["2,409", "1500.5"], None, "point", None),
        (["2,409", "3,100"], ".", "point", None),
        (["2,409", "3,100"], ",", "comma", None),
        (["$5", "7"], None, "point", "$"),
        (["5%", "0", "7.5%"], None, "point", "%"),
        (["07:15", "23:59"], None, "time", "h"),
    ],
)
def test_the_notation_of_a_column_is_the_one_that_all_of_its_numbers_have(
    texts: list[str], guess: str | None, notation: str | None, unit: str | None
) -> None:
    reading = number_reading(texts, None, guess=guess)
    assert isinstance(reading, Reading)
    assert (reading.notation, reading.unit) == (notation, unit)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["2,409", "3,100"], "'2,409' may be 2,409 or 2.409"),
        (["$5", "€5"], "several units ($, €)"),
        (["5%", "2"], "several units (%, none)"),
    ],
)
def test_numbers_that_may_be_others_are_ambiguous(texts: list[str], why: str) -> None:
    reading = number_reading(texts, None)
    assert isinstance(reading, Ambiguity)
    assert why in reading.why


def test_a_known_mark_before_fractions_decides() -> None:
    assert number_reading(["2,409"], ".") == Reading("point", None, "numbers with marks between thousands")
    assert number_reading(["2.409"], ",") == Reading("comma", None, "numbers with a decimal comma")
    assert number_reading(["2,409"], ",") == Reading("comma", None, "numbers with a decimal comma")


def test_a_cell_means_the_same_with_blanks_around_it_and_in_any_case() -> None:
    assert [cell_value(text) for text in (" Retail sale ", "NA", " n/a", "", "None")] == [
        "Retail sale",
        None,
        None,
        None,
        "None",
    ]


def test_a_value_of_another_json_type_is_left_for_validation() -> None:
    assert read_number(True, {"-"}, "point") is True
    assert read_number("about 5", {"-"}, "point") == "about 5"
    assert read_number(" - ", {"-"}, "point") is None


@pytest.mark.parametrize(
    ("classes", "labels", "places"),
    [
        ((0, 1), [1, 1.0, "1", "1.0", " 0 ", True, 0.5, "one"], [1, 1, 1, 1, 0, None, None, None]),
        (("0.0", "1.0"), [1, 1.0, "1", "1.0", False], [1, 1, 1, 1, None]),
        (("01", "1"), [1, "1", "01", 1.0, "1.0"], [1, 1, 0, None, None]),
        ((False, True), [True, "true", "False", 1, "yes"], [1, 1, 0, None, None]),
        (("no", "yes"), ["yes", "Yes", "no ", 1, True, "nan"], [1, None, 0, None, None, None]),
    ],
)
def test_a_label_means_the_class_that_it_equals_as_text_or_as_a_number(
    classes: tuple[int | str, ...], labels: list[object], places: list[int | None]
) -> None:
    known = KnownClasses(classes)
    assert [known.place(label) for label in labels] == places  # type: ignore[arg-type]
