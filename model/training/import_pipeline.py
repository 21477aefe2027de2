"""Importing a pipeline that was fitted elsewhere: load it, check it against a reference CSV, build the artifact."""

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn import __version__ as sklearn_version
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline

from model.alarms.policy import AlarmPolicy
from model.artifact.estimators import BOOSTERS, categories_of, columns_of
from model.artifact.manifest import Feature, Manifest, Task
from model.artifact.pickles import load_pipeline
from model.data.dataset import AnyDataset, Classes
from model.data.encoding import boolean_features, rows_of
from model.data.split import split_held_out
from model.errors import DataError
from model.serving.onnx import Engines, convert, pipeline_engine
from model.training.build_artifact import Candidate, Progress, build_artifact
from model.training.input_checks import proven_features
from model.training.out_of_fold import OutOfFoldRows, logged_rows
from model.training.transformers import PandasCompatibility


@dataclass(frozen=True)
class FittedPipeline:
    """A model that was fitted elsewhere: the columns that it takes, in order, and its classes, if it has any.

    `names` are the model's own names of these columns, None where it was fitted on arrays.
    """

    model: Any
    columns: tuple[str, ...]
    names: tuple[str, ...] | None
    classes: Classes | None
    source: str

    @property
    def task(self) -> Task:
        """Return what it predicts."""
        return "regression" if self.classes is None else "classification"


def load_fitted(path: Path, *, any_version: bool = False, columns: tuple[str, ...] | None = None) -> FittedPipeline:
    """Return the model of a joblib or skops file, or of an MLflow model folder; loading runs its code.

    `columns` names the columns of a model that was fitted on arrays, or of which the file has other names. Raises
    DataError for a file of another scikit-learn, unless `any_version`, and for a model that is not fitted, is neither a
    classifier with `predict_proba` nor a regressor, does not know the names of its columns, or whose classes are
    neither text, integers nor booleans.
    """
    fitted = _load(path, any_version=any_version)
    numeric = _predicts_numbers(path, fitted)
    names = columns_of(fitted)
    if names is None and columns is None:
        raise DataError(
            f"the pipeline in {path} is not fitted, or was fitted without column names; fit it on a pandas DataFrame, "
            "or name its columns in their order with --columns"
        )
    taken = columns or names or ()
    expected = len(names) if names else getattr(fitted, "n_features_in_", len(taken))
    if len(taken) != expected or len(set(taken)) < len(taken):
        raise DataError(f"--columns names {len(taken)} columns; the model in {path} takes {expected} different ones")
    last = fitted.steps[-1][1] if isinstance(fitted, Pipeline) else fitted
    classes = None if numeric else _classes(path, fitted)
    return FittedPipeline(fitted, taken, names, classes, f"{path.name} ({type(last).__name__})")


