"""Taking up a new version of the model while the API serves: check it, announce it, put it in place, follow."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event, Lock, Thread

from api.errors import LogUnavailable, ModelUnusable, SchemaChanged, StateError
from api.metrics import Metrics
from api.prediction_log.served_version import ServedVersion, ServedVersionStore
from api.serving.model_archive import ModelArchive
from api.serving.responses import responses_for
from api.serving.served_model import ServedModel
from model.artifact.manifest import ClassifierManifest, Feature, Manifest, RegressorManifest
from model.artifact.store import read_manifest, verify_artifact
from model.errors import ArtifactError
from model.serving.predictor import AnyPredictor, load_predictor

MAX_NAMED = 5


def schema_differences(served: Manifest, other: Manifest) -> list[str]:
    """Say how the interface of the other model differs from that of the served one; empty where it does not.

    Ranges, categories, units, descriptions and examples may differ: they are what was seen in training, and nothing is
    refused because of them.
    """
    found: list[str] = []
    if served.task != other.task:
        found.append(f"it is a model for {other.task}, not for {served.task}")
    old, new = ({feature.name: _interface(feature) for feature in one.features} for one in (served, other))
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
        # where one of them names no unit, nothing says that the numbers are others
        if old_unit and new_unit and old_unit != new_unit:
            return [f"its labels are in {new_unit}, not in {old_unit}"]
    return []  # the same, or of two tasks, which is said already


def _interface(feature: Feature) -> str:
    return f"a {feature.type} that {'may' if feature.nullable else 'must not'} be null"


def _named(text: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return [f"{text}{'s' if len(names) > 1 else ''} {', '.join(names[:MAX_NAMED])}{more}"]


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


logger = logging.getLogger(__name__)

TRIES = 3
"""Reading the folder in the very moment in which training exchanges it finds files of two versions."""


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
    """Takes up the artifact in ``model_dir``, as told here or to another process; one at a time.

    Each version that serves is kept, so that its windows can be measured once it serves no more.
    """

    def __init__(
        self, served: ServedModel, model_dir: Path, store: ServedVersionStore, metrics: Metrics, kept: ModelArchive
    ) -> None:
        self._served = served
        self._model_dir = model_dir
        self._store = store
        self._metrics = metrics
        self._kept = kept
        self._unkept: str | None = None
        self._lock = Lock()
        self._done = 0
        self._failure_reason: str | None = None

    @property
    def version(self) -> str:
        """The version that serves here."""
        return self._served.manifest.version

    def reload(self) -> Reload:
        """Take up what is in the folder now, and have all other processes do so.

        Nothing changes unless the artifact is whole, loads, answers and has the served schema, and the announcement is
        stored: a process that dies in between finds the new version in the folder when it is started again. Raises
        ModelUnusable, SchemaChanged or LogUnavailable.
        """
        with self._lock:
            previous = self.version
            try:
                candidate = self._candidate()
            except StateError:
                self._metrics.count_reload("refused")
                raise
            roll = self._store.announce(candidate.manifest.version)
            already = previous == roll.model_version
            if not already:
                self._put(candidate, roll.model_version)
            self._settle(roll)
        status = ReloadStatus.ALREADY if already else ReloadStatus.RELOADED
        if already:
            self._metrics.count_reload(status)
        return Reload(status, roll.model_version, previous)

    def begin(self) -> None:
        """Begin to follow: what was announced so far is over, as a process takes what is in its folder at its start.

        The folder is looked at once more: it may have changed since this process read it. Raises LogUnavailable.
        """
        with self._lock:
            roll = self._store.newest()
            self._done = roll.generation if roll is not None else 0
            try:
                version = read_manifest(self._model_dir).version
                if version != self.version:
                    self._put(self._candidate(), version)
            except (ArtifactError, StateError) as error:
                logger.warning("%s goes on serving: %s", self.version, error)
            self._keep(self.version)

    def follow(self) -> None:
        """Take up what was announced since; where that is not possible, say why and try again at the next beat.

        The same goes for keeping the version that serves. Raises LogUnavailable.
        """
        if self._unkept is not None:
            with self._lock:
                self._keep(self.version)
        roll = self._store.newest()
        if roll is None or roll.generation == self._done:
            return
        with self._lock:
            if roll.generation <= self._done:
                return  # a call to this very process was quicker
            try:
                self._take_up(roll)
            except StateError as error:
                self._hinder(roll, str(error))
            else:
                self._settle(roll)

    def _take_up(self, roll: ServedVersion) -> None:
        if roll.model_version == self.version:
            return
        try:
            found = read_manifest(self._model_dir).version
        except ArtifactError as error:
            raise ModelUnusable(str(error)) from error
        if found != roll.model_version:
            raise ModelUnusable(f"{self._model_dir} holds the version {found}; copy the new one there")
        self._put(self._candidate(), roll.model_version)

    def _candidate(self) -> AnyPredictor:
        """Return what is in the folder, once it is known to be able to serve. Raises ModelUnusable, SchemaChanged."""
        for last in (*[False] * (TRIES - 1), True):
            try:
                version = verify_artifact(self._model_dir).version
                candidate = load_predictor(self._model_dir)
            except ArtifactError as error:
                if last:
                    raise ModelUnusable(f"{error}; {self.version} goes on serving") from error
                continue
            if candidate.manifest.version == version:
                break
        if differences := schema_differences(self._served.manifest, candidate.manifest):
            raise SchemaChanged(
                f"version {candidate.manifest.version} has another schema: {'; '.join(differences)}. The request types "
                f"follow the schema, so restart the API to serve it; {self.version} goes on serving"
            )
        _try_out(candidate)
        return candidate

    def _put(self, candidate: AnyPredictor, version: str) -> None:
        previous = self.version
        self._keep(version)  # before it answers: then no row is of a version that was not kept
        self._served.replace(candidate)
        self._metrics.count_reload(ReloadStatus.RELOADED)
        logger.info("version %s of the model serves instead of %s", version, previous)

    def _keep(self, version: str) -> None:
        try:
            self._kept.keep(self._model_dir, version)
        except (ArtifactError, OSError) as error:
            if str(error) != self._unkept:
                logger.warning(
                    "version %s could not be kept for windows that wait when it serves no more: %s", version, error
                )
            self._unkept = str(error)
        else:
            self._unkept = None

    def _settle(self, roll: ServedVersion) -> None:
        self._done = roll.generation
        self._failure_reason = None
        self._metrics.observe_out_of_date(out_of_date=False)

    def _hinder(self, roll: ServedVersion, reason: str) -> None:
        if reason == self._failure_reason:
            return
        self._failure_reason = reason
        self._metrics.count_reload("refused")
        self._metrics.observe_out_of_date(out_of_date=True)
        logger.error("version %s of the model is not taken up: %s", roll.model_version, reason)


def _try_out(candidate: AnyPredictor) -> None:
    """Have a model answer its own example. Raises ModelUnusable."""
    try:
        responses_for(candidate).respond([[feature.example for feature in candidate.manifest.features]])
    except Exception as error:  # whatever a model's libraries raise: it must not serve
        raise ModelUnusable(f"version {candidate.manifest.version} does not answer its own example: {error}") from error


STOP_SECONDS = 5.0


class ModelWatcher:
    """Has the roll follow what was announced, every ``every_seconds``."""

    def __init__(self, roll: ModelReloader, every_seconds: float) -> None:
        self._roll = roll
        self._every_seconds = every_seconds
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="model-follower", daemon=True)

    def start(self) -> None:
        """Start looking. Raises LogUnavailable."""
        self._roll.begin()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            try:
                self._roll.follow()
            except LogUnavailable as error:
                logger.debug("the announced version could not be read: %s", error)  # requests say it loudly
            except Exception:  # the thread must outlive any fault, or this process would never roll again
                logger.exception("the announced version could not be taken up")
