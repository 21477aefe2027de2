"""The models that a process hosts, by name: each one's parts, or why it does not serve."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Any, Protocol

from api.alerts.notifications import ModelNews
from api.alerts.notifier import AlertNotifier
from api.errors import LogUnavailable, ModelDisabled
from api.installed_models import InstalledModel, no_such_model, unknown_columns
from api.metrics import Metrics
from api.prediction_log.alarm_changes import AlarmChanges
from api.prediction_log.database import Database
from api.prediction_log.models import ServedVersionStore
from api.prediction_log.notifications import NotificationStore
from api.prediction_log.records import SOLE_MODEL
from api.prediction_log.windows import WindowStore, next_claimable
from api.prediction_log.writer import LogWriter
from api.security.keys import MODEL_NAME
from api.serving.data_plane import DataPlane
from api.serving.reload import ModelReloader, Reload, ReloadStatus
from api.serving.served_model import ServedModel
from api.snapshots.queries import SnapshotQueries
from model.artifact.manifest import Manifest
from model.errors import ArtifactError
from model.serving.predictor import AnyPredictor, load_predictor

logger = logging.getLogger(__name__)

UNNAMED = "model"
"""The name in addresses of the one model of an installation, where its own name cannot stand in one."""
PREFIX = "/models/"
KEY_MODELS = "vigie.key_models"
"""In the scope of a call: the models that its key is bound to; not there where it is bound to none."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers requests for one model."""

    served: ServedModel
    plane: DataPlane
    reloader: ModelReloader


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What watches one model: its windows, its alerts, who was told of them, and what people changed."""

    store: WindowStore
    queries: SnapshotQueries
    notifier: AlertNotifier
    notified: NotificationStore
    changes: AlarmChanges

    @property
    def news(self) -> ModelNews:
        """What people are told of the model."""
        return ModelNews(self.notifier, self.notified)


class Parts(Protocol):
    """Builds what models are made of."""

    @property
    def writer(self) -> LogWriter:
        """What writes to the log of all models."""

    def versions(self, model_id: int) -> ServedVersionStore:
        """Return the versions that were announced for the model of that id."""

    def build(
        self, model: InstalledModel, place: "Place", predictor: AnyPredictor, metrics: Metrics
    ) -> tuple[Serving, Monitoring]:
        """Put together what serves a model and what watches it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's data are: its id in the log, and its project in Evidently UI, None for its own name."""

    model_id: int
    project: str | None


class HostedModel:
    """One model in this process. It serves once it is opened, unless `error` says why it cannot."""

    def __init__(self, installed: InstalledModel, metrics: Metrics, parts: Parts) -> None:
        """Load the model. Raises ArtifactError where it is the only one; one of several is disabled then."""
        self.installed = installed
        self.metrics = metrics
        self.place: Place | None = None
        self.error = installed.error
        self._builder = parts
        self._generation: int | None = None
        self._predictor: AnyPredictor | None = None
        self._parts: tuple[Serving, Monitoring] | None = None
        self._lock = Lock()
        try:
            self._predictor = load_predictor(installed.folder)
            self.error = self.error or unknown_columns(installed, self._predictor.manifest)
        except ArtifactError as error:
            if installed.name is None:
                raise
            self.error = self.error or str(error)
        self.name = installed.name or _name_in_addresses(self._predictor)
        self._show_whether_it_serves()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the version that serves; None where the model cannot serve."""
        if self._parts is not None:
            return self._parts[0].plane.manifest
        return None if self._predictor is None or self.error is not None else self._predictor.manifest

    @property
    def serves(self) -> bool:
        """Whether the model answers calls."""
        return self._parts is not None

    @property
    def serving(self) -> Serving:
        """What answers requests. Raises ModelDisabled."""
        return self._required()[0]

    @property
    def monitoring(self) -> Monitoring:
        """What watches the model. Raises ModelDisabled."""
        return self._required()[1]

    @property
    def model_id(self) -> int | None:
        """Its id in the log; None before it is opened."""
        return None if self.place is None else self.place.model_id

    def open(self, place: Place) -> None:
        """Put the model's parts together, unless it is disabled or was opened before."""
        self.place = place
        if self._parts is None and self._predictor is not None and self.error is None:
            self._parts = self._builder.build(self.installed, place, self._predictor, self.metrics)
            self._predictor = None
        self._show_whether_it_serves()

    def start(self) -> None:
        """Prepare for announcements of other versions, when the log is open. Raises LogUnavailable."""
        if self._parts is not None:
            self.serving.reloader.start()
        else:
            self._generation = self._announced()

    def reload(self) -> Reload:
        """Serve the version that is in the folder; also of a model that was disabled, if it is valid now.

        Raises ModelUnusable, SchemaChanged, LogUnavailable, or ModelDisabled where it is still not valid.
        """
        if self._parts is None:
            self._repair()
            done = self.serving.reloader.reload()  # it is announced, so that other processes try it too
            return Reload(ReloadStatus.RELOADED, done.model_version, done.previous_version)
        return self.serving.reloader.reload()

    def follow(self) -> None:
        """Serve the version that was announced to all processes. Raises LogUnavailable."""
        if self._parts is not None:
            self.serving.reloader.check_announced()
        elif self._announced() != self._generation:
            self._generation = self._announced()
            try:
                self._repair()
            except ModelDisabled as error:
                logger.warning("another process serves it, but here %s", error)

    def _announced(self) -> int | None:
        newest = None if self.place is None else self._builder.versions(self.place.model_id).newest()
        return None if newest is None else newest.generation

    def _repair(self) -> None:
        """Open a model that was disabled. Raises ModelDisabled where it is still not valid, and LogUnavailable."""
        with self._lock:
            if self._parts is not None:
                return
            if self.place is None and self.error is None:
                raise LogUnavailable(self.waits_for)
            if self.installed.error is not None or self.place is None:
                raise ModelDisabled(f"{self._disabled()}; correct it, and restart the API")
            try:
                self._predictor = load_predictor(self.installed.folder)
            except ArtifactError as error:
                self.error = str(error)
                raise ModelDisabled(self._disabled()) from error
            self.error = unknown_columns(self.installed, self._predictor.manifest)
            if self.error is not None:
                raise ModelDisabled(self._disabled())
            self.open(self.place)
            self.start()
            logger.info("the model %s is valid now, and serves", self.name)

    def _required(self) -> tuple[Serving, Monitoring]:
        if self._parts is None:
            if self.error is None:
                raise LogUnavailable(self.waits_for)
            raise ModelDisabled(self._disabled())
        return self._parts

    @property
    def waits_for(self) -> str:
        """What an API that has not opened its log yet waits for."""
        return self._builder.writer.refusal or "the API has not started yet"

    def _disabled(self) -> str:
        return f"the model {self.name} is disabled: {self.error}"

    def _show_whether_it_serves(self) -> None:
        self.metrics.observe_serving(serving=self.error is None)