def _load(path: Path, *, any_version: bool) -> Any:
    file = _model_file(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    _refuse_other_formats(file, content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = _load_skops(file, content) if _is_skops(content) else load_pipeline(content)
        except DataError:
            raise
        except Exception as error:
            # a pickle may raise anything, by what it holds
            raise _not_loaded(file, error, _other_version(caught)) from error
    if (other := _other_version(caught)) and not any_version:
        raise DataError(
            f"{file} was saved by scikit-learn {other}; this is {sklearn_version}, where it may predict something "
            "else; save it again with this version, or use it as it is with --any-version"
        )
    return fitted


def _other_version(caught: Sequence[warnings.WarningMessage]) -> str | None:
    found = (one.message for one in caught if isinstance(one.message, InconsistentVersionWarning))
    return next((str(message.original_sklearn_version) for message in found), None)


def _not_loaded(path: Path, error: Exception, other: str | None) -> DataError:
    """Return what is wrong with a file, and the way out."""
    if other is not None:
        return DataError(
            f"{path} was saved by scikit-learn {other} and does not load in {sklearn_version} "
            f"({type(error).__name__}: {error}); fit it again, or load and save it where both versions can read it"
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        if error.name.partition(".")[0] in {*BOOSTERS, "imblearn"}:
            return DataError(f"{path} needs the package {error.name!r}; install it with: make setup EXTRAS=boosting")
        if error.name.startswith("sklearn."):
            return DataError(
                f"{path} was saved by another scikit-learn: this one, {sklearn_version}, has no {error.name!r}; fit "
                "the model again, and save it, with this version"
            )
        return DataError(
            f"{path} needs the module {error.name!r}; start the command where Python finds it, or set PYTHONPATH"
        )
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return DataError(
            f"{path} holds something that was defined in the script or notebook that saved it ({error}); move it to a "
            "module, import it from there, fit and save the model again, and let PYTHONPATH name the module's folder"
        )
    return DataError(f"{path} cannot be loaded with joblib: {type(error).__name__}: {error}")


_FORMATS = (
    (b"{", "JSON or UBJ, as XGBoost's save_model writes it", "XGBClassifier or XGBRegressor"),
    (b"CBM1", "CatBoost's own format", "CatBoostClassifier or CatBoostRegressor"),
    (b"tree\n", "LightGBM's own text", "LGBMClassifier or LGBMRegressor, fitted again"),
)
"""How files of other formats begin, what they are, and what to load them into."""


def _refuse_other_formats(path: Path, content: bytes) -> None:
    for start, what, into in _FORMATS:
        if content.startswith(start):
            raise DataError(
                f"{path} is {what}, which does not say all that is needed; load it into {into}, and save that with "
                "joblib.dump"
            )


def _model_file(path: Path) -> Path:
    """Return the file of a model: the path itself, or what an MLflow folder names; raises DataError."""
    if not path.is_dir():
        return path
    try:
        described = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
        flavours = described["flavors"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{path} is a folder, but no model folder of MLflow: it has no readable MLmodel") from error
    if not isinstance(flavours, dict) or not isinstance(flavours.get("sklearn"), dict):
        raise DataError(
            f"{path} is an MLflow model without the flavour sklearn; load it with MLflow, and save the model that it "
            "holds with mlflow.sklearn.save_model or joblib.dump"
        )
    name = str(flavours["sklearn"].get("pickled_model", "model.pkl"))
    if name != Path(name).name:
        raise DataError(f"{path / 'MLmodel'} names the file {name!r}, which is not in the folder itself")
    return path / name


_TRUSTED = {"sklearn", "imblearn", *BOOSTERS}
"""Libraries whose types a skops file may hold."""


def _is_skops(content: bytes) -> bool:
    if not zipfile.is_zipfile(BytesIO(content)):
        return False
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return "schema.json" in archive.namelist()


def _load_skops(path: Path, content: bytes) -> Any:
    try:
        # Optional: only files of this kind need it.
        from skops import io  # noqa: PLC0415
    except ImportError as error:
        raise DataError(f"{path} was saved by skops, which is not installed; install skops, or use joblib") from error
    needed = io.get_untrusted_types(data=content)
    unknown = [name for name in needed if name.partition(".")[0] not in _TRUSTED and name != "numpy.dtype"]
    if unknown:
        raise DataError(
            f"{path} holds types that skops does not trust: {', '.join(unknown[:5])}; if you trust them, load it with "
            "skops and save it with joblib.dump"
        )
    return io.loads(content, trusted=needed)


def _predicts_numbers(path: Path, fitted: Any) -> bool:
    """Return whether a pipeline is a regressor, False for a classifier; raises DataError for anything else."""
    if hasattr(fitted, "predict_proba"):
        return False
    kind = type(fitted.steps[-1][1] if isinstance(fitted, Pipeline) else fitted).__name__
    if kind == "Booster":
        raise DataError(
            f"{path} holds a Booster, which does not know its classes; save the XGBClassifier, LGBMClassifier or the "
            "like around it"
        )
    if not hasattr(fitted, "predict"):
        raise DataError(
            f"{path} holds {kind}, which has neither predict_proba nor predict; save a classifier or a regressor"
        )
    try:
        if is_regressor(fitted):
            return True
        other = is_clusterer(fitted) or is_outlier_detector(fitted)
        classes = is_classifier(fitted) or hasattr(fitted, "classes_")
    except (AttributeError, TypeError) as error:
        raise DataError(
            f"{path} holds {kind}, which does not say what it predicts; derive it from sklearn.base.RegressorMixin and "
            "BaseEstimator if that is a number"
        ) from error
    if classes:
        raise DataError(f"{path} holds {kind}, which has no predict_proba; alarms need probabilities")
    what = "finds groups or outliers" if other else "is not a regressor"
    raise DataError(f"{path} holds {kind}, which {what}; only classifiers and regressors can be watched")


def _classes(path: Path, fitted: Any) -> Classes:
    given = getattr(fitted, "classes_", None)
    if given is None:
        raise DataError(f"the pipeline in {path} is not fitted: it has no classes; fit it and save it again")
    if isinstance(given, list):
        raise DataError(
            f"the pipeline in {path} predicts {len(given)} targets at once; only models of one target can be served"
        )
    values = np.asarray(given).tolist()
    if all(isinstance(value, float) and value.is_integer() for value in values):
        values = [int(value) for value in values]
    for kind in (bool, int, str):
        if all(type(value) is kind for value in values):
            return tuple(values)
    raise DataError(f"the classes of the pipeline in {path} are neither text, integers nor booleans: {values[:5]}")


def import_pipeline(
    fitted: FittedPipeline,
    dataset: AnyDataset,
    folder: Path,
    *,
    seed: int = 0,
    policy: AlarmPolicy | None = None,
    refuse_unseen: bool = False,
    progress: Progress = lambda _step, _share: None,
) -> Manifest:
    """Write the artifact of a fitted pipeline, measured on rows that it was not fitted on, and return its manifest.

    `dataset` holds these rows, with the pipeline's columns and classes in its order; two fifths become the test rows,
    the rest the reference. With `refuse_unseen` a category that the pipeline does not know is refused when it is sent.
    Raises DataError if the pipeline cannot answer what callers may send.
    """
    progress("trying the pipeline, converting to ONNX and comparing", 0)
    engines, dataset = proven_engines(fitted, dataset, refuse_unseen=refuse_unseen)
    split = split_held_out(dataset.strata, seed)
    test, reference = (logged_rows(dataset, part, engines.known.at(part)) for part in (split.test, split.reference))
    candidate = Candidate(dataset, split, engines, OutOfFoldRows(test.head(0), test, reference), fitted.source)
    rng = np.random.default_rng(seed)
    return build_artifact(candidate, folder, rng, seed=seed, policy=policy or AlarmPolicy(), progress=progress)


def proven_engines(
    fitted: FittedPipeline, dataset: AnyDataset, *, refuse_unseen: bool = False
) -> tuple[Engines, AnyDataset]:
    """Return what serves the model, and the data set with what the model was seen to take; raises DataError."""
    pipeline = _with_pandas_frame(fitted, dataset.features)
    rows = rows_of(dataset.frame, dataset.features)
    engine = pipeline_engine(pipeline, dataset)
    proven = proven_features(engine, dataset.features, rows, refuse_unseen=refuse_unseen)
    dataset = replace(dataset, features=proven)
    return convert(pipeline, dataset, convertible=fitted.model), dataset


def _with_pandas_frame(fitted: FittedPipeline, features: Sequence[Feature]) -> Pipeline:
    """Return a pipeline around the model, which is not taken apart: others' pipelines do more than their steps."""
    booleans = tuple(feature.name for feature in boolean_features(features))
    own_names = fitted.names or fitted.columns
    known = categories_of(fitted.model)
    categories = {name: known[own] for name, own in zip(fitted.columns, own_names, strict=True) if own in known}
    renamed = None if own_names == fitted.columns else own_names
    frame = PandasCompatibility(booleans, categories, renamed, array=fitted.names is None)
    return Pipeline([("frame as read by pandas", frame), ("model", fitted.model)])
