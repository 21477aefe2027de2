"""The page of licences, held against the locks and against what is installed."""

import re

import pytest

from scripts.licences import HEAD, PAGE, licence_of, locked, read_table

TEXT = PAGE.read_text(encoding="utf-8")
TABLE = read_table(TEXT.partition(HEAD)[2])


def test_every_package_of_the_locks_that_run_has_its_licence_on_the_page() -> None:
    assert list(TABLE) == locked(), "run make licences"
    assert {"fastapi", "evidently", "litestar"} <= TABLE.keys()
    assert [package for package, licence in TABLE.items() if licence.startswith("not ")] == []


def test_a_licence_is_what_the_installed_package_says() -> None:
    installed = {package: said for package in locked() if (said := licence_of(package)) is not None}
    assert len(installed) > 80
    assert {package: TABLE[package] for package in installed} == installed, "run make licences"


@pytest.mark.parametrize("kind", ["GPL", "MPL"])
def test_a_licence_that_asks_for_more_than_its_text_is_named(kind: str) -> None:
    asking = {package for package, licence in TABLE.items() if re.search(kind, licence)}
    named = "".join(line for line in TEXT.partition(HEAD)[0].splitlines() if line.startswith("|") and kind in line)
    assert asking
    assert [package for package in sorted(asking) if not re.search(rf"\b{package}\b", named)] == []
