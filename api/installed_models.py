"""Which models an installation has: their folders, their own settings, and why one of them is not valid."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from api.alerts.next_steps import NextSteps
from api.errors import NoSuchModel, shortened
from api.prediction_log.records import SOLE_MODEL
from api.security.keys import MODEL_NAME
from api.settings import Settings
from model.artifact.atomic_folder import recover
from model.artifact.manifest import Manifest
from model.artifact.store import MANIFEST_FILE, OWN_SETTINGS_FILE, PIPELINE_FILE, REFERENCE_FILE, read_manifest
from model.data.yaml_file import read_yaml
from model.errors import ArtifactError, DataError

logger = logging.getLogger(__name__)

NAME_RULE = "1 to 64 letters, digits, '.', '_' and '-', of which the first is a letter or digit"
SIGNS = (MANIFEST_FILE, PIPELINE_FILE, REFERENCE_FILE, OWN_SETTINGS_FILE)
"""A folder that has one of these is meant to be a model, even if it is a damaged one."""
OWN = (
    "snapshot_interval_seconds",
    "snapshot_min_rows",
    "snapshot_min_labels",
    "snapshot_max_rows",
    "snapshot_tiers",
    "log_keep_days",
    "reports_keep_days",
    "reports_keep_failed_days",
    "alert_windows_failed",
    "alert_windows",
    "learning_days",
    "evidently_project",
)
"""The settings that a model may have of its own, each under its name without VIGIE_ and in lower case."""
PROJECT = "evidently_project"
DRIFT_FLOORS = "drift_floors"
"""By column, the smallest distance from the reference that is worth an alarm: a person's, above that of training."""
FOLDER_OF_MODELS = "by-model"
"""Below the folder of the reports: the archived versions of each model but the first."""


def _own_settings_type() -> type[BaseModel]:
    floors = (dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None, None)
    fields: dict[str, Any] = {DRIFT_FLOORS: floors} | {
        name: (Settings.model_fields[name].rebuild_annotation() | None, None) for name in OWN
    }
    return create_model("OwnSettings", __config__=ConfigDict(extra="forbid", strict=True, frozen=True), **fields)


OwnSettings = _own_settings_type()
"""What the file ``vigie.yaml`` in a model's folder says; what it leaves out is as for all models."""


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model of an installation; ``name`` is None for the only one, that of VIGIE_MODEL_DIR.

    ``settings`` are those that hold for this model, ``project`` is the name that its own ones give to its project in
    Evidently UI. ``error`` says what is wrong with its own ones: then the model must not serve.
    """

    name: str | None
    settings: Settings
    project: str | None = None
    drift_floors: tuple[tuple[str, float], ...] = ()
    error: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of its artifact."""
        return self.settings.model_dir

    @property
    def next_steps(self) -> NextSteps:
        """What says what to do after a check of the model failed."""
        is_watched = not (self.folder / PIPELINE_FILE).exists()
        return NextSteps(self.settings.api_url, self.name, self.folder, is_watched)


@dataclass(frozen=True, slots=True)
class Installation:
    """The models of an installation, by name, and which of them answers the calls that name none."""

    models: tuple[InstalledModel, ...]
    default: str | None

    @property
    def is_single(self) -> bool:
        """Whether it is the one model of VIGIE_MODEL_DIR."""
        return self.models[0].name is None

    @property
    def names(self) -> list[str]:
        """The names of its models, in order; none for the one model of VIGIE_MODEL_DIR."""
        return [model.name for model in self.models if model.name is not None]

    def choose(self, name: str | None) -> InstalledModel:
        """Return the model of that name, or the default one. Raises NoSuchModel."""
        wanted = self.default if name is None else name
        if self.is_single and name is None:
            return self.models[0]
        found = next((model for model in self.models if model.name is not None and model.name == wanted), None)
        if found is None:
            raise no_such_model(name, self.names)
        return found


def no_such_model(name: str | None, names: Sequence[str], hint: str = "") -> NoSuchModel:
    """Return the error for a name that no model has, or for none where there is no default model."""
    listed = ", ".join(names) or "none"
    if name is None:
        return NoSuchModel(f"no model is the default one: name one of {listed}, or set VIGIE_DEFAULT_MODEL")
    return NoSuchModel(f"there is no model {shortened(name)!r}; the models are: {listed}{hint}")


class MissingDefault(ArtifactError):
    """The default model has no folder; to train another model would not help."""


def find_models(settings: Settings) -> Installation:
    """Return the models of VIGIE_MODELS_DIR, or the one of VIGIE_MODEL_DIR; nothing but their own settings is read.

    Raises ArtifactError where there is none, or the default model is not among them.
    """
    if settings.models_dir is None:
        return Installation((InstalledModel(None, settings),), None)
    folders = _folders(settings.models_dir)
    if not folders:
        raise ArtifactError(
            f"no model in {settings.models_dir}, which VIGIE_MODELS_DIR names: each model is a folder in it"
        )
    names = [folder.name for folder in folders]
    if settings.default_model is not None and settings.default_model not in names:
        raise MissingDefault(
            f"VIGIE_DEFAULT_MODEL is {settings.default_model!r}, but the models in {settings.models_dir} are: "
            f"{', '.join(names)}; name one of them, or put its folder back"
        )
    if "model_dir" in settings.model_fields_set:
        logger.info("VIGIE_MODELS_DIR is set, so VIGIE_MODEL_DIR (%s) is not used", settings.model_dir)
    default = settings.default_model or (names[0] if len(names) == 1 else None)
    models = [_installed(folder, settings) for folder in folders]
    return Installation(tuple(_with_own_projects(models)), default)


