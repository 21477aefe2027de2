"""Each window is posted once, in order of age, whatever goes wrong: random interleavings against a real Evidently UI.

VIGIE_TEST_INTERLEAVINGS says how many are run; the default keeps the suite quick.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from api.prediction_log.database import Database, microseconds
from api.prediction_log.records import WindowStatus
from api.prediction_log.tables import predictions
from evidently_workspace.window import Window
from tests.integration.api.interleavings import REMOVING_POINTS, TAKING_POINTS, UI_FAULTS, World

INTERLEAVINGS = int(os.environ.get("VIGIE_TEST_INTERLEAVINGS", "60"))
MINUTE, HOUR, DAY = 60, 3600, 86_400

a_process = st.integers(0, 1)
a_window = st.tuples(st.just("window"), a_process, st.integers(1, 3), st.integers(0, 2), st.integers(1, 3))
trouble = st.one_of(
    st.tuples(st.just("crash_at"), a_process, st.sampled_from(TAKING_POINTS + REMOVING_POINTS)),
    st.tuples(st.just("take_over_at"), a_process, st.sampled_from(TAKING_POINTS)),
    st.tuples(st.just("break_requests"), a_process, st.lists(st.sampled_from(UI_FAULTS), min_size=1, max_size=4)),
    st.tuples(st.just("jump"), st.sampled_from([-DAY, -HOUR, -7 * MINUTE, 7 * MINUTE, HOUR, DAY, 400 * DAY])),
    st.tuples(st.just("pass_time"), st.sampled_from([17 * MINUTE, HOUR, DAY, 3 * DAY])),
    st.tuples(st.just("remove_old"), a_process),
    st.tuples(st.just("land")),
)
chapters = st.tuples(st.lists(trouble, max_size=3), a_window)
stories = st.lists(chapters, min_size=5, max_size=10)


@pytest.fixture(scope="module")
def empty_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "log.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.dispose()
    return path


@pytest.fixture(scope="module")
def happened() -> Iterator[Counter[str]]:
    """What the interleavings contained, to be shown (pytest -s) when all have run."""
    counts: Counter[str] = Counter()
    yield counts
    lines = [f"{counts.pop('interleavings', 0):,} interleavings, none lost, none doubled; in them:"]
    lines += [f"  {count:7,} {name}" for name, count in sorted(counts.items())]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


@given(story=stories)
@settings(
    max_examples=INTERLEAVINGS,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
def test_each_window_is_posted_once_in_order_of_age(
    story: list[tuple[list[tuple[object, ...]], tuple[object, ...]]],
    ui_port: int,
    empty_log: Path,
    happened: Counter[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    world = World(empty_log.parent / uuid4().hex, f"http://127.0.0.1:{ui_port}", empty_log)
    try:
        for troubles, window in story:
            for name, *arguments in (*troubles, window):
                getattr(world, str(name))(*arguments)
        world.rows(0, 1, 0)
        world.settle()
        check(world)
        happened += world.happened
        happened["interleavings"] += 1
        happened["windows posted"] += sum(window.status == WindowStatus.POSTED for window in world.windows())
        happened["rows logged"] += len(world.logged)
    finally:
        world.end()


def check(world: World) -> None:
    windows, found = world.windows(), world.in_ui()
    assert all(first.end == second.start for first, second in pairwise(windows)), "windows touch"
    assert sum(window.rows or 0 for window in windows) + still_open(world) == len(world.logged), "each row is in one"
    for window in windows:
        snapshots = found.pop(Window(window.start, window.end).key, [])
        recorded = [] if window.snapshot_id is None else [UUID(window.snapshot_id)]
        assert snapshots == recorded, f"{window} has {snapshots}"
        if window.status == WindowStatus.POSTED:
            assert recorded or window.snapshot_removed_at, f"{window} is lost"
        else:
            assert not window.rows, f"{window} was never posted"
    assert found == {}, "snapshots of no window"


def still_open(world: World) -> int:
    """Rows of the window that is still open, or that a wrong clock dated into the future."""
    last_end = world.windows()[-1].end
    with world.processes[0].database.reading() as connection:
        query = select(func.count()).where(predictions.c.logged_at >= microseconds(last_end))
        return int(connection.execute(query).scalar_one())
