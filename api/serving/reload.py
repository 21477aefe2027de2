"""Reloads the model while the API serves: checks a new version, announces it to all processes, and serves it."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Lock

from api.errors import ModelUnusable, SchemaChanged, StateError
from api.metrics import Metrics
from api.prediction_log.models import ServedVersion, ServedVersionStore
from api.serving.model_archive import ModelArchive
from api.serving.responses import responses_for
from api.serving.served_model import ServedModel
from model.artifact.manifest import ClassifierManifest, Feature, Manifest, RegressorManifest
from model.artifact.store import read_manifest, verify_artifact
from model.errors import ArtifactError
from model.serving.predictor import AnyPredictor, load_predictor

logger = logging.getLogger(__name__)

TRIES = 3
"""A read of the folder at the moment when training replaces it finds files of two versions."""
MAX_NAMED = 5


def schema_differences(served: Manifest, other: Manifest) -> list[str]:
    """Describe how the fields and labels of another model differ from those of the served one; empty if they do not.

    Ranges, categories, units, descriptions and examples may differ: they describe the training data, and no request is
    refused because of them.
    """
    found: list[str] = []
    if served.task != other.task:
        found.append(f"it is a model for {other.task}, not for {served.task}")
    old, new = ({feature.name: _type_text(feature) for feature in one.features} for one in (served, other))
    found += _named("it has no field", [name for name in old if name not in new])
    found += _named("it needs the new field", [name for name in new if name not in old])
    found += [f"{name} is {new[name]}, not {old[name]}" for name in old if name in new and old[name] != new[name]]
    if not found and served.feature_names != other.feature_names:
        found.append("its fields come in another order")
    return found + _label_differences(served, other)


def _label_differences(served: Manifest, other: Manifest) -> list[str]:
    if isinstance(served, ClassifierManifest) and isinstance(other, ClassifierManifest):
        old_classes, new_classes = (", ".join(repr(one) for one in model.classes) for model in (served, other))
        return [] if old_classes == new_classes else [f"its classes are {_cut(new_classes)}, not {_cut(old_classes)}"]
    if isinstance(served, RegressorManifest) and isinstance(other, RegressorManifest):
        old_unit, new_unit = served.label_range.unit, other.label_range.unit
        # without a unit on both sides there is no sign of another unit
        if old_unit and new_unit and old_unit != new_unit:
            return [f"its labels are in {new_unit}, not in {old_unit}"]
    return []  # the same, or of two tasks, which is reported already


def _type_text(feature: Feature) -> str:
    refuses = " and refuses values that it does not know" if feature.closed else ""
    return f"a {feature.type} that {'may' if feature.nullable else 'must not'} be null{refuses}"


def _named(text: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return [f"{text}{'s' if len(names) > 1 else ''} {', '.join(names[:MAX_NAMED])}{more}"]


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


class ReloadStatus(StrEnum):
    """What a call to reload did."""

    RELOADED = "reloaded"
    ALREADY = "already"


@dataclass(frozen=True, slots=True)
class Reload:
    """What a call to reload did, and with which versions."""

    status: ReloadStatus
    model_version: str
    previous_version: str


class ModelReloader:
    """Reloads the model from ``model_dir`` when this or another process is asked to; one reload at a time.

    Each version that serves is kept in the archive, so that its windows can be measured after it was replaced.
    """

    def __init__(
        self, served: ServedModel, model_dir: Path, store: ServedVersionStore, metrics: Metrics, archive: ModelArchive
    ) -> None:
        self._served = served
        self._model_dir = model_dir
        self._store = store
        self._metrics = metrics
        self._archive = archive
        self._archive_error: str | None = None
        self._lock = Lock()
        self._generation = 0
        self._failure_reason: str | None = None

    @property
    def version(self) -> str:
        """The version that serves in this process."""
        return self._served.manifest.version

    def reload(self) -> Reload:
        """Serve the version that is in the folder, and announce it to all other processes.

        Nothing changes unless the artifact is whole, loads, predicts, has the served schema, and is announced. If the
        process dies between announcing and serving, it finds the new version in the folder at its next start. Raises
        ModelUnusable, SchemaChanged or LogUnavailable.
        """
        with self._lock:
            previous = self.version
            try:
                candidate = self._load_candidate()
            except StateError:
                self._metrics.count_reload("refused")
                raise
            announced = self._store.announce(candidate.manifest.version)
            already = previous == announced.model_version
            if not already:
                self._serve(candidate, announced.model_version)
            self._finish(announced)
        status = ReloadStatus.ALREADY if already else ReloadStatus.RELOADED
        if already:
            self._metrics.count_reload(status)
        return Reload(status, announced.model_version, previous)

    def start(self) -> None:
        """Prepare for announcements: earlier ones do not matter, as a process starts with the version in its folder.

        The folder is read again, as it may have changed since this process loaded the model. Raises LogUnavailable.
        """
        with self._lock:
            announced = self._store.newest()
            self._generation = announced.generation if announced is not None else 0
            try:
                version = read_manifest(self._model_dir).version
                if version != self.version:
                    self._serve(self._load_candidate(), version)
            except (ArtifactError, StateError) as error:
                logger.warning("the API keeps serving %s: %s", self.version, error)
            self._keep(self.version)

    def check_announced(self) -> None:
        """Serve the version that was announced since the last call; on failure, log why, and try again at the next.

        If the version that serves could not be archived, that is tried again too. Raises LogUnavailable.
        """
        if self._archive_error is not None:
            with self._lock:
                self._keep(self.version)
        announced = self._store.newest()
        if announced is None or announced.generation == self._generation:
            return
        with self._lock:
            if announced.generation <= self._generation:
                return  # `reload` was called in this process meanwhile
            try:
                self._serve_announced(announced)
            except StateError as error:
                self._record_failure(announced, str(error))
            else:
                self._finish(announced)

    def _serve_announced(self, announced: ServedVersion) -> None:
        if announced.model_version == self.version:
            return
        try:
            found = read_manifest(self._model_dir).version
        except ArtifactError as error:
            raise ModelUnusable(str(error)) from error
        if found != announced.model_version:
            raise ModelUnusable(f"{self._model_dir} holds the version {found}; copy the new one there")
        self._serve(self._load_candidate(), announced.model_version)

    def _load_candidate(self) -> AnyPredictor:
        """Load what is in the folder, and check that it can serve. Raises ModelUnusable, SchemaChanged."""
        for last in (*[False] * (TRIES - 1), True):
            try:
                version = verify_artifact(self._model_dir).version
                candidate = load_predictor(self._model_dir)
            except ArtifactError as error:
                if last:
                    raise ModelUnusable(f"{error}; the API keeps serving {self.version}") from error
                continue
            if candidate.manifest.version == version:
                break
        if differences := schema_differences(self._served.manifest, candidate.manifest):
            raise SchemaChanged(
                f"version {candidate.manifest.version} has another schema: {'; '.join(differences)}. The request types "
                f"follow the schema, so restart the API to serve it; until then the API keeps serving {self.version}"
            )
        if not candidate.manifest.is_watched:
            _predict_example(candidate)
        return candidate

    def _serve(self, candidate: AnyPredictor, version: str) -> None:
        previous = self.version
        self._keep(version)  # before it serves, so that every row is of an archived version
        self._served.replace(candidate)
        self._metrics.count_reload(ReloadStatus.RELOADED)
        logger.info("version %s of the model serves instead of %s", version, previous)

    def _keep(self, version: str) -> None:
        try:
            self._archive.keep(self._model_dir, version)
        except (ArtifactError, OSError) as error:
            if str(error) != self._archive_error:
                logger.warning(
                    "version %s could not be kept: once it is replaced, its waiting windows cannot be measured: %s",
                    version,
                    error,
                )
            self._archive_error = str(error)
        else:
            self._archive_error = None

    def _finish(self, announced: ServedVersion) -> None:
        self._generation = announced.generation
        self._failure_reason = None
        self._metrics.observe_out_of_date(out_of_date=False)

    def _record_failure(self, announced: ServedVersion, reason: str) -> None:
        if reason == self._failure_reason:
            return
        self._failure_reason = reason
        self._metrics.count_reload("refused")
        self._metrics.observe_out_of_date(out_of_date=True)
        logger.error("version %s of the model cannot serve here: %s", announced.model_version, reason)


def _predict_example(candidate: AnyPredictor) -> None:
    """Have a model predict its own example. Raises ModelUnusable."""
    try:
        responses_for(candidate).respond([[feature.example for feature in candidate.manifest.features]])
    except Exception as error:  # any error of a model's libraries: it must not serve
        raise ModelUnusable(
            f"version {candidate.manifest.version} does not predict its own example: {error}"
        ) from error