def _name_in_addresses(predictor: AnyPredictor | None) -> str:
    name = UNNAMED if predictor is None else predictor.manifest.name
    return name if MODEL_NAME.fullmatch(name) else UNNAMED


class HostedModels:
    """The models of this process by name; ``default`` is the name of the one that answers calls that name none."""

    def __init__(self, models: Sequence[HostedModel], default: str | None) -> None:
        self._by_name = {model.name: model for model in models}
        self.default = next(iter(self)).name if self.is_single else default

    def __iter__(self) -> Iterator[HostedModel]:
        """Yield the models in the order of their names."""
        return iter(self._by_name.values())

    @property
    def is_single(self) -> bool:
        """Whether this is the one model of VIGIE_MODEL_DIR."""
        return len(self._by_name) == 1 and next(iter(self)).installed.name is None

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return list(self._by_name)

    def find(self, name: str | None = None) -> HostedModel:
        """Return the model of that name, or the default one. Raises NoSuchModel."""
        found = self._by_name.get(self.default if name is None else name)  # type: ignore[arg-type] # None finds none
        if found is None:
            raise no_such_model(
                name, self.names, hint="" if self.is_single else "; a new folder is found at the next start"
            )
        return found

    def of_path(self, path: str) -> HostedModel | None:
        """Return the model that a call to this path is for; None where there is no such model."""
        name = path[len(PREFIX) :].partition("/")[0] if path.startswith(PREFIX) else self.default
        return self._by_name.get(name)  # type: ignore[arg-type] # None finds none

    def of_call(self, scope: Mapping[str, Any]) -> HostedModel | None:
        """Return the model that a call is for, from its ASGI scope; None where there is no such model."""
        path: str = scope["path"]
        return self.of_path(path.removeprefix(scope.get("root_path", "")))

    def of_report(self, name: str | None) -> HostedModel | None:
        """Return the model whose reports have this name in their file names; None stands for the first model."""
        if name is not None:
            return self._by_name.get(name)
        return next((model for model in self if model.model_id == SOLE_MODEL), None)

    def visible_to(self, scope: Mapping[str, Any]) -> list[HostedModel]:
        """Return the models that the caller may see: all, or those that the key of the call is bound to."""
        bound: frozenset[str] | None = scope.get(KEY_MODELS)
        return [model for model in self if bound is None or model.name in bound]

    def news(self) -> list[ModelNews]:
        """Return what people are told of the models that serve now."""
        return [model.monitoring.news for model in self.serving()]

    def serving(self) -> list[HostedModel]:
        """Return the models that serve now."""
        return [model for model in self if model.serves]


def each(models: Iterable[HostedModel], action: Callable[[HostedModel], object]) -> None:
    """Do something for each model; where it fails for one, it is done for the others all the same, and then raised."""
    failed: list[Exception] = []
    for model in models:
        try:
            action(model)
        except Exception as error:  # noqa: BLE001 - it is raised below
            failed.append(error)
    for other in failed[1:]:
        logger.error("another model failed too: %s", other)
    if failed:
        raise failed[0]


class WindowsOfModels:
    """The windows of all models that serve, each with an interval of its own."""

    def __init__(self, models: HostedModels, database: Database) -> None:
        self._models = models
        self._database = database

    def close_elapsed(self, _interval: timedelta) -> None:
        """Close every window that has ended by now. Raises LogUnavailable."""
        each(self._models.serving(), self._close)

    def has_due_window(self) -> bool:
        """Whether a window of any of the models can be processed now. Raises LogUnavailable."""
        ids = [model.monitoring.store.model_id for model in self._models.serving()]
        return next_claimable(self._database, ids) is not None

    @staticmethod
    def _close(model: HostedModel) -> None:
        model.monitoring.store.close_elapsed(model.installed.settings.snapshot_interval)
