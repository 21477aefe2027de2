"""The types of features: how the values of each are held in rows, frames, pipelines, ONNX models and JSON.

A row holds a float, a text or a bool in a cell, None where it is missing. A frame holds numbers as float64, NaN where
missing, and everything else as text ("True" and "False" for booleans), None where missing. A pipeline and an ONNX
model are given the same columns as a frame, with "" for missing text, as ONNX text has no null.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from model.artifact.manifest import DriftMethod, Feature, FeatureType, Value
from model.errors import PredictionError

if TYPE_CHECKING:
    import pandas as pd

Row = Sequence[Value]
"""The values of one row in the order of the schema."""

LARGEST_NUMBER = 3.4028234663852886e38
"""Largest number in float32, in which models compute."""
MISSING_TEXT = ""
"""What stands for a missing category or boolean in a pipeline and in an ONNX model."""
UNSEEN_CATEGORY = "a value never seen in training"
BOOLEANS = {"True": True, "False": False}
"""The texts of booleans in a frame, and what they mean."""
MAX_CATEGORY_LENGTH = 1000

_NUMBERS_ACROSS_RANGE = 51


class Encoding(ABC):
    """The encoding of one type of feature."""

    is_number: ClassVar[bool]
    """Whether its values are numbers; all others are text in frames, pipelines and ONNX models."""
    drift_method: ClassVar[DriftMethod]
    json_type: ClassVar[Any]
    """The type of a value in a request, for Pydantic."""
    unseen_values: ClassVar[tuple[Value, ...]]
    """Values that callers may send though training has never seen them."""

    def json_schema(self, feature: Feature) -> dict[str, Any] | None:
        """Return what the schema of a request says of the values seen in training."""
        return {"x-observed": list(self.known_texts(feature))}

    def surprises(self, feature: Feature) -> tuple[Value, ...]:
        """Return the unseen values that this feature's model answers."""
        return () if feature.closed else self.unseen_values

    @abstractmethod
    def describe(self, values: "pd.Series") -> dict[str, Any]:
        """Return the fields of a `Feature` that follow from the values (rows,) of its column, none of them missing."""

    @abstractmethod
    def column(self, values: Sequence[Value]) -> "pd.Series":
        """Return the cells of rows as a column of a frame, (rows,)."""

    @abstractmethod
    def coerced_column(self, column: "pd.Series") -> "pd.Series":
        """Return any column as a column of a frame; a value that is not of this type becomes missing."""

    @abstractmethod
    def json_value(self, cell: Any) -> Value:
        """Return a cell of a frame that is not missing as callers send it."""

    @abstractmethod
    def pipeline_column(self, column: "pd.Series") -> "pd.Series":
        """Return a column of a frame as a pipeline takes it."""

    @abstractmethod
    def pipeline_values(self, values: Sequence[Value]) -> npt.NDArray[Any]:
        """Return the cells of rows as a pipeline takes them, (rows,); raises PredictionError."""

    @abstractmethod
    def onnx_values(self, values: Sequence[Value]) -> npt.NDArray[Any]:
        """Return the cells of rows as the input of an ONNX model, (rows, 1); raises PredictionError."""

    @abstractmethod
    def onnx_type(self, columns: int) -> Any:
        """Return the type of an input of that many columns in the converter's terms."""

    def has_range(self, feature: Feature) -> bool:
        """Say whether training recorded which values it has seen."""
        del feature
        return True

    @abstractmethod
    def outside_training(self, values: "pd.Series", feature: Feature) -> "pd.Series[bool]":
        """Say of each value of a frame, none of them missing, whether it is outside what training has seen."""

    def known_texts(self, feature: Feature) -> tuple[str, ...]:
        """Return the texts that a frame may hold in this column according to training; none for numbers."""
        return feature.categories or ()

    @abstractmethod
    def trial_values(self, feature: Feature) -> tuple[Value, ...]:
        """Return values that stand for all that a caller may send, two at least, None left out."""


