from typing import Any

import pytest

from scripts.audit import read_answer

SOUND = {"name": "a", "version": "1", "vulns": []}
HOLE = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([SOUND], 0, "no known holes in 1 packages"),
        ([SOUND, HOLE, SKIPPED], 1, "b 2: PYSEC-1, mended in 3"),
        ([SOUND, SKIPPED], 2, "not audited: 1 of 2: Dependency not found on PyPI"),
    ],
)
def test_a_package_that_could_not_be_asked_about_is_not_sound(
    packages: list[dict[str, Any]], status: int, says: str
) -> None:
    found, text = read_answer(packages).verdict()
    assert found == status
    assert says in text
