"""What the launcher says of an Evidently that it was not checked with."""

import pytest

from evidently_workspace.ui import EVIDENTLY_VERSION, warn_of_another_version


def test_another_version_of_evidently_is_said_by_number(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_another_version("99.1.0")
    assert "Evidently 99.1.0 is installed" in caplog.text
    assert EVIDENTLY_VERSION in caplog.text


def test_the_version_that_was_checked_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_another_version(EVIDENTLY_VERSION)
    assert caplog.records == []
