"""The checks are declared once; what people read about them agrees with the declaration."""

import re
from pathlib import Path
from typing import get_args

from evidently_workspace.checks import CHECKS, CheckName

PAGE = Path(__file__).parents[4] / "docs" / "reading-reports.md"


def test_names_and_alert_names_are_unique():
    assert len({check.name for check in CHECKS}) == len({check.alertname for check in CHECKS}) == len(CHECKS)


def test_the_type_of_a_name_lists_every_check_in_order():
    assert get_args(CheckName) == tuple(check.name for check in CHECKS)


def test_the_docs_list_every_check_with_its_alert_and_severity():
    section = PAGE.read_text(encoding="utf-8").split("\n## The checks\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| `(\w+)` \| (\w+) \|$", section, re.MULTILINE)
    assert rows == [(check.name, check.alertname, check.severity) for check in CHECKS]


def test_the_docs_say_what_to_do_about_every_check():
    section = PAGE.read_text(encoding="utf-8").split("\n## What to do next\n")[1]
    assert [check.name for check in CHECKS if f"`{check.name}`" not in section] == []
