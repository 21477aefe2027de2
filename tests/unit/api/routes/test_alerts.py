"""What the pages and calls say about failed checks and about who was told."""

import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.errors import BadAddresses
from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.notifications import NotificationStore
from api.settings import Settings
from tests.finished_windows import FAILED, Windows

ADDRESS = "json://vigie:hidden@127.0.0.1:1/hidden"


def test_a_failed_check_says_the_next_step_in_the_call_and_on_the_page(
    client: TestClient, settings: Settings, database_url: str
) -> None:
    database = Database(database_url)
    Windows(database).add(failed=[*FAILED, {**FAILED[0], "column": "petal_width"}])
    (window,) = client.get("/snapshots").json()["windows"]
    length, width = window["failed_checks"]
    rows = "http://127.0.0.1:8000/snapshots/2026-11-23T12:00:00Z/rows?check=data_drift&column=petal_length"
    assert length["next_step"].startswith(f"look at the rows: {rows}; ")
    assert width["next_step"].startswith(f"look at the rows: {rows.replace('length', 'width')}; ")
    page = client.get("/").text
    assert re.findall(
        r'<p class="step"><b>Next step for data drift:</b> look at the rows: <a href="([^"]+)">', page
    ) == [rows.replace("&", "&amp;")]
    Windows(database, first=1).add(failed=False)
    assert 'class="step"' not in client.get("/").text
    database.dispose()


def test_a_failed_check_says_its_cause_in_the_call_and_on_the_page(client: TestClient, database_url: str) -> None:
    database = Database(database_url)
    cause = "accuracy 0.6 in place of 0.9: changed inputs explain -0.1, above all <b>"
    Windows(database).add(failed=[{**FAILED[0], "check": "performance", "column": None, "cause": cause}, *FAILED])
    (window,) = client.get("/snapshots").json()["windows"]
    assert [one["cause"] for one in window["failed_checks"]] == [cause, None]
    page = client.get("/").text
    assert page.count("<b>Cause of ") == 1
    assert f"<b>Cause of performance:</b> {cause.replace('<b>', '&lt;b&gt;')}</p>" in page
    database.dispose()


def test_the_start_page_says_who_could_not_be_told_and_shows_no_address(
    settings: Settings, client: TestClient, database_url: str
) -> None:
    assert "Notifications" not in client.get("/").text
    database = Database(database_url)
    store, lease = NotificationStore(database), Lease(database, "one", timedelta(minutes=1), "snapshots")
    telling = settings.model_copy(update={"notify_urls": SecretStr(ADDRESS)})
    with TestClient(create_app(telling)) as page:
        assert '<li class="well"><b>Notifications</b> none had to be sent yet</li>' in page.get("/").text
        assert lease.take()
        claimed = store.claim(store.state("digest", "json")[0], lease)
        assert claimed is not None
        store.record(claimed, {}, "it answered with status 503", timedelta(minutes=1))
        text = page.get("/").text
        assert (
            '<li class="failed"><b>Notifications</b> json did not accept a message: it answered with status 503; '
            "tried once" in text
        )
        claimed = store.claim(store.state("digest", "json")[0], lease)
        assert claimed is not None
        store.record(claimed, {}, None, timedelta(0))
        text += page.get("/").text
        assert '<li class="well"><b>Notifications</b> the last one was sent 20' in text
        for path in ("/model", "/metrics", "/snapshots", "/openapi.json"):
            text += page.get(path).text
    assert "hidden" not in text
    database.dispose()


def test_an_address_that_cannot_be_used_stops_the_start_of_what_would_tell(settings: Settings) -> None:
    wrong = settings.model_copy(update={"notify_urls": SecretStr("slack://hidden"), "snapshots": True})
    with pytest.raises(BadAddresses, match="address 1") as raised:
        create_app(wrong)
    assert "hidden" not in str(raised.value)
