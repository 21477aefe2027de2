"""The types of features: how the values of each are held in rows, frames, pipelines, ONNX models and JSON.

A row holds a float, a text or a bool in a cell, None where it is missing. A frame holds numbers as float64, NaN where
missing, and everything else as text ("True" and "False" for booleans), None where missing. A pipeline and an ONNX
model are given the same columns as a frame, with "" for missing text, as ONNX text has no null.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from model.artifact.manifest import DriftMethod, Feature, FeatureType, Value
from model.data.cells import LARGEST_NUMBER, MISSING_WORDS, number_matrix, read_number, read_text

if TYPE_CHECKING:
    import pandas as pd

Row = Sequence[Value]
"""The values of one row in the order of the schema."""

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
    unseen_values: ClassVar[tuple[Value, ...]]
    """Values that callers may send though training has never seen them."""

    def json_schema(self, feature: Feature) -> dict[str, Any] | None:
        """Return what the schema of a request says of the values seen in training."""
        return {"x-observed": list(self.known_texts(feature))}

    def surprises(self, feature: Feature) -> tuple[Value, ...]:
        """Return the unseen values that this feature's model answers."""
        return () if feature.closed else self.unseen_values

    @abstractmethod
    def json_type(self, feature: Feature) -> Any:
        """Return the type of a value in a request, for Pydantic; what it reads as missing is so in training too."""

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
    unseen_values = (-LARGEST_NUMBER, LARGEST_NUMBER)

    def json_type(self, feature: Feature) -> Any:
        """Return a finite number; text as well for a column that has text in the file, and is read as it was there."""
        kind = _or_null(Annotated[float, Field(allow_inf_nan=False)], feature)
        if feature.notation is None and feature.missing is None:
            return kind
        read = partial(read_number, missing=missing_words(feature), notation=feature.notation)
        return Annotated[kind, BeforeValidator(read, json_schema_input_type=kind | str)]

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
        import pandas as pd  # noqa: PLC0415 - as above

        # numpy's own clip: that of pandas takes a hundred times as long for a few rows
        return pd.Series(np.clip(column.to_numpy(np.float64), -LARGEST_NUMBER, LARGEST_NUMBER), index=column.index)

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

    def _text(self, value: Value) -> str:
        return str(value)

    def column(self, values: Sequence[Value]) -> "pd.Series":
        """Return text, None where missing."""
        import pandas as pd  # noqa: PLC0415 - as above

        return pd.Series([None if value is None else self._text(value) for value in values], dtype="object")

    def coerced_column(self, column: "pd.Series") -> "pd.Series":
        """Return text, None where missing."""
        return text_column(column)

    def pipeline_column(self, column: "pd.Series") -> "pd.Series":
        """Return text, "" where missing."""
        return column.astype(object).where(column.notna(), MISSING_TEXT)

    def pipeline_values(self, values: Sequence[Value]) -> npt.NDArray[np.object_]:
        """Return text, "" where missing."""
        return np.array([MISSING_TEXT if value is None else self._text(value) for value in values], dtype=object)

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

    unseen_values = (UNSEEN_CATEGORY,)

    def json_type(self, feature: Feature) -> Any:
        """Return text, without outer blanks, and null where it means a missing value."""
        kind = _or_null(Annotated[str, Field(max_length=MAX_CATEGORY_LENGTH)], feature)
        return Annotated[kind, BeforeValidator(partial(read_text, missing=missing_words(feature)))]

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


class GroupedEncoding(CategoryEncoding):
    """The commonest texts of a column, and one category for all others."""

    def __init__(self, known: Collection[str], other: str) -> None:
        self._known, self._other = frozenset(known), other

    def _text(self, value: Value) -> str:
        text = str(value)
        return text if text in self._known else self._other

    def coerced_column(self, column: "pd.Series") -> "pd.Series":
        """Return the categories, None where missing."""
        return text_column(column).map(self._text, na_action="ignore")


class BooleanEncoding(TextEncoding):
    """True and false."""

    unseen_values = ()

    def json_type(self, feature: Feature) -> Any:
        """Return true or false."""
        return _or_null(bool, feature)

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
    """Return the encoding of a feature: that of its type, or of its categories where one stands for all others."""
    if feature.other is None or feature.categories is None:
        return ENCODINGS[feature.type]
    return _grouped_encoding(feature.categories, feature.other)


@lru_cache(maxsize=1_000)
def _grouped_encoding(categories: tuple[str, ...], other: str) -> Encoding:
    return GroupedEncoding(categories, other)


def missing_words(feature: Feature) -> Collection[str]:
    """Return the texts, in lower case, that stand for a missing value of a feature."""
    return MISSING_WORDS if feature.missing is None else frozenset(feature.missing)


def _or_null(kind: Any, feature: Feature) -> Any:
    return kind | None if feature.nullable else kind


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
    """Return a column as text, None where missing; an empty text is missing, as the model takes it for that."""
    text = column.astype(object).where(column.notna(), None).map(str, na_action="ignore")
    return text.where(text != MISSING_TEXT, None)


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
    named = [(feature.name, encoding_of(feature)) for feature in features]
    return [
        {
            name: None if cell is None else encoding.json_value(cell)
            for (name, encoding), cell in zip(named, row, strict=True)
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

    cells = zip(features, zip(*rows, strict=True), strict=True)
    return pd.DataFrame({one.name: clipped(encoding_of(one).pipeline_values(values), one) for one, values in cells})


def clipped(values: npt.NDArray[Any], feature: Feature) -> npt.NDArray[Any]:
    """Return numbers as the model was seen to take them."""
    return values if feature.clip is None else np.clip(values, *feature.clip)


def _commonest(values: "pd.Series") -> str:
    return str(values.mode().iloc[0])