class NumberEncoding(Encoding):
    """Numbers."""

    is_number = True
    drift_method = "wasserstein"
    json_type = Annotated[float, Field(allow_inf_nan=False)]
    unseen_values = (-LARGEST_NUMBER, LARGEST_NUMBER)

    def json_schema(self, feature: Feature) -> dict[str, Any]:
        """Return unit and range."""
        return {"x-unit": feature.unit, "x-observed": [feature.minimum, feature.maximum]}

    def describe(self, values: "pd.Series") -> dict[str, Any]:
        """Return the range, and the median as the example."""
        typical = float(values.quantile(0.5, interpolation="nearest"))
        return {"minimum": float(values.min()), "maximum": float(values.max()), "example": typical}

    def column(self, values: Sequence[Value]) -> "pd.Series":
        """Return float64, NaN where missing."""
        import pandas as pd  # noqa: PLC0415 - what serves imports this module and needs no pandas

        return pd.Series(values, dtype="float64")

    def coerced_column(self, column: "pd.Series") -> "pd.Series":
        """Return float64, NaN where missing or not a number."""
        import pandas as pd  # noqa: PLC0415 - as above

        return pd.to_numeric(column, errors="coerce").astype("float64")

    def json_value(self, cell: Any) -> Value:
        """Return a float."""
        return float(cell)

    def pipeline_column(self, column: "pd.Series") -> "pd.Series":
        """Return float64 within the range of float32, NaN where missing."""
        return column.astype("float64").clip(-LARGEST_NUMBER, LARGEST_NUMBER)

    def pipeline_values(self, values: Sequence[Value]) -> npt.NDArray[np.float64]:
        """Return float64 within the range of float32, NaN where missing."""
        return number_matrix([values]).ravel()

    def onnx_values(self, values: Sequence[Value]) -> npt.NDArray[np.float32]:
        """Return float32, NaN where missing."""
        return self.pipeline_values(values).astype(np.float32).reshape(-1, 1)

    def onnx_type(self, columns: int) -> Any:
        """Return float32."""
        from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 - it takes seconds to import

        return FloatTensorType([None, columns])

    def has_range(self, feature: Feature) -> bool:
        """Say whether both ends are known."""
        return feature.minimum is not None and feature.maximum is not None

    def outside_training(self, values: "pd.Series", feature: Feature) -> "pd.Series[bool]":
        """Return which values lie outside the range of training."""
        return ~((values >= feature.minimum) & (values <= feature.maximum))

    def trial_values(self, feature: Feature) -> tuple[Value, ...]:
        """Return numbers across the range of training, its ends first."""
        low, high = feature.minimum or 0.0, feature.maximum or 0.0
        return (low, high, *np.linspace(low, high, _NUMBERS_ACROSS_RANGE)[1:-1].tolist())


class TextEncoding(Encoding):
    """What is text in frames, pipelines and ONNX models."""

    is_number = False
    drift_method = "jensenshannon"

    def column(self, values: Sequence[Value]) -> "pd.Series":
        """Return text, None where missing."""
        import pandas as pd  # noqa: PLC0415 - as above

        return pd.Series([None if value is None else str(value) for value in values], dtype="object")

    def coerced_column(self, column: "pd.Series") -> "pd.Series":
        """Return text, None where missing."""
        return text_column(column)

    def pipeline_column(self, column: "pd.Series") -> "pd.Series":
        """Return text, "" where missing."""
        return column.astype(object).where(column.notna(), MISSING_TEXT)

    def pipeline_values(self, values: Sequence[Value]) -> npt.NDArray[np.object_]:
        """Return text, "" where missing."""
        return np.array([MISSING_TEXT if value is None else str(value) for value in values], dtype=object)

    def onnx_values(self, values: Sequence[Value]) -> npt.NDArray[np.object_]:
        """Return text, "" where missing."""
        return self.pipeline_values(values).reshape(-1, 1)

    def onnx_type(self, columns: int) -> Any:
        """Return text."""
        from skl2onnx.common.data_types import StringTensorType  # noqa: PLC0415 - it takes seconds to import

        return StringTensorType([None, columns])

    def outside_training(self, values: "pd.Series", feature: Feature) -> "pd.Series[bool]":
        """Return which texts training has not seen."""
        return ~values.isin(self.known_texts(feature))


