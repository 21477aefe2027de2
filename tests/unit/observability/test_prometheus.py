"""Prometheus' configuration and rules, asked of promtool."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability import PROMETHEUS, ROOT, RULES, alerts, read_yaml, rules
from tests.unit.observability.alert_cases import CASES, Case, Series

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on this machine (Debian: apt-get install prometheus)"
)
SUBJECTS = {"api", "containers", "host", "monitors"}


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_the_rules_are_sound() -> None:
    assert "SUCCESS" in promtool("check", "config", str(PROMETHEUS))
    promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES))


def test_everything_of_the_ops_view_is_scraped() -> None:
    jobs = {job["job_name"]: job for job in read_yaml(PROMETHEUS)["scrape_configs"]}
    targets = {name: job["static_configs"][0]["targets"] for name, job in jobs.items()}
    assert targets == {
        "api": ["api:8000"],
        "cadvisor": ["cadvisor:8080"],
        "node-exporter": ["node-exporter:9100"],
        "alertmanager": ["alertmanager:9093"],
        "grafana": ["grafana:3000"],
        "prometheus": ["localhost:9090"],
    }


def test_no_rule_is_about_the_model() -> None:
    for rule in rules():
        assert not re.search(r"(?i)drift|accuracy", rule["expr"]), rule


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_bad_it_is_what_to_do_and_where_to_look(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in {"critical", "warning"} or name == "Watchdog"
    assert alert["labels"]["subject"] in SUBJECTS
    annotations = alert["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard"}
    assert re.search(r"[:;] .+\.$", annotations["summary"]), "a summary ends with what to do"
    page, anchor = annotations["runbook_url"].split("#")
    headings = re.findall(r"^#+ (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(alerts())
    for case in CASES:
        assert (case.pending_at is None) == ("for" not in alerts()[case.alert]), case.alert


def scenario(interval: str, series: Series, story: dict[str, list[tuple[str, bool]]]) -> dict[str, Any]:
    """Expect expressions, at some times, to have a sample or none."""
    checks = [
        {"expr": expression, "eval_time": time, "exp_samples": [{"labels": "{}", "value": 1}] * some}
        for time, expected in story.items()
        for expression, some in expected
    ]
    return {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": checks,
    }


def scenarios(case: Case) -> dict[str, dict[str, Any]]:
    def in_state(state: str) -> str:
        return f'group(ALERTS{{alertname="{case.alert}", alertstate="{state}"}})'

    firing, pending = in_state("firing"), in_state("pending")
    at = case.fires_at
    story = {at: [(firing, True)]}
    if case.pending_at is not None:
        story[case.pending_at] = [(pending, True), (firing, False)]
    found = {
        "fires after it has waited": scenario(case.interval, case.faulty, story),
        "series are missing": scenario(case.interval, {}, {"10m": [(firing, not case.silent)]}),
    }
    if case.alert != "Watchdog":
        found["stays quiet"] = scenario(case.interval, case.quiet, {at: [(firing, False)]})
    return found


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What promtool says of each alert's file, all of them in one run."""
    folder = tmp_path_factory.mktemp("rules")
    files = [rule_test(folder, case) for case in CASES]
    # it makes much garbage in a short life
    environment = os.environ | {"GOGC": "800"}
    command = ["promtool", "test", "rules", *map(str, files)]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=250, env=environment
    )
    sections = done.stdout.split("Unit Testing:")[1:]
    return {Path(name.strip()).stem: verdict for name, _, verdict in (one.partition("\n") for one in sections)}


def rule_test(folder: Path, case: Case) -> Path:
    """Write promtool's test of one alert."""
    # Prometheus evaluates groups side by side, so an alert may see what was recorded a round before: the later case is
    # tested. Without an order promtool would shuffle them.
    groups = list(dict.fromkeys([alerts()[case.alert]["labels"]["subject"], "requests"]))
    rules_of_case = folder / f"{case.alert}-rules.yml"
    rules_of_case.write_text(yaml.safe_dump({"groups": list(rule_groups(groups, case.alert))}), encoding="utf-8")
    content = {
        "rule_files": [str(rules_of_case)],
        "group_eval_order": groups,
        "evaluation_interval": case.interval,
        "tests": [{"name": name, **test} for name, test in scenarios(case).items()],
    }
    file = folder / f"{case.alert}.yml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def rule_groups(names: list[str], alert: str) -> Iterator[dict[str, Any]]:
    """Return the shipped groups of these files without the other alerts, which would take most of the time."""
    for path in RULES:
        if path.stem in names:
            for group in read_yaml(path)["groups"]:
                yield group | {"rules": [rule for rule in group["rules"] if rule.get("alert", alert) == alert]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_it_fires_stays_quiet_waits_and_survives_missing_series(case: Case, verdicts: dict[str, str]) -> None:
    assert verdicts[case.alert].strip() == "SUCCESS", verdicts[case.alert]
