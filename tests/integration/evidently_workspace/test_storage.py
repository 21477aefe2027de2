"""What the UI's storage adds to Evidently's, on SQLite and PostgreSQL, with the tables that it makes there."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from evidently_workspace.dashboard import build_dashboard
from tests.integration.evidently_workspace.projects import USER, model_of, new_project, stored
from tests.postgres import fresh_database

pytestmark = pytest.mark.usefixtures("imported_evidently")


@pytest.fixture(scope="module")
def filled(engine: Engine, snap) -> tuple[Engine, UUID]:
    """A project of ten snapshots, posted out of order, some with tags, gaps and parameters without a value."""
    manager, project = new_project(engine)
    bodies = [snap(n, rows).body for n, rows in ((0, 60), (1, 90), (2, 10))]
    for n in (3, 1, 0, 2, 9, 5, 4, 8, 7, 6):
        model = model_of(bodies[n % 3], n, tags=["iris", "odd"] if n % 2 else ["iris"])
        model.metadata["model"] = "a" if n < 5 else "b"
        for result in model.metric_results.values():
            if n == 4 and hasattr(result, "value"):
                result.metric_value_location.param["replace_nan"] = None
        asyncio.run(manager.add_snapshot(USER, project, model))
    return engine, project


def filters(manifest) -> list[list[dict[str, object]]]:
    names = ("tags", "metadata", "metric", "metric_labels")
    panels = [
        [{name: line[name] for name in names} for line in panel["values"]]
        for panel in build_dashboard(manifest)["panels"]
        if panel["values"]
    ]
    drift = {"tags": [], "metadata": {}, "metric": "evidently:metric_v2:ValueDrift", "metric_labels": {}}
    return [
        *panels,
        [],
        [drift],
        [drift | {"metric": "*"}],
        [drift | {"metric": "no such metric"}],
        [drift | {"tags": ["odd"]}, drift],
        [drift | {"metadata": {"model": "b"}}, drift | {"metadata": {"model": "a"}}],
        [drift | {"metadata": {"no": "such"}}],
        [drift | {"metric_labels": {"column": "petal_width"}}, drift | {"metric_labels": {"column": "label"}}],
        [drift | {"metric_labels": {"column": "petal_width", "more": "x"}}],
        [drift | {"metric_labels": {"column": "no such column"}}],
    ]


def test_a_panel_gets_what_evidently_itself_would_give_it(filled, manifest):
    from evidently.ui.service.base import SeriesFilter  # noqa: PLC0415 - takes seconds
    from evidently.ui.service.storage.sql.data import SQLDataStorage  # noqa: PLC0415 - takes seconds

    from evidently_workspace.ui.series import FilteredDataStorage  # noqa: PLC0415 - takes seconds

    engine, project = filled
    noon = datetime(2026, 11, 25, 12)  # noqa: DTZ001 - Evidently's times are naive
    some_points = 0
    for panel in filters(manifest):
        wanted = [SeriesFilter(**line) for line in panel]
        for limits in ((None, None), (noon, None), (None, noon), (noon, noon + timedelta(days=3))):
            ours, theirs = (
                asyncio.run(storage(engine).get_data_series(project, wanted, *limits)).dict()
                for storage in (FilteredDataStorage, SQLDataStorage)
            )
            assert ours["sources"] == theirs["sources"], (panel, limits)
            by_name = [sorted(answer["series"], key=str) for answer in (ours, theirs)]
            assert by_name[0] == by_name[1], (panel, limits)
            some_points += len(ours["series"])
    assert some_points > 500


def chosen(*failed: int, count: int, most: int) -> list[int]:
    """Return the numbers of the snapshots that a panel shows of `count`, some of them with failed checks."""
    from evidently_workspace.ui.series import thinned  # noqa: PLC0415 - takes seconds

    return thinned([(n, n in failed) for n in range(count)], most)


def test_a_panel_shows_all_snapshots_where_they_are_few_or_the_setting_says_so():
    assert chosen(count=100, most=100) == list(range(100))
    assert chosen(count=5_000, most=0) == list(range(5_000))


@pytest.mark.parametrize("count", [101, 150, 1_040, 3_100])
def test_of_many_snapshots_a_panel_shows_the_first_the_newest_and_some_between(count):
    shown = chosen(count=count, most=100)
    assert len(shown) == len(set(shown)) == 100
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-40:] == list(range(count - 40, count))
    steps = [later - earlier for earlier, later in pairwise(shown[1:60])]
    assert max(steps) - min(steps) <= 1


def test_of_a_group_the_snapshot_with_failed_checks_is_shown():
    quiet = chosen(count=1_040, most=100)
    lonely = next(n for n in range(200, 300) if n not in quiet)
    assert lonely in chosen(lonely, count=1_040, most=100)


@pytest.mark.parametrize("most", [6, 9, 10])
def test_what_is_read_of_chosen_snapshots_alone_is_what_is_chosen_of_all(filled, manifest, most, monkeypatch):
    from evidently.ui.service.base import SeriesFilter  # noqa: PLC0415 - takes seconds

    from evidently_workspace.ui import series  # noqa: PLC0415 - takes seconds

    engine, project = filled
    storage = series.FilteredDataStorage(engine, most)

    def answer(panel, limits):
        wanted = [SeriesFilter(**line) for line in panel]
        return asyncio.run(storage.get_data_series(project, wanted, *limits)).dict()

    noon = datetime(2026, 11, 25, 12)  # noqa: DTZ001 - Evidently's times are naive
    asked = [(panel, limits) for panel in filters(manifest) for limits in ((None, None), (noon, None), (None, noon))]
    quick = [answer(*one) for one in asked]
    monkeypatch.setattr(series, "MAX_NAMED", 0)
    assert quick == [answer(*one) for one in asked]
    assert max(len(one["sources"]) for one in quick) == most


def test_another_projects_points_are_not_shown(filled):
    from evidently.ui.service.base import SeriesFilter  # noqa: PLC0415 - takes seconds

    engine, _ = filled
    manager, project = new_project(engine, "empty")
    wanted = SeriesFilter(tags=[], metadata={}, metric="*", metric_labels={})
    answer = asyncio.run(manager.get_data_series(USER, project, [wanted], None, None)).dict()
    assert answer == {"sources": [], "series": []}


def test_a_panel_is_read_by_its_index(filled):
    engine, _ = filled
    assert {index["name"] for index in inspect(engine).get_indexes("points")} >= {"vigie_points_metric"}


def test_a_deleted_snapshot_leaves_nothing_and_the_others_alone(engine, snap):
    from evidently.ui.service.errors import SnapshotNotFound  # noqa: PLC0415 - takes seconds

    manager, project = new_project(engine)
    first, second = (asyncio.run(manager.add_snapshot(USER, project, model_of(snap(0, 60).body, n))) for n in range(2))
    both = stored(engine, project)
    asyncio.run(manager.delete_snapshot(USER, project, first))
    assert {name: 2 * count for name, count in stored(engine, project).items()} == both
    with pytest.raises(SnapshotNotFound):
        asyncio.run(manager.delete_snapshot(USER, project, first))
    asyncio.run(manager.delete_snapshot(USER, project, second))
    assert set(stored(engine, project).values()) == {0}


def test_a_deleted_project_leaves_nothing(engine, snap):
    manager, project = new_project(engine)
    asyncio.run(manager.add_snapshot(USER, project, model_of(snap(0, 60).body)))
    asyncio.run(manager.delete_project(USER, project))
    assert set(stored(engine, project).values()) == {0}
    assert asyncio.run(manager.get_project(USER, project)) is None


@pytest.mark.parametrize("part", ["blob_storage.put_blob", "data_storage.add_snapshot_points"])
def test_a_snapshot_that_fails_half_way_leaves_nothing(engine, snap, part, monkeypatch):
    manager, project = new_project(engine)
    owner, method = part.split(".")
    original = getattr(type(getattr(manager, owner)), method)

    async def break_afterwards(self, *arguments: object) -> None:
        await original(self, *arguments)
        raise RuntimeError("the process ended here")

    monkeypatch.setattr(type(getattr(manager, owner)), method, break_afterwards)
    with pytest.raises(RuntimeError, match="ended here"):
        asyncio.run(manager.add_snapshot(USER, project, model_of(snap(0, 60).body)))
    assert set(stored(engine, project).values()) == {0}
    monkeypatch.undo()
    asyncio.run(manager.add_snapshot(USER, project, model_of(snap(0, 60).body)))
    assert all(stored(engine, project).values())


def version_of(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def test_a_password_with_a_percent_sign_does_not_keep_the_migrations_away(postgres, caplog):
    from evidently_workspace.ui.database import prepare_tables  # noqa: PLC0415 - takes seconds

    address = fresh_database(postgres, "percent")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'a%b@c'")
    engine = create_engine(address.replace("://vigie@", "+psycopg://guarded:a%25b%40c@"))
    with caplog.at_level(logging.WARNING):
        prepare_tables(engine)
    assert version_of(engine)
    engine.dispose()
    assert caplog.records == []


@pytest.fixture
def unversioned(tmp_path: Path) -> Iterator[Engine]:
    """Evidently's tables as its fall-back makes them, in two goes: the first stumbles over an index named twice."""
    from evidently.ui.service.storage.sql.models import Base  # noqa: PLC0415 - takes seconds

    engine = create_engine(f"sqlite:///{tmp_path / 'evidently.db'}")
    with suppress(OperationalError):
        Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_tables_made_without_migrations_are_taken_over_with_their_data(unversioned):
    from evidently_workspace.ui.database import prepare_tables  # noqa: PLC0415 - takes seconds

    _, project = new_project(unversioned)
    prepare_tables(unversioned)
    prepare_tables(unversioned)
    assert version_of(unversioned)
    manager, _ = new_project(unversioned, "another")
    assert asyncio.run(manager.get_project(USER, project)).name == "iris"


def test_tables_that_are_not_all_there_are_refused_by_name(unversioned):
    from evidently_workspace.ui.database import prepare_tables  # noqa: PLC0415 - takes seconds

    with unversioned.begin() as connection:
        connection.execute(text("DROP TABLE trace_spans"))
    with pytest.raises(ValueError, match="lacks trace_spans: start with an empty database"):
        prepare_tables(unversioned)