class CategoryEncoding(TextEncoding):
    """Texts from a list that training has seen."""

    json_type = Annotated[str, Field(max_length=MAX_CATEGORY_LENGTH)]
    unseen_values = (UNSEEN_CATEGORY,)

    def describe(self, values: "pd.Series") -> dict[str, Any]:
        """Return the categories, and the commonest as the example."""
        return {"categories": tuple(sorted(str(value) for value in values.unique())), "example": _commonest(values)}

    def json_value(self, cell: Any) -> Value:
        """Return the text."""
        return str(cell)

    def trial_values(self, feature: Feature) -> tuple[Value, ...]:
        """Return the categories and a new one, if it is answered; one category alone stands twice."""
        values = (*self.known_texts(feature), *self.surprises(feature))
        return values if len(values) > 1 else values * 2


class BooleanEncoding(TextEncoding):
    """True and false."""

    json_type = bool
    unseen_values = ()

    def json_schema(self, feature: Feature) -> None:
        """Return nothing: there are no other values."""
        del feature

    def describe(self, values: "pd.Series") -> dict[str, Any]:
        """Return the commoner of the two as the example."""
        return {"example": self.json_value(_commonest(values))}

    def json_value(self, cell: Any) -> Value:
        """Return True or False."""
        return str(cell) == "True"

    def known_texts(self, feature: Feature) -> tuple[str, ...]:
        """Return both texts."""
        del feature
        return tuple(BOOLEANS)

    def trial_values(self, feature: Feature) -> tuple[Value, ...]:
        """Return both."""
        del feature
        return tuple(BOOLEANS.values())


ENCODINGS: dict[FeatureType, Encoding] = {
    "number": NumberEncoding(),
    "category": CategoryEncoding(),
    "boolean": BooleanEncoding(),
}


def encoding_of(feature: Feature) -> Encoding:
    """Return the encoding of a feature's type."""
    return ENCODINGS[feature.type]


def number_features(features: Iterable[Feature]) -> list[Feature]:
    """Return the features whose values are numbers."""
    return [feature for feature in features if encoding_of(feature).is_number]


def text_features(features: Iterable[Feature]) -> list[Feature]:
    """Return the features whose values are text in a frame: categories and booleans."""
    return [feature for feature in features if not encoding_of(feature).is_number]


def boolean_features(features: Iterable[Feature]) -> list[Feature]:
    """Return the features whose values are true and false."""
    return [feature for feature in features if isinstance(encoding_of(feature), BooleanEncoding)]


def category_features(features: Iterable[Feature]) -> list[Feature]:
    """Return the features whose values are categories."""
    return [feature for feature in features if isinstance(encoding_of(feature), CategoryEncoding)]


def text_column(column: "pd.Series") -> "pd.Series":
    """Return a column as text, None where missing."""
    return column.astype(object).where(column.notna(), None).map(str, na_action="ignore")


