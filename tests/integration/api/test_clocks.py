"""A machine's clock that is wrong, or is put right, while a real API process uses it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.faketime import FakedClock
from tests.integration.api.conftest import ApiProcess, Caller

HOUR, DAY = 3600, 86_400


@pytest.fixture
def clock(tmp_path: Path) -> FakedClock:
    return FakedClock(tmp_path)


@pytest.fixture
def api(iris_artifact: Path, tmp_path: Path, ui_port: int, clock: FakedClock) -> Iterator[ApiProcess]:
    """An API with windows of a second, on a machine whose clock the test sets, in New York."""
    settings = {"VIGIE_SNAPSHOT_INTERVAL_SECONDS": "1", "VIGIE_HEARTBEAT_SECONDS": "0.2", "TZ": "America/New_York"}
    process = ApiProcess(tmp_path, iris_artifact, ui_port, **settings, **clock.environment)
    process.start()
    yield process
    if not process.ended():
        process.stop()


@contextmanager
def calling(api: ApiProcess, pool: pd.DataFrame) -> Iterator[Caller]:
    caller = Caller(api.url, pool)
    with closing(caller.http):
        yield caller


def closed_after(caller: Caller, rows: int, seconds: float = 30) -> list[dict[str, Any]]:
    """Log some rows, and return the windows that are closed after that, newest first, once there are any."""
    before = {window["start"] for window in caller.windows()}
    caller.send(rows, labelled=False)
    return awaited(lambda: [one for one in caller.windows() if one["start"] not in before], seconds)


def awaited(read: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = monotonic() + seconds
    while monotonic() < deadline:
        if found := read():
            return found
        sleep(0.05)
    raise TimeoutError("it did not come")


def shown(api: ApiProcess, metric: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{api.url}/metrics").text)
    return next(
        one.value
        for family in families
        for one in family.samples
        if one.name == metric and labels.items() <= one.labels.items()
    )


def in_closed_windows(log: Path) -> int:
    """Return how many of the logged rows are in a closed window; these are all that touch from the first row on."""
    with closing(sqlite3.connect(log)) as database:
        query = 'SELECT count(*) FROM predictions WHERE logged_at < (SELECT max("end") FROM windows)'
        return int(database.execute(query).fetchone()[0])


def test_a_clock_that_is_set_back_stops_no_job_and_no_window(
    api: ApiProcess, pool: pd.DataFrame, clock: FakedClock
) -> None:
    with calling(api, pool) as caller:
        closed_after(caller, 3)
        clock.set(-2 * HOUR)
        assert closed_after(caller, 3)
        beat = "vigie_periodic_job_succeeded_timestamp_seconds"
        awaited(lambda: abs(shown(api, beat, name="heartbeat") - (datetime.now(UTC).timestamp() - 2 * HOUR)) < 60)
        awaited(lambda: shown(api, "vigie_snapshot_lease_held") == 1)  # a look waits for Evidently UI
    assert "the clock was set by -7200 s; the periodic jobs go on" in api.log()


def test_windows_of_a_clock_that_was_a_day_ahead_stop_no_later_one(
    api: ApiProcess, pool: pd.DataFrame, clock: FakedClock
) -> None:
    api.stop()
    clock.set(DAY)
    api.start()
    with calling(api, pool) as caller:
        closed_after(caller, 3)
    api.stop()
    clock.set(0)
    api.start()
    with calling(api, pool) as caller:
        for _ in range(2):
            newest = closed_after(caller, 3)[0]
            assert datetime.fromisoformat(newest["end"]) > datetime.now(UTC) + timedelta(hours=23)
        tries = count(1)

        def closed_by_hand() -> dict[str, Any] | None:
            next(tries)
            caller.send(3, labelled=False)
            answer = caller.http.post("/snapshots?force=true")
            # the window may have ended, and have been closed, between the two calls: then there is nothing left
            assert answer.status_code in {200, 202, 409}, answer.text
            return None if answer.status_code == 409 else answer.json()

        assert awaited(closed_by_hand)["start"] >= newest["end"]
        awaited(lambda: shown(api, "vigie_snapshot_ahead_seconds") > 23 * HOUR)
        rows = 3 * 3 + 3 * (next(tries) - 1)
        awaited(lambda: in_closed_windows(api.database) == rows)
    assert "ahead of the clock: a clock was wrong" in api.log()


def test_what_a_clock_that_was_a_day_ahead_has_left_is_brought_back_at_once(
    api: ApiProcess, pool: pd.DataFrame, clock: FakedClock
) -> None:
    api.stop()
    clock.set(DAY)
    api.start()
    with calling(api, pool) as caller:
        closed_after(caller, 3)
    api.stop()
    clock.set(0)
    api.start()
    with calling(api, pool) as caller:
        assert newest_end(closed_after(caller, 3)) > datetime.now(UTC) + timedelta(hours=23)
        assert "dated in the future.\nIf the clock is right now" in api.command("scripts.clock")
        assert "All of it has been dated back by " in api.command("scripts.clock", "--bring-back")
        assert newest_end(closed_after(caller, 3)) < datetime.now(UTC) + timedelta(minutes=1)
        assert newest_end(caller.windows()) < datetime.now(UTC) + timedelta(minutes=1)
        awaited(lambda: shown(api, "vigie_snapshot_ahead_seconds") == 0)
        awaited(lambda: in_closed_windows(api.database) == 3 * 3)
        assert api.command("scripts.clock").endswith("Nothing in the log is dated in the future.\n")


def newest_end(windows: list[dict[str, Any]]) -> datetime:
    return max(datetime.fromisoformat(window["end"]) for window in windows)


def test_log_lines_have_the_time_of_windows(api: ApiProcess) -> None:
    lines = [line for line in api.log().splitlines() if " INFO api." in line]
    assert lines
    for line in lines:
        written = datetime.fromisoformat(line.split(" ", maxsplit=1)[0])
        assert written.utcoffset() == timedelta(0)
        assert abs(written - datetime.now(UTC)) < timedelta(minutes=5)
