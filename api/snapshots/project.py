"""The project in Evidently UI that shows one model's health, with its dashboard."""

import logging
from collections.abc import Callable
from time import monotonic, sleep
from uuid import UUID

from api.errors import LogUnavailable
from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import State, build_dashboard
from evidently_workspace.errors import EvidentlyError, EvidentlyRejected, EvidentlyUnavailable, ProjectTaken
from model.artifact.manifest import Manifest

logger = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 30.0


class HealthProject:
    """The project called ``name``, which belongs to the log that ``log_id`` returns the id of.

    Two logs whose windows are mixed in one project would be read as one. So a project that is another log's already is
    refused, unless it is ``shared``. ``state`` returns what the dashboard says of the newest windows.
    """

    def __init__(
        self,
        client: EvidentlyClient,
        manifest: Manifest,
        name: str,
        log_id: Callable[[], str],
        *,
        shared: bool,
        state: Callable[[], State],
    ) -> None:
        self._client = client
        self._manifest = manifest
        self._name = name
        self._log_id = log_id
        self._shared = shared
        self._state = state

    @property
    def log_id(self) -> str:
        """The id of the log. Raises LogUnavailable."""
        return self._log_id()

    def ensure(self, manifest: Manifest) -> UUID:
        """Make the project and its dashboard for this version, unless they exist; return the project's id.

        Raises ProjectTaken where it is another log's, or another EvidentlyError.
        """
        about = f"Health of the model {self._name}, watched by Vigie."
        project_id = self._client.ensure_project(self._name, about)
        owner = self._client.claim_project(project_id, self._log_id())
        if owner != self._log_id() and not self._shared:
            raise ProjectTaken(
                f"the project {self._name} in Evidently UI belongs to another prediction log ({owner}): give this "
                "one a project of its own with VIGIE_EVIDENTLY_PROJECT, or let both share it with "
                "VIGIE_EVIDENTLY_SHARE_PROJECT=true"
            )
        self._client.ensure_dashboard(project_id, build_dashboard(manifest, self._state()))
        return project_id

    def show_newest(self, project_id: UUID, manifest: Manifest) -> None:
        """Have the dashboard say what the newest window showed; where that fails, the next window does it."""
        try:
            self._client.ensure_dashboard(project_id, build_dashboard(manifest, self._state()))
        except (EvidentlyError, LogUnavailable) as error:
            logger.warning("the dashboard could not be renewed: %s", error)

    def show(self) -> bool:
        """Make the project, so that people find it before the first window has ended.

        Waits a while for an Evidently UI that starts at the same time. If there is none, the first window makes it.
        Return whether Evidently UI answered.
        """
        deadline = monotonic() + MAX_WAIT_SECONDS
        while True:
            try:
                self.ensure(self._manifest)
            except EvidentlyUnavailable as error:
                if monotonic() > deadline:
                    logger.warning("the project will be made with the first window: %s", error)
                    return False
                sleep(1)
            except (ProjectTaken, LogUnavailable) as error:
                logger.error("no snapshot can be posted: %s", error)  # noqa: TRY400 - the reason is all that counts
                return True
            except EvidentlyRejected:
                logger.exception("the project could not be made")
                return True
            else:
                return True
