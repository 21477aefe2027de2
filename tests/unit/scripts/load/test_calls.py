import json
from itertools import islice

import pytest

from scripts.load.malformed import MAX_ROWS, OVERSIZED_BYTES, bad_requests
from scripts.load.pool import ClassificationPool, Pool
from scripts.load.scenarios import FEEDBACK, PREDICT, PREDICT_BATCH, Expectation, prediction_calls, steady

KINDS = 10


def test_a_single_row_goes_to_predict_with_its_fields_at_the_top_level(either_pool: Pool) -> None:
    call = next(prediction_calls(steady(either_pool, 1), batch=1, label_share=1, seed=1))
    assert call.path == PREDICT
    assert set(json.loads(call.body)) == {"age", "income", "colour", "member"}
    assert call.labels[0] in either_pool.labels


def test_a_batch_goes_to_predict_batch_in_order(pool: Pool) -> None:
    rows = [sample.row for sample in islice(steady(pool, 1), 5)]
    call = next(prediction_calls(steady(pool, 1), batch=5, label_share=0, seed=1))
    assert call.path == PREDICT_BATCH
    assert json.loads(call.body) == {"rows": rows}
    assert call.labels == (None,) * 5


def test_labels_are_chosen_by_seed_and_share(pool: Pool) -> None:
    def chosen(seed: int) -> list[bool]:
        calls = prediction_calls(steady(pool, 1), batch=1, label_share=0.3, seed=seed)
        return [call.labels[0] is not None for call in islice(calls, 1000)]

    assert chosen(1) == chosen(1) != chosen(2)
    assert sum(chosen(1)) / 1000 == pytest.approx(0.3, abs=0.05)


def test_every_kind_of_bad_request_comes_once_before_any_comes_again(either_pool: Pool) -> None:
    assert len({call.kinds for call in islice(bad_requests(either_pool, 3), KINDS)}) == KINDS


def test_bad_requests_are_the_same_for_the_same_seed(either_pool: Pool) -> None:
    assert list(islice(bad_requests(either_pool, 3), 40)) == list(islice(bad_requests(either_pool, 3), 40))


def test_each_bad_request_is_bad_in_the_way_it_says(pool: ClassificationPool) -> None:
    bodies = {call.kinds[0]: call.body for call in islice(bad_requests(pool, 5), KINDS)}
    names = set(pool.rows[0])
    assert ["not", "a", "value"] in json.loads(bodies["wrong type"]).values()
    assert len(names - set(json.loads(bodies["missing field"]))) == 1
    assert set(json.loads(bodies["unknown field"])) - names
    assert b"NaN" in bodies["NaN or infinity"] or b"Infinity" in bodies["NaN or infinity"]
    with pytest.raises(ValueError, match=r"line 1|Expecting"):
        json.loads(bodies["not JSON"])
    assert len(bodies["oversized body"]) > OVERSIZED_BYTES
    assert len(json.loads(bodies["too many rows"])["rows"]) == MAX_ROWS + 1
    assert json.loads(bodies["label outside the classes"])["labels"][0]["label"] not in pool.classes


def test_a_label_that_is_no_number_is_a_text_or_a_boolean(regression_pool: Pool) -> None:
    calls = [
        call for call in islice(bad_requests(regression_pool, 5), 300) if call.kinds == ("label that is no number",)
    ]
    labels = [json.loads(call.body)["labels"][0]["label"] for call in calls]
    assert {type(label) for label in labels} == {str, bool}


def test_an_unknown_prediction_id_is_to_be_reported_and_all_else_refused(either_pool: Pool) -> None:
    for call in islice(bad_requests(either_pool, 5), KINDS):
        unknown = call.kinds == ("unknown prediction id",)
        assert call.expected is (Expectation.UNKNOWN_ID if unknown else Expectation.REFUSAL)
        assert not unknown or call.path == FEEDBACK
