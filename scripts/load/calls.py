"""The requests of a load, made from a scenario's rows: bodies, and which rows get a label later."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice

import numpy as np
import orjson

from scripts.load.pool import LabelValue
from scripts.load.scenarios import Sample

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
FEEDBACK = "/feedback"


class Expectation(Enum):
    """The answer of a correct API."""

    SUCCESS = "200"
    REFUSAL = "4xx with a problem document"
    UNKNOWN_ID = "200 that lists the prediction id as unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    `kinds` has the kind of each row; a malformed request counts as one row. `labels` has one entry per row, None
    where no label will follow.
    """

    path: str
    body: bytes
    kinds: tuple[str, ...]
    labels: tuple[LabelValue | None, ...] = ()
    expected: Expectation = Expectation.SUCCESS


def prediction_calls(samples: Iterator[Sample], *, batch: int, label_share: float, seed: int) -> Iterator[Call]:
    """Yield requests of `batch` rows each, without end if the samples have none.

    A batch of 1 goes to the single-row endpoint. The seed and the row's place in the stream
    decide which rows get labels, so the answers of the API do not matter.
    """
    rng = np.random.default_rng((seed, 5))
    while rows := list(islice(samples, batch)):
        labelled = rng.random(len(rows)) < label_share
        yield Call(
            PREDICT if batch == 1 else PREDICT_BATCH,
            orjson.dumps(rows[0].row if batch == 1 else {"rows": [sample.row for sample in rows]}),
            tuple(sample.kind for sample in rows),
            tuple(sample.label if chosen else None for sample, chosen in zip(rows, labelled, strict=True)),
        )
