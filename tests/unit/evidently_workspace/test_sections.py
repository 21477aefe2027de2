"""Concept drift, attributions, refused requests, and windows that lack something."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from evidently_workspace.checks.data_quality import duplicate_columns, summary_table
from evidently_workspace.section import ROWS_PER_PAGE
from tests.work import counted_calls

PROBABILITIES = ["probability_a", "probability_b", "probability_c"]


def values_of(snapshot, name):
    return {value.column: value.value for value in snapshot.values if value.name == name}


def checks_of(snapshot):
    return {(check.check, check.measure) for check in snapshot.failed_checks}


def failing_tests(snapshot):
    results = json.loads(snapshot.body)["metric_results"].values()
    return [test for result in results for test in result["tests"] if test["status"] == "FAIL"]


def test_concept_drift_fires_when_labels_follow_otherwise_and_data_drift_does_not(snap, manifest, make_rows):
    flipped = snap(labelled=make_rows(manifest, 300, accuracy=0.6))
    (concept,) = (check for check in flipped.failed_checks if check.check == "concept_drift")
    assert concept.column is None
    assert concept.value == values_of(flipped, "concept_z")[None] >= concept.threshold >= 4.0
    assert values_of(flipped, "concept_gap")[None] == pytest.approx(0.3, abs=0.1)
    gap = values_of(flipped, "observed_error")[None] - values_of(flipped, "expected_error")[None]
    assert gap == pytest.approx(values_of(flipped, "concept_gap")[None])
    assert "data_drift" not in {check.check for check in flipped.failed_checks}


def test_data_drift_fires_and_concept_drift_does_not_when_only_the_inputs_move(snap, manifest, make_rows):
    moved = make_rows(manifest, 300, shift=2.0)
    fired = {check for check, _ in checks_of(snap(current=moved, labelled=moved))}
    assert "data_drift" in fired
    assert "concept_drift" not in fired


def test_a_gap_below_the_floor_is_no_alarm_however_sure_it_is(snap, manifest, make_rows):
    loose = manifest.concept_threshold.model_copy(update={"thresholds": (0.0, 0.0), "gap_floor": 0.4})
    small = snap(
        manifest.model_copy(update={"concept_threshold": loose}), labelled=make_rows(manifest, 300, accuracy=0.6)
    )
    assert "concept_drift" not in {check for check, _ in checks_of(small)}
    assert len(failing_tests(small)) == len(small.failed_checks)


def test_attributions_like_the_reference_are_quiet_and_reported_by_feature(snap, manifest, make_attributions):
    explained = make_attributions(manifest)
    quiet = snap(attributions=explained)
    assert quiet.failed_checks == ()
    expected = dict(zip(manifest.feature_names, explained.mean(axis=0), strict=True))
    assert values_of(quiet, "attribution") == pytest.approx(expected)
    assert values_of(quiet, "attribution_ndcg")[None] > 0.99
    assert "How to read this: each bar" in quiet.html


def test_another_ranking_of_the_features_fails_both_statistics_and_evidently_agrees(snap, manifest, make_attributions):
    turned = snap(attributions=make_attributions(manifest)[:, ::-1])
    assert checks_of(turned) == {("attribution_drift", "ndcg"), ("attribution_drift", "distance")}
    by_measure = {check.measure: check for check in turned.failed_checks}
    assert by_measure["ndcg"].value < by_measure["ndcg"].threshold == 0.9
    assert by_measure["distance"].value >= by_measure["distance"].threshold == manifest.attribution_threshold.at(200)
    assert len(failing_tests(turned)) == 2


def test_a_shifted_weight_in_the_same_order_fails_the_distance_alone(snap, manifest, make_attributions):
    heavier = snap(attributions=make_attributions(manifest) * [6, 1, 1, 1])
    assert checks_of(heavier) == {("attribution_drift", "distance")}


@pytest.mark.parametrize(
    ("changed", "passed", "reason"),
    [
        ({}, {"attributions_missing": "the sample could not be explained"}, "the sample could not be explained"),
        ({"attributions": None, "attributions_missing": "no trees"}, {}, "no trees"),
        ({}, {"attributions": np.ones((5, 4))}, "not enough data (5 of at least 30 explained rows)"),
        ({}, {"attributions": np.full((60, 4), np.nan)}, "not a number"),
    ],
)
def test_attributions_that_are_missing_say_why_and_cost_nothing_else(snap, manifest, changed, passed, reason):
    partial = snap(manifest.model_copy(update=changed), **({"attributions": None} | passed))
    (text,) = partial.not_computed
    assert text.startswith("attributions: ")
    assert reason in text
    assert "accuracy" in {value.name for value in partial.values}
    assert "attribution" not in {value.name for value in partial.values}


def test_refused_requests_are_shown_by_reason_even_when_no_row_came_through(snap, manifest, make_rows):
    nothing = make_rows(manifest, 0)
    refused = snap(
        current=nothing, labelled=nothing, attributions=None, rejected_requests={"missing": 7, "json_invalid": 0}
    )
    assert values_of(refused, "rejected_requests") == {"all reasons": 7.0, "missing": 7.0}
    assert json.loads(refused.body)["metadata"]["rejected_requests"] == "missing: 7"
    assert "Rejected requests" in refused.html


def test_labels_without_probabilities_are_scored_as_far_as_classes_go(snap, manifest, make_rows):
    rows = make_rows(manifest, 200, seed=2)
    whole, bare = snap(labelled=rows), snap(labelled=rows.assign(**dict.fromkeys(PROBABILITIES, np.nan)))
    for name in ("accuracy", "precision", "recall", "f1", "target_drift"):
        assert values_of(bare, name) == values_of(whole, name)
    for name in ("roc_auc", "log_loss", "calibration_error", "concept_z"):
        assert values_of(bare, name) == {}
    assert [text.split(":")[0] for text in bare.not_computed] == ["concept drift", "performance"]
    assert "0 of at least 30 labels have probabilities" in bare.html


def test_some_labels_without_probabilities_leave_the_others_in_every_score(snap, manifest, make_rows):
    rows = make_rows(manifest, 200, seed=2)
    rows.loc[:49, PROBABILITIES] = np.nan
    partial = snap(labelled=rows)
    assert partial.not_computed == ()
    wrong = (rows.label != rows.prediction)[50:]
    assert values_of(partial, "observed_error")[None] == pytest.approx(wrong.mean())


def test_probability_columns_that_are_not_there_count_as_missing(snap, manifest, make_rows):
    without = snap(labelled=make_rows(manifest, 200, seed=2).drop(columns=PROBABILITIES))
    assert values_of(without, "accuracy") != {}
    assert values_of(without, "log_loss") == {}


def test_no_labels_leave_what_needs_none(snap, manifest, make_rows):
    unlabelled = snap(labelled=make_rows(manifest, 0))
    assert {text.split(":")[0] for text in unlabelled.not_computed} == {
        "target drift",
        "concept drift",
        "performance",
    }
    assert values_of(unlabelled, "labelled_share") == {None: 0.0}
    assert set(values_of(unlabelled, "data_drift")) == set(manifest.feature_names)


def test_a_sampled_window_tells_the_share_of_labels_of_all_its_rows(snap):
    assert values_of(snap(sampled_fraction=0.25), "labelled_share") == {None: 0.25}


def test_duplicate_columns_are_those_that_comparing_all_pairs_finds() -> None:
    rng = np.random.default_rng(0)
    kinds = [[0.0, -0.0, 1.0, np.nan, np.inf, -np.inf], ["a", "b", None], [0, 1], ["x"]]
    for rows in range(1, 40):
        columns = {
            f"c{place}": pd.Series(rng.choice(np.array(kinds[place % 4], dtype=object), rows)) for place in range(12)
        }
        columns = {name: one.astype("float64") if int(name[1:]) % 4 == 0 else one for name, one in columns.items()}
        frame = pd.DataFrame(columns | {f"again_{name}": columns[name] for name in ("c0", "c1", "c6")})
        pairs = [f"{one} = {other}" for one, other in combinations(frame, 2) if frame[one].equals(frame[other])]
        assert duplicate_columns(frame) == pairs


def test_constant_and_duplicate_columns_are_named(snap, manifest, make_rows):
    rows = make_rows(manifest, 200, seed=1)
    odd = snap(current=rows.assign(x1=rows.x0, member="True"))
    assert values_of(odd, "duplicated_columns") == {None: 1.0}
    assert values_of(odd, "constant_columns") == {None: 1.0}
    tables = json.dumps(json.loads(odd.body)["widgets"])
    assert '["x0 = x1", "duplicate", "no"]' in tables
    assert '["member", "constant", "no"]' in tables


def test_the_commonest_new_categories_are_listed_and_the_rest_counted(snap, manifest, make_rows):
    rows = make_rows(manifest, 200, seed=1)
    rows.loc[:59, "colour"] = ["teal"] * 30 + ["x" * 90] * 10 + [f"shade {n}" for n in range(20)]
    tables = json.dumps(json.loads(snap(current=rows).body)["widgets"], ensure_ascii=False)
    assert "'teal' (30)" in tables
    assert "and 17 more" in tables
    assert "x" * 41 not in tables


def test_thousands_of_made_up_categories_change_no_distance_and_draw_few_bars(snap, manifest, make_rows):
    rows = make_rows(manifest, 3_000, seed=1)
    one, many = rows.copy(), rows.copy()
    one.loc[:1_999, "colour"] = "teal"
    many.loc[:1_999, "colour"] = [f"shade {n}" for n in range(2_000)]
    one, many = snap(current=one), snap(current=many)
    assert values_of(many, "data_drift")["colour"] == pytest.approx(values_of(one, "data_drift")["colour"])
    assert b"1,995 other new values" in many.body
    assert many.body.count(b"shade ") < 50


def test_what_somebody_sends_as_a_category_cannot_end_the_script_of_the_page(snap, manifest, make_rows):
    hostile = "</script><script>window.taken = 1</script>"
    page = snap(current=make_rows(manifest, 60).assign(colour=hostile)).html
    assert "window.taken" in page
    assert hostile not in page
    assert "</script><script>window" not in page


@pytest.fixture(scope="module")
def wide(snap, make_manifest, make_rows):
    """A window at the limit of rows that callers sample to, of a model with thirty features, and its function calls."""
    model = make_manifest(numbers=28)
    current, labelled = make_rows(model, 20_000, seed=1), make_rows(model, 20_000, seed=2)
    current["x27"] += 3.0
    return counted_calls(lambda: snap(model, current=current, labelled=labelled, sampled_fraction=0.2))


def test_twenty_thousand_rows_of_thirty_columns_take_few_calls_a_row(wide):
    assert wide[1] < 400 * 20_000


def test_a_wide_model_has_every_column_in_its_table_and_figures_of_the_furthest(wide):
    taken, _ = wide
    (table,) = (widget for widget in json.loads(taken.body)["widgets"] if "columns drifted" in widget["title"])
    assert table["title"].endswith(" of 30 columns drifted; figures of the 12 furthest from the reference")
    rows = table["params"]["data"]
    assert len(rows) == 30
    assert rows[0]["Column"] == "x27"
    assert ["details" in row for row in rows] == [True] * 12 + [False] * 18
    assert len(taken.body) < 1_000_000


def test_a_table_of_hundreds_of_columns_has_pages_and_begins_with_what_moved_most(make_manifest, make_rows):
    model = make_manifest(numbers=120)
    reference, current = (make_rows(model, 60, seed=seed) for seed in (1, 2))
    current["x77"] += 3.0
    table = summary_table(current, reference, model)
    assert table.params["data"][0]["Column"] == "x77"
    assert (table.params["rowsPerPage"], len(table.params["data"])) == (ROWS_PER_PAGE, 122)
    assert "search for a column" in table.title
    few = make_manifest()
    short = summary_table(make_rows(few, 60), make_rows(few, 60), few)
    assert [row[0] for row in short.params["data"]] == list(few.feature_names)


def test_as_many_long_categories_as_rows_make_neither_snapshot_nor_report_grow(snap, manifest, make_rows):
    few = make_rows(manifest, 5_000, seed=9)
    many = few.assign(colour=[f"{number}{'é<' * 497}" for number in range(len(few))])
    plain, hostile = (snap(manifest, rows, rows.head(0)) for rows in (few, many))
    # all of them would be 5 MB
    assert len(hostile.body) < len(plain.body) + 100_000
    assert len(hostile.html) < len(plain.html) + 100_000


def test_how_columns_go_together_is_a_figure_without_an_alarm(snap, manifest, make_rows):
    window = make_rows(manifest, 300, seed=4)
    usual = snap(manifest, window)
    mirrored = snap(manifest, window.assign(x1=window["x0"]))

    (before,), (after,) = (
        [one.value for one in found.values if one.name == "joint_drift"] for found in (usual, mirrored)
    )
    assert before < 0.6 < after
    assert mirrored.failed_checks == usual.failed_checks
    assert "How columns go together" in mirrored.html
