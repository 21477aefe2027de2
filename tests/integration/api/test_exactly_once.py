"""Each window is posted once, oldest first, through any errors: random interleavings against a real Evidently UI.

VIGIE_TEST_INTERLEAVINGS says how many are run of one model on SQLite, and a quarter of that on PostgreSQL and of three
models; the default keeps the suite quick. `pytest -s` shows what they contained.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from api.prediction_log.database import Database, microseconds
from api.prediction_log.records import WindowRecord, WindowStatus
from api.prediction_log.tables import predictions
from evidently_workspace.window import Window
from tests.integration.api.interleavings import REMOVING_POINTS, UI_FAULTS, WINDOW_JOB_POINTS, World
from tests.postgres import MIGRATED, MISSING, drop_database, fresh_database

INTERLEAVINGS = int(os.environ.get("VIGIE_TEST_INTERLEAVINGS", "40"))
MINUTE, HOUR, DAY = 60, 3600, 86_400

a_process = st.integers(0, 1)
a_window = st.tuples(st.just("window"), a_process, st.integers(1, 3), st.integers(0, 2), st.integers(1, 3))
an_error = st.one_of(
    st.tuples(st.just("crash_at"), a_process, st.sampled_from(WINDOW_JOB_POINTS + REMOVING_POINTS)),
    st.tuples(st.just("take_over_at"), a_process, st.sampled_from(WINDOW_JOB_POINTS), st.none()),
    st.tuples(
        st.just("take_over_at"), a_process, st.sampled_from(WINDOW_JOB_POINTS), st.sampled_from(["posted", "recording"])
    ),
    st.tuples(st.just("break_requests"), a_process, st.lists(st.sampled_from(UI_FAULTS), min_size=1, max_size=4)),
    st.tuples(st.just("break_posts"), a_process, st.lists(st.sampled_from(UI_FAULTS), min_size=1, max_size=2)),
    st.tuples(st.just("break_posts"), a_process, st.lists(st.sampled_from(UI_FAULTS), min_size=1, max_size=2)),
    st.tuples(st.just("jump"), st.sampled_from([-DAY, -HOUR, -7 * MINUTE, 7 * MINUTE, HOUR, DAY, 400 * DAY])),
    st.tuples(st.just("pass_time"), st.sampled_from([17 * MINUTE, HOUR, DAY, 3 * DAY])),
    st.tuples(st.just("remove_old"), a_process),
    st.tuples(st.just("land")),
)
MODELS = 3
of_several = st.lists(st.integers(1, MODELS), min_size=1, max_size=MODELS, unique=True).map(tuple)
a_window_of_several = st.tuples(
    st.just("window"), a_process, st.integers(1, 3), st.integers(0, 2), st.integers(1, 3), of_several
)
an_error_of_several = st.one_of(
    an_error,
    st.tuples(st.just("break_artifact"), st.integers(1, MODELS)),
    st.tuples(st.just("break_artifact"), st.integers(1, MODELS)),
    st.tuples(st.just("mend_artifact")),
)


@dataclass(frozen=True)
class Story:
    """Windows, each after some errors; then days that pass, with errors while old data are removed."""

    chapters: list[tuple[list[tuple[object, ...]], tuple[object, ...]]]
    days: int
    errors_of_age: list[str]


def stories(
    error: st.SearchStrategy[tuple[object, ...]], window: st.SearchStrategy[tuple[object, ...]]
) -> st.SearchStrategy[Story]:
    return st.builds(
        Story,
        st.lists(st.tuples(st.lists(error, max_size=3), window), min_size=5, max_size=10),
        st.integers(1, 9),
        st.lists(st.sampled_from(REMOVING_POINTS + UI_FAULTS), max_size=4),
    )


@dataclass(frozen=True)
class Ground:
    """Where worlds are made, and what happened in them."""

    ui_url: str
    folder: Path
    new_log: Callable[[str], str]
    drop_log: Callable[[str], None]
    happened: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worlds")


def show(ground: Ground, kind: str) -> None:
    counts = ground.happened
    alone, together = (counts.pop(name, 0) for name in ("interleavings", "interleavings of three models"))
    lines = [f"{alone:,} interleavings of one model and {together:,} of three on {kind}: none lost, none doubled;"]
    lines += [f"  {count:7,} {name}" for name, count in sorted(counts.items())]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def on_sqlite(ui_port: int, folder: Path) -> Iterator[Ground]:
    empty = folder / "empty.db"
    database = Database(f"sqlite:///{empty}")
    database.migrate()
    database.dispose()  # the last connection to close empties the write-ahead log into the file

    def new_log(name: str) -> str:
        return f"sqlite:///{shutil.copy(empty, folder / name)}"

    ground = Ground(f"http://127.0.0.1:{ui_port}", folder, new_log, lambda name: (folder / name).unlink())
    yield ground
    show(ground, "SQLite")


@pytest.fixture(scope="module")
def on_postgres(ui_port: int, folder: Path, postgres: str | None) -> Iterator[Ground]:
    if postgres is None:
        pytest.skip(MISSING)
    ground = Ground(
        f"http://127.0.0.1:{ui_port}",
        folder,
        lambda name: fresh_database(postgres, name, MIGRATED),
        lambda name: drop_database(postgres, name),
    )
    yield ground
    show(ground, "PostgreSQL")


def interleaved(count: int, models: int = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on that many stories, the same ones at every run."""
    told = stories(an_error, a_window) if models == 1 else stories(an_error_of_several, a_window_of_several)
    each = settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: pytest.mark.timeout(60 + 20 * count)(given(story=told)(each(test)))


