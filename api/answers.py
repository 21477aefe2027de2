"""Owns what is made of the model's answer to a row: the record that is logged, and the JSON that is sent."""

from collections.abc import Sequence
from random import SystemRandom

import numpy as np
import orjson
import uuid_utils

from api.prediction_log.records import PredictionRecord
from model.manifest import Manifest, Value
from model.predictor import Predictor

PROBABILITY_DECIMALS = 6
"""The served model computes in single precision, which carries no more than these."""

Row = Sequence[Value]
"""The values of one row, in the order of the schema."""


class Answers:
    """Answers rows, many in one call of the model; may be shared by threads.

    Whatever of an answer does not change is encoded once, here.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        manifest = self.manifest
        self._feature_names = manifest.feature_names
        self._class_names = manifest.class_names
        self._version = manifest.version
        self._middles = [f'","prediction":{orjson.dumps(one).decode()},"probabilities":' for one in manifest.classes]
        self._end = f',"model_version":{orjson.dumps(self._version).decode()}}}'
        self._random = np.random.default_rng(SystemRandom().getrandbits(128))

    @property
    def manifest(self) -> Manifest:
        """What is known of the model."""
        return self._predictor.manifest

    def make(self, rows: Sequence[Row]) -> tuple[list[PredictionRecord], list[bytes]]:
        """Return what to log of each row, and the answer to it as JSON. Raises PredictionError."""
        probabilities = self._predictor.predict(rows)
        best = probabilities.argmax(axis=1).tolist()
        shares = probabilities.round(PROBABILITY_DECIMALS).tolist()
        keys = self._random.integers(0, 2**31, len(rows)).tolist()
        records, answers = [], []
        for row, index, share, key in zip(rows, best, shares, keys, strict=True):
            name = str(uuid_utils.uuid7())
            features = orjson.dumps(dict(zip(self._feature_names, row, strict=True))).decode()
            by_class = orjson.dumps(dict(zip(self._class_names, share, strict=True))).decode()
            records.append(PredictionRecord(name, key, self._version, features, self._class_names[index], by_class))
            answers.append(f'{{"prediction_id":"{name}{self._middles[index]}{by_class}{self._end}'.encode())
        return records, answers
