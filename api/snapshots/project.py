"""The project in Evidently UI that shows one model's health, with its dashboard."""

import logging
from time import monotonic, sleep
from uuid import UUID

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.errors import EvidentlyRejected, EvidentlyUnavailable
from model.artifact.manifest import Manifest

logger = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 30.0


class HealthProject:
    """The project called ``name``."""

    def __init__(self, client: EvidentlyClient, manifest: Manifest, name: str) -> None:
        self._client = client
        self._manifest = manifest
        self._name = name

    def ensure(self, manifest: Manifest) -> UUID:
        """Make the project and its dashboard for this version, unless they exist; return the project's id.

        Raises evidently_workspace.errors.EvidentlyError.
        """
        about = f"Health of the model {self._name}, watched by Vigie."
        project_id = self._client.ensure_project(self._name, about)
        self._client.ensure_dashboard(project_id, build_dashboard(manifest))
        return project_id

    def show(self) -> None:
        """Make the project, so that people find it before the first window has ended.

        Waits a while for an Evidently UI that starts at the same time. If there is none, the first window makes it.
        """
        deadline = monotonic() + MAX_WAIT_SECONDS
        while True:
            try:
                self.ensure(self._manifest)
            except EvidentlyUnavailable as error:
                if monotonic() > deadline:
                    logger.warning("the project will be made with the first window: %s", error)
                    return
                sleep(1)
            except EvidentlyRejected:
                logger.exception("the project could not be made")
                return
            else:
                return
