"""The maintenance of the UI's database, on SQLite and PostgreSQL."""

import asyncio
import sqlite3
import threading
import warnings
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, event

from tests.integration.evidently_workspace.projects import USER, model_of, new_project, stored

pytestmark = pytest.mark.usefixtures("imported_evidently")

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def maintenance(engine: Engine, figures_days: float | None = 7):
    from evidently_workspace.ui.maintenance import Maintenance  # noqa: PLC0415 - takes seconds

    figures_for = None if figures_days is None else timedelta(days=figures_days)
    return Maintenance(engine, figures_for, clock=lambda: NOW, pause_seconds=0)


def read(manager, project: UUID, snapshot: UUID):
    return asyncio.run(manager.load_snapshot(USER, project, snapshot)).dict()


def has_figures(snapshot) -> bool:
    kinds = [widget["type"] for widget in snapshot["widgets"]]
    return "big_graph" in kinds or any(widget["additionalGraphs"] for widget in snapshot["widgets"])


@pytest.fixture
def old_and_new(engine: Engine, snap):
    """A project with a snapshot of 23 November and one of 30 November; seen on 1 December."""
    manager, project = new_project(engine)
    body = snap(0, 200, shift=1.5).body
    return manager, project, *(asyncio.run(manager.add_snapshot(USER, project, model_of(body, n))) for n in (0, 7))


def test_an_old_snapshot_loses_its_figures_and_keeps_its_values(engine, old_and_new):
    manager, project, old, new = old_and_new
    before, points = read(manager, project, old), stored(engine, project)
    assert has_figures(before)
    maintenance(engine).run()
    after = read(manager, project, old)
    assert not has_figures(after)
    assert after["metric_results"] == before["metric_results"]
    assert after["tests_widgets"] == before["tests_widgets"]
    assert len(str(after)) < 0.7 * len(str(before))
    texts = [widget["params"] for widget in before["widgets"] if widget["type"] in {"text", "counter", "table"}]
    assert [widget["params"] for widget in after["widgets"] if widget["type"] in {"text", "counter", "table"}][
        1:
    ] == texts
    assert "have been removed" in after["widgets"][0]["params"]["text"]
    assert has_figures(read(manager, project, new))
    assert stored(engine, project) == points


def test_the_metadata_say_that_figures_are_gone_and_the_window_is_still_found(engine, old_and_new):
    manager, project, old, _ = old_and_new
    before = asyncio.run(manager.get_snapshot_metadata(USER, project, old)).metadata
    maintenance(engine).run()
    after = asyncio.run(manager.get_snapshot_metadata(USER, project, old)).metadata
    assert after == before | {"figures": "removed"} == read(manager, project, old)["metadata"]


def test_a_second_run_has_nothing_to_do(engine, old_and_new):
    manager, project, old, _ = old_and_new
    assert maintenance(engine).run().stripped >= 1
    stripped = read(manager, project, old)
    assert maintenance(engine).run().stripped == 0
    assert read(manager, project, old) == stripped


def test_figures_stay_where_the_setting_says_so_and_in_snapshots_of_others(engine, old_and_new, snap):
    manager, project, old, _ = old_and_new
    assert maintenance(engine, figures_days=None).run().stripped == 0
    assert has_figures(read(manager, project, old))
    foreign = model_of(snap(0, 200).body, metadata={})
    of_others = asyncio.run(manager.add_snapshot(USER, project, foreign))
    maintenance(engine).run()
    assert has_figures(read(manager, project, of_others))


def test_a_run_that_fails_half_way_leaves_the_snapshot_whole(engine, old_and_new):
    manager, project, old, _ = old_and_new
    before = read(manager, project, old)
    statements = []

    def cut_off(_connection, _cursor, statement, *_: object) -> None:
        statements.append(statement)
        if statement.startswith("UPDATE snapshots"):
            raise RuntimeError("the process ended here")

    event.listen(engine, "before_cursor_execute", cut_off)
    try:
        with pytest.raises(RuntimeError, match="ended here"):
            maintenance(engine).run()
    finally:
        event.remove(engine, "before_cursor_execute", cut_off)
    assert any(statement.startswith("UPDATE blobs") for statement in statements)
    assert read(manager, project, old) == before


def test_what_earlier_deletions_left_behind_is_swept_and_nothing_else(engine, old_and_new):
    from evidently.ui.service.storage.sql.models import BlobSQLModel  # noqa: PLC0415 - takes seconds
    from sqlalchemy.orm import Session  # noqa: PLC0415 - beside its use

    _, project, _, _ = old_and_new
    whole = stored(engine, project)
    with Session(engine) as session, session.begin():
        for name in (f"{project}/snapshots/{uuid4()}.json", f"{project}/data/of another kind"):
            session.add(BlobSQLModel(id=name, data=b"{}", size=2))
    if engine.dialect.name == "sqlite":
        file = engine.url.database
        with closing(sqlite3.connect(file)) as loose, loose:  # foreign keys off, as Evidently has them
            row = "SELECT project_id, ?, metric_type, params, value FROM points WHERE project_id = ? LIMIT 3"
            insert = f"INSERT INTO points (project_id, snapshot_id, metric_type, params, value) {row}"
            loose.execute(insert, [uuid4().hex, project.hex])
    assert maintenance(engine, None).run().orphans == (2 if engine.dialect.name == "sqlite" else 1)
    assert stored(engine, project) == whole | {"blobs": whole["blobs"] + 1}


def pages(file: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(file)) as connection:
        names = ("page_count", "freelist_count")
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)


@pytest.mark.parametrize("existing", [False, True])
def test_an_sqlite_file_shrinks_after_deletions_even_one_made_by_evidently_alone(tmp_path, snap, existing, monkeypatch):
    from evidently_workspace.ui.database import TunedDatabaseComponent, prepare_tables  # noqa: PLC0415 - takes seconds

    monkeypatch.setattr("evidently_workspace.ui.maintenance.SPARE_PAGES", 50)
    file = tmp_path / "evidently.db"
    if existing:
        from evidently.ui.service.storage.sql.utils import migrate_database  # noqa: PLC0415 - takes seconds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Evidently's own way of calling Alembic
            migrate_database(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    engine = TunedDatabaseComponent(url=f"sqlite:///{file}").get_engine()
    prepare_tables(engine)
    manager, project = new_project(engine)
    body = snap(0, 200).body
    posted = [asyncio.run(manager.add_snapshot(USER, project, model_of(body, n))) for n in range(12)]
    full, _ = pages(file)
    for snapshot in posted[:-1]:
        asyncio.run(manager.delete_snapshot(USER, project, snapshot))
    freed = maintenance(engine, None).run().pages_freed
    left, free = pages(file)
    assert freed > 200
    assert free <= 50
    assert left <= full - freed
    assert read(manager, project, posted[-1])
    engine.dispose()


def test_the_thread_works_beside_the_pages_and_ends_with_the_block(engine, old_and_new):
    manager, project, old, _ = old_and_new
    task = maintenance(engine)
    with task.running():
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "maintenance"]
        while has_figures(read(manager, project, old)):
            assert thread.is_alive()
    assert not thread.is_alive()
