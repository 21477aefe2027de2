"""The project in Evidently UI that shows one model's health: that it is there, with its dashboard."""

import logging
from time import monotonic, sleep
from uuid import UUID

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.dashboard import build_dashboard
from evidently_workspace.errors import EvidentlyRejected, EvidentlyUnavailable
from model.artifact.manifest import Manifest

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0


class HealthProject:
    """The project called ``name``, by default as the model is."""

    def __init__(self, client: EvidentlyClient, manifest: Manifest, name: str | None) -> None:
        self._client = client
        self._manifest = manifest
        self._name = name or manifest.name

    def ensure(self, manifest: Manifest) -> UUID:
        """Make the project, and its dashboard as of this version, where they are not there; return its id.

        Raises evidently_workspace.errors.EvidentlyError.
        """
        about = f"Health of the model {self._name}, watched by Vigie."
        project_id = self._client.ensure_project(self._name, about)
        self._client.ensure_dashboard(project_id, build_dashboard(manifest))
        return project_id

    def show(self) -> None:
        """Make the project, so that a person finds it before the first window has ended.

        Waits a while for an Evidently UI that starts at the same time; without one the first window will make it.
        """
        deadline = monotonic() + PATIENCE_SECONDS
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
