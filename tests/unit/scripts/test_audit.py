from typing import Any

import pytest

from scripts.audit import read_results

SAFE = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([SAFE], 0, "no known vulnerabilities in 1 packages"),
        ([SAFE, VULNERABLE, SKIPPED], 1, "b 2: PYSEC-1, fixed in 3"),
        ([SAFE, SKIPPED], 2, "not audited: 1 of 2: Dependency not found on PyPI"),
    ],
)
def test_a_package_that_was_not_looked_up_is_not_called_safe(
    packages: list[dict[str, Any]], status: int, says: str
) -> None:
    found, text = read_results(packages).verdict()
    assert found == status
    assert says in text
