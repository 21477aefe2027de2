"""Saved pipelines: those of an earlier version name modules that are elsewhere now, and still load."""

import sys
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import Feature
from model.artifact.pickles import FORMER_MODULES, load_pipeline
from model.data.encoding import pipeline_input
from model.training.transformers import EmptyColumnsFilled, PandasCompatibility

SAVED_BEFORE = (Path(__file__).parent / "saved_before.joblib").read_bytes()
"""What the version before wrote with joblib: two steps, a column and a function."""


def test_what_the_version_before_saved_loads_as_what_it_is_now() -> None:
    saved = load_pipeline(SAVED_BEFORE)
    assert [type(saved[name]) for name in ("frame", "fill")] == [PandasCompatibility, EmptyColumnsFilled]
    assert saved["columns"] == [Feature(name="member", type="boolean", nullable=True, example=True)]
    assert saved["function"] is pipeline_input


def test_a_step_that_the_version_before_saved_still_works() -> None:
    rows = pd.DataFrame({"member": ["True", "", "False"]}, dtype=object)
    given = load_pipeline(SAVED_BEFORE)["frame"].transform(rows)["member"]
    assert given.tolist()[::2] == [True, False]
    assert np.isnan(given[1])


def test_the_former_modules_are_there_only_while_a_pipeline_is_loaded() -> None:
    load_pipeline(SAVED_BEFORE)
    with pytest.raises(EOFError):
        load_pipeline(b"")
    assert not FORMER_MODULES.keys() & sys.modules.keys()
    with pytest.raises(ModuleNotFoundError):
        import_module("model.natural_frame")


def test_threads_may_load_at_the_same_time() -> None:
    loaded: list[Any] = []
    threads = [Thread(target=lambda: loaded.append(load_pipeline(SAVED_BEFORE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8


@pytest.mark.parametrize("modules", FORMER_MODULES.values())
def test_the_modules_of_the_table_exist(modules: tuple[str, ...]) -> None:
    assert all(import_module(module) for module in modules)
