"""A client of the Evidently UI: the few calls that this project needs, with timeouts and errors that say what to do.

Evidently's own RemoteWorkspace has no timeout, and does not implement the calls that list or find snapshots.
"""

import json
import re
from http import HTTPStatus
from typing import Any, Self, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from evidently_workspace.errors import EvidentlyForbidden, EvidentlyRejected, EvidentlyUnavailable
from evidently_workspace.panels import renewed_dashboard

SECRET_HEADER = "evidently-secret"  # noqa: S105 - the header's name
PROJECT_NAMESPACE = uuid5(NAMESPACE_URL, "vigie/evidently-project")


ORIGIN = "log"
"""Where a snapshot's metadata say from which log it comes."""
_OWNER = re.compile(r"Log: ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class _Snapshot(BaseModel):
    id: UUID
    metadata: dict[str, Any]


class _Added(BaseModel):
    snapshot_id: UUID


Answer = TypeVar("Answer")
_DASHBOARD = TypeAdapter(dict[str, Any])
_PROJECT = TypeAdapter(dict[str, Any])
_SNAPSHOTS = TypeAdapter(list[_Snapshot])
_ADDED = TypeAdapter(_Added)


def project_id_for(name: str) -> UUID:
    """Return the id of the project called `name`; the same name always gives the same id."""
    return uuid5(PROJECT_NAMESPACE, name)


class EvidentlyClient:
    """A connection to the Evidently UI at `url`; closes with `close()` or as a context manager.

    `transport` replaces the network; tests use it to lose requests. Every call raises EvidentlyUnavailable (no
    answer, 5xx) or EvidentlyRejected (4xx).
    """

    def __init__(
        self,
        url: str,
        secret: str | None,
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {SECRET_HEADER: secret} if secret else {}
        self._url = url.rstrip("/")
        self._http = httpx.Client(base_url=self._url, headers=headers, timeout=timeout_seconds, transport=transport)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ensure_project(self, name: str, description: str) -> UUID:
        """Create the project unless it exists, and return its id, which depends on the name alone."""
        project_id = project_id_for(name)
        if not self._project_exists(project_id):
            project = {"id": str(project_id), "name": name, "description": description}
            try:
                self._call("POST", "/api/v2/projects/", json_body=project)
            except EvidentlyUnavailable:
                # Another process may have just created it: the UI answers 500 to a second insert of the same id.
                if not self._project_exists(project_id):
                    raise
        return project_id

    def owner(self, project_id: UUID) -> str | None:
        """Return the id of the log that the project belongs to; None if it belongs to none, or does not exist."""
        answer = self._call("GET", f"/api/projects/{project_id}/info", accept=HTTPStatus.NOT_FOUND)
        return None if answer.status_code == HTTPStatus.NOT_FOUND else _owner(_read(answer, _PROJECT))

    def claim_project(self, project_id: UUID, log_id: str) -> str:
        """Make the project that log's, unless it is another's already; return the id of the log that it belongs to.

        The description of the project says it, so that people see it; who removes it there gives the project free.
        """
        path = f"/api/projects/{project_id}/info"
        project = _read(self._call("GET", path), _PROJECT)
        owner = _owner(project)
        if owner is None:
            about = f"{project.get('description') or ''} Log: {log_id}".strip()
            self._call("POST", path, json_body=project | {"description": about})
        return owner or log_id

    def ensure_dashboard(self, project_id: UUID, dashboard: dict[str, Any]) -> bool:
        """Renew our panels if the stored ones differ, and return whether that was so; other people's panels stay."""
        path = f"/api/v2/dashboards/{project_id}"
        renewed = renewed_dashboard(_read(self._call("GET", path), _DASHBOARD), dashboard)
        if renewed is None:
            return False
        self._call("POST", path, json_body=renewed)
        return True

    def snapshots_by_window(
        self, project_id: UUID, log_id: str | None = None, *, unnamed: bool = True
    ) -> dict[str, list[UUID]]:
        """Return the ids of the project's snapshots by the window in their metadata; each window should have one.

        With a ``log_id``, only those that come from that log, and those that say of none, as earlier versions made
        them, unless ``unnamed`` is false. Snapshots without a window, added by others, are left out. A project that
        does not exist has none.
        """
        found: dict[str, list[UUID]] = {}
        answer = self._call("GET", f"/api/projects/{project_id}/snapshots", accept=HTTPStatus.NOT_FOUND)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return found
        for snapshot in _read(answer, _SNAPSHOTS):
            window = snapshot.metadata.get("window")
            origin = snapshot.metadata.get(ORIGIN)
            wanted = log_id is None or origin == log_id or (unnamed and origin is None)
            if wanted and isinstance(window, str):
                found.setdefault(window, []).append(snapshot.id)
        return found

    def delete_snapshot(self, project_id: UUID, snapshot_id: UUID) -> bool:
        """Delete a snapshot and return whether it was there; a missing one is not an error."""
        path = f"/api/projects/{project_id}/{snapshot_id}"
        return self._call("DELETE", path, accept=HTTPStatus.NOT_FOUND).status_code != HTTPStatus.NOT_FOUND

    def post_snapshot(self, project_id: UUID, body: bytes) -> UUID:
        """Store a snapshot and return its id. Not idempotent: see `snapshots_by_window` before a retry."""
        answer = self._call("POST", f"/api/v2/snapshots/{project_id}", content=body)
        return _read(answer, _ADDED).snapshot_id

    def _project_exists(self, project_id: UUID) -> bool:
        path = f"/api/projects/{project_id}/info"
        return self._call("GET", path, accept=HTTPStatus.NOT_FOUND).status_code != HTTPStatus.NOT_FOUND

    def _call(
        self,
        method: str,
        path: str,
        *,
        json_body: dict[str, Any] | None = None,
        content: bytes | None = None,
        accept: HTTPStatus | None = None,
    ) -> httpx.Response:
        if json_body is not None:
            content = json.dumps(json_body).encode()
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            response = self._http.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise EvidentlyUnavailable(
                f"no answer from Evidently UI at {self._url}: {type(error).__name__}: {error}"
            ) from error
        except httpx.InvalidURL as error:
            raise EvidentlyRejected(f"{self._url} is not a usable address: {error}") from error
        if response.is_success or response.status_code == accept:
            return response
        raise self._error(response, method, path)

    def _error(self, response: httpx.Response, method: str, path: str) -> EvidentlyUnavailable | EvidentlyRejected:
        status = response.status_code
        text = f"Evidently UI at {self._url} answered {status} to {method} {path}: {response.text[:200]}"
        if response.is_server_error:
            return EvidentlyUnavailable(text)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return EvidentlyForbidden(
                f"{text}. The UI has another secret: set VIGIE_EVIDENTLY_SECRET to the same value for both."
            )
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return EvidentlyRejected(f"{text}. The snapshot is larger than the UI accepts: raise the limit of the UI.")
        if status == HTTPStatus.NOT_FOUND:
            return EvidentlyRejected(f"{text}. Is this an Evidently UI? Was the project deleted there?")
        return EvidentlyRejected(text)


def _owner(project: dict[str, Any]) -> str | None:
    found = _OWNER.search(str(project.get("description") or ""))
    return None if found is None else found[1]


def _read(response: httpx.Response, expected: TypeAdapter[Answer]) -> Answer:
    try:
        return expected.validate_json(response.content)
    except ValidationError as error:
        raise EvidentlyRejected(
            f"{response.request.url} gave an unexpected answer: {response.text[:200]!r}; is it an Evidently UI?"
        ) from error