@interleaved(INTERLEAVINGS)
def test_each_window_is_posted_once_in_order_of_age_on_sqlite(on_sqlite: Ground, story: Story) -> None:
    play(on_sqlite, story)


@interleaved(INTERLEAVINGS // 4)
def test_each_window_is_posted_once_in_order_of_age_on_postgresql(on_postgres: Ground, story: Story) -> None:
    play(on_postgres, story)


@interleaved(INTERLEAVINGS // 4, MODELS)
def test_each_window_of_each_of_several_models_is_posted_once_on_sqlite(on_sqlite: Ground, story: Story) -> None:
    play(on_sqlite, story, MODELS)


@interleaved(INTERLEAVINGS // 8, MODELS)
def test_each_window_of_each_of_several_models_is_posted_once_on_postgresql(on_postgres: Ground, story: Story) -> None:
    play(on_postgres, story, MODELS)


def play(ground: Ground, story: Story, models: int = 1) -> None:
    name = f"world_{uuid4().hex}"
    world = World(ground.ui_url, ground.new_log(name), ground.folder / f"{name}-reports", models)
    try:
        for errors, window in story.chapters:
            for what, *arguments in (*errors, window):
                getattr(world, str(what))(*arguments)
        world.settle()
        check(world)
        ground.happened["windows posted"] += sum(one.status == WindowStatus.POSTED for one in all_windows(world))
        world.age(story.days, story.errors_of_age)
        check(world)
        ground.happened["windows thinned"] += sum(one.snapshot_removed_at is not None for one in all_windows(world))
        ground.happened["rows logged"] += len(world.logged)
        ground.happened["interleavings" if models == 1 else "interleavings of three models"] += 1
        ground.happened.update(world.happened)
    finally:
        world.end()
        ground.drop_log(name)


def all_windows(world: World) -> list[WindowRecord]:
    return [window for model_id in world.model_ids for window in world.windows(model_id)]


def check(world: World) -> None:
    assert world.overtakings == [], "windows of a model are posted in order of age"
    for model_id in world.model_ids:
        check_model(world, model_id)


def check_model(world: World, model_id: int) -> None:
    windows, found = world.windows(model_id), world.in_ui(model_id)
    logged = world.logged_of(model_id)
    assert all(first.end == second.start for first, second in pairwise(windows)), "windows touch"
    in_windows = sum(window.rows or 0 for window in windows)
    assert in_windows + still_open(world, windows, model_id) == len(logged), "each row is in one"
    for window in windows:
        snapshots = found.pop(Window(window.start, window.end).key, [])
        recorded = [] if window.snapshot_id is None else [UUID(window.snapshot_id)]
        assert snapshots == recorded, f"{window} has {snapshots}"
        if window.status == WindowStatus.POSTED:
            assert recorded or window.snapshot_removed_at, f"{window} is lost"
        else:
            assert not window.rows, f"{window} was never posted"
    assert found == {}, "snapshots of no window"


def still_open(world: World, windows: list[WindowRecord], model_id: int) -> int:
    """Rows of the window that is still open, or that a wrong clock dated into the future."""
    last_end = microseconds(windows[-1].end) if windows else 0
    of_model = predictions.c.model_id == model_id
    query = select(func.count()).where(of_model, predictions.c.logged_at >= last_end)
    with world.processes[0].database.reading() as connection:
        return int(connection.execute(query).scalar_one())