def number_matrix(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """Return rows of numbers as a matrix with NaN for None; raises PredictionError.

    Numbers beyond float32, in which the trees compare, become the largest one: no split tells them apart.
    """
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PredictionError(f"a number column holds something else: {error}") from error
    return np.clip(matrix, -LARGEST_NUMBER, LARGEST_NUMBER)


def frame_of(columns: Iterable[Sequence[Value]], features: Sequence[Feature]) -> "pd.DataFrame":
    """Return a frame from the cells of each feature, in the order of the features."""
    import pandas as pd  # noqa: PLC0415 - as above

    pairs = zip(features, columns, strict=True)
    return pd.DataFrame({feature.name: encoding_of(feature).column(values) for feature, values in pairs})


def rows_of(frame: "pd.DataFrame", features: Sequence[Feature]) -> list[Row]:
    """Return the feature columns of a frame as rows, None where missing."""
    columns = [frame[feature.name].astype(object) for feature in features]
    lists = [column.where(column.notna(), None).tolist() for column in columns]
    return list(zip(*lists, strict=True))


def json_rows(frame: "pd.DataFrame", features: Sequence[Feature]) -> list[dict[str, Value]]:
    """Return the feature columns of a frame as rows that a caller may send."""
    names = [feature.name for feature in features]
    encodings = [encoding_of(feature) for feature in features]
    return [
        {
            name: None if cell is None else encoding.json_value(cell)
            for name, encoding, cell in zip(names, encodings, row, strict=True)
        }
        for row in rows_of(frame, features)
    ]


def pipeline_input(frame: "pd.DataFrame", features: Sequence[Feature]) -> "pd.DataFrame":
    """Return the feature columns of a frame as a pipeline takes them: NaN for missing numbers, "" for missing text."""
    import pandas as pd  # noqa: PLC0415 - as above

    columns = {feature.name: encoding_of(feature).pipeline_column(frame[feature.name]) for feature in features}
    columns |= {one.name: columns[one.name].clip(*one.clip) for one in features if one.clip is not None}
    return pd.DataFrame(columns)


def pipeline_frame(rows: Sequence[Row], features: Sequence[Feature]) -> "pd.DataFrame":
    """Return rows as a pipeline takes them; raises PredictionError."""
    import pandas as pd  # noqa: PLC0415 - as above

    columns = zip(features, zip(*rows, strict=True), strict=True)
    return pd.DataFrame(
        {feature.name: _clipped(encoding_of(feature).pipeline_values(values), feature) for feature, values in columns}
    )


def _clipped(values: npt.NDArray[Any], feature: Feature) -> npt.NDArray[Any]:
    """Return numbers as the model was seen to take them."""
    return values if feature.clip is None else np.clip(values, *feature.clip)


def clipped_matrix(rows: Sequence[Row], features: Sequence[Feature]) -> npt.NDArray[np.float64]:
    """Return rows of numbers as a matrix of what the model takes, NaN for None; raises PredictionError."""
    matrix = number_matrix(rows)
    for place, feature in enumerate(features):
        if feature.clip is not None:
            matrix[:, place] = np.clip(matrix[:, place], *feature.clip)
    return matrix


ONE_MATRIX = "rows"
"""The ONNX input of a model that takes all its columns as one float32 matrix."""


def onnx_inputs(features: Sequence[Feature], *, by_name: bool) -> list[tuple[str, Any]]:
    """Return name and type of the inputs for the ONNX converter.

    They are named as the columns where a pipeline chooses its columns `by_name`. Else there is one matrix where all
    columns are numbers, and an input per column, named by its position, where they are not.
    """
    if not by_name and not text_features(features):
        return [(ONE_MATRIX, encoding_of(features[0]).onnx_type(len(features)))]
    return [
        (feature.name if by_name else f"column_{place}", encoding_of(feature).onnx_type(1))
        for place, feature in enumerate(features)
    ]


def onnx_columns(rows: Sequence[Row], features: Sequence[Feature]) -> list[npt.NDArray[Any]]:
    """Return rows as the inputs of an ONNX model that takes one per column; raises PredictionError."""
    columns = zip(features, zip(*rows, strict=True), strict=True)
    return [_clipped(encoding_of(feature).onnx_values(values), feature) for feature, values in columns]


def _commonest(values: "pd.Series") -> str:
    return str(values.mode().iloc[0])
