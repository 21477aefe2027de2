"""The launcher's options, and its warning about a version of Evidently that it was not checked with."""

import pytest

from evidently_workspace.ui.__main__ import EVIDENTLY_VERSION, warn_of_another_version
from evidently_workspace.ui.options import FIGURES_DAYS, FIGURES_VARIABLE, PANEL_POINTS, POINTS_VARIABLE, build_parser


def test_another_version_of_evidently_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_another_version("99.1.0")
    assert "Evidently 99.1.0 is installed" in caplog.text
    assert EVIDENTLY_VERSION in caplog.text


def test_the_checked_version_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_another_version(EVIDENTLY_VERSION)
    assert caplog.records == []


@pytest.mark.parametrize("empty", [{}, {FIGURES_VARIABLE: "", POINTS_VARIABLE: ""}])
def test_without_options_and_variables_the_defaults_apply(empty: dict[str, str]) -> None:
    options = build_parser(empty).parse_args([])
    assert (options.figures_days, options.panel_points) == (FIGURES_DAYS, PANEL_POINTS)


def test_an_option_takes_precedence_over_its_variable() -> None:
    environment = {FIGURES_VARIABLE: "2.5", POINTS_VARIABLE: "50"}
    options = build_parser(environment).parse_args(["--panel-points", "70"])
    assert (options.figures_days, options.panel_points) == (2.5, 70)


def test_a_variable_that_is_not_a_number_is_refused_with_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser({POINTS_VARIABLE: "many"}).parse_args([])
    assert "'many' is neither 0 nor a whole number" in capsys.readouterr().err