def _folders(parent: Path) -> list[Path]:
    """Return the folders of models, by name. Raises ArtifactError where the parent cannot be read."""
    try:
        for aside in parent.glob(".*.previous"):  # training was interrupted while it replaced this folder
            with suppress(OSError):  # where it may only be read, whoever trains puts it back
                recover(parent / aside.name.removeprefix(".").removesuffix(".previous"))
        found = sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ArtifactError(
            f"VIGIE_MODELS_DIR names {parent}, which cannot be read as a folder: {error.strerror}"
        ) from error
    models = [path for path in found if any((path / sign).exists() for sign in SIGNS)]
    for path in models:
        if not MODEL_NAME.fullmatch(path.name):
            logger.error("%s is left out: its name cannot be that of a model; use %s", path, NAME_RULE)
    valid = [path for path in models if MODEL_NAME.fullmatch(path.name)]
    by_letters = {path.name.lower(): path.name for path in valid}
    for path in valid:
        if (other := by_letters[path.name.lower()]) != path.name:
            logger.warning(
                "the models %s and %s differ in capital letters only: callers may mix them up", path.name, other
            )
    return valid


def _installed(folder: Path, settings: Settings) -> InstalledModel:
    shared = settings.model_copy(update={"model_dir": folder})
    path = folder / OWN_SETTINGS_FILE
    if not path.exists():
        return InstalledModel(folder.name, shared)
    try:
        own = read_yaml(path, OwnSettings).model_dump(exclude_none=True)
        project, floors = own.pop(PROJECT, None), own.pop(DRIFT_FLOORS, {})
        return InstalledModel(folder.name, shared.with_changes(own), project, tuple(floors.items()))
    except DataError as error:
        return InstalledModel(folder.name, shared, error=_with_keys(str(error)))
    except ValueError as error:
        return InstalledModel(folder.name, shared, error=f"{path}: {error}")


def _with_own_projects(models: Iterable[InstalledModel]) -> Iterator[InstalledModel]:
    """Yield the models, with an error in one that would share a project: their windows would be read as one."""
    owners: dict[str, str | None] = {}
    for model in models:
        owner = owners.setdefault(model.project, model.name) if model.project is not None else model.name
        if owner == model.name:
            yield model
        else:
            yield replace(model, error=f"{model.folder / OWN_SETTINGS_FILE}: the model {owner} has this {PROJECT} too")


def _with_keys(text: str) -> str:
    return (
        f"{text}; the keys are {', '.join((*OWN, DRIFT_FLOORS))}" if "Extra inputs are not permitted" in text else text
    )


def unknown_columns(model: InstalledModel, manifest: Manifest) -> str | None:
    """Return what is wrong with a model's own settings in view of its columns; None where nothing is."""
    known = [threshold.column for threshold in manifest.thresholds]
    unknown = [column for column, _ in model.drift_floors if column not in known]
    if not unknown:
        return None
    path = model.folder / OWN_SETTINGS_FILE
    return f"{path}: {DRIFT_FLOORS}: no drift is measured of {unknown[0]!r}, but of {', '.join(known)}"


def with_drift_floors(manifest: Manifest, floors: Iterable[tuple[str, float]]) -> Manifest:
    """Return a manifest whose drift thresholds are at least so high."""
    least = dict(floors)
    raised = tuple(
        one.model_copy(update={"floor": max(one.floor, least[one.column])}) if one.column in least else one
        for one in manifest.thresholds
    )
    return manifest.model_copy(update={"thresholds": raised}) if least else manifest


def project_name(model: InstalledModel, model_id: int, name_of_first: str | None) -> str | None:
    """Return the name of a model's project in Evidently UI; None for the name that the model was trained under.

    The first model's is what it would be if it were alone, so that its history stays when others join it. The others'
    are the names of their folders, unless that is the first one's.
    """
    if model.project is not None:
        return model.project
    if model_id == SOLE_MODEL:
        return model.settings.evidently_project
    return model.name if model.name != name_of_first else f"{model.name} ({model_id})"


def name_of_first(models: Iterable[InstalledModel], ids: Mapping[str | None, int]) -> str | None:
    """Return the name of the first model's project; None where it is not installed, or not valid."""
    first = next((model for model in models if ids[model.name] == SOLE_MODEL), None)
    if first is None:
        return None
    try:
        return project_name(first, SOLE_MODEL, None) or read_manifest(first.folder).name
    except ArtifactError:
        return None
