"""The segments of windows that are cut in time are those of a snapshot, for numbers too."""

import numpy as np
import pytest

from model.alarms.window_values import measure_windows, model_of
from model.artifact.manifest import LABEL
from model.statistics.segments import score_segment, segment_frames, segments_of
from tests.unit.evidently_workspace.regression_model import build_regression_manifest, build_regression_rows

HOUR = 3_600
MANY = [f"shop {number}" for number in range(15)]


def test_each_window_has_the_segments_of_its_rows() -> None:
    manifest = build_regression_manifest().model_copy(update={"segments": ("colour", "shop"), "metadata": ("shop",)})
    rng = np.random.default_rng(0)

    def rows(count: int, seed: int):
        found = build_regression_rows(manifest, count, seed=seed)
        return found.assign(**{"segment: shop": rng.choice([*MANY, None], count)})

    reference, current = rows(800, 1), rows(900, 2)
    current.loc[current.index % 5 == 0, LABEL] = None
    seconds = np.repeat([0.0, 5.0 * HOUR, 9.0 * HOUR], [400, 20, 480])  # the second has too few rows
    windows = measure_windows(current, seconds, HOUR, model_of(manifest, reference), segment_drift=True)
    assert windows.starts.tolist() == [0, 9 * HOUR]
    for part, found in zip((current[:400], current[420:]), windows.segments, strict=True):
        labelled = part[part[LABEL].notna()]
        frames = segment_frames(part, labelled, reference, manifest, None)
        divided = segments_of(part, labelled, reference, manifest)
        expected = [score_segment(one, frames) for column in divided for one in column]
        assert [one.label for one in found] == [one.label for one in expected]
        assert any(one.label == "shop (the rest)" for one in found)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours[3:8] == pytest.approx(theirs[3:8], nan_ok=True)
            assert ours.usual == pytest.approx(theirs.usual)
